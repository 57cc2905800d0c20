"""The gated recurrent unit, in both of the literature's variants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.cells.base import Cell, Gradients, State, Tape, Weights


class GRUCell(Cell):
    """Two gates and a leaky average.

    ::

        r = sigmoid(r_bar)   z = sigmoid(z_bar)
        n = tanh(W_in x + b_in + r * (W_hn h + b_hn))        reset after the product (torch, cuDNN, Keras' default)
        n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)        reset before it (Cho et al. 2014)
        h = (1 - z) * n + z * h

    z near 1 *keeps* the state, in torch's convention, which is kept here; the first version of Cho et al. 2014
    (arXiv:1406.1078) and Keras keep with z as well, Chung et al. 2014 (arXiv:1412.3555) with 1 - z. Gates stand in
    torch's order r z n (Keras: z r n).
    """

    gates = ("r", "z", "n")

    def __init__(self, input_size: int, hidden_size: int, *, reset_after: bool = True, **options: Any) -> None:
        super().__init__(input_size, hidden_size, **options)
        self.reset_after = reset_after
        self.name = "gru" if reset_after else "gru-reset-before"
        if self.layer_norm and not reset_after:
            raise ValueError(
                "layer_norm=True with reset_after=False: the recurrent product is then made in two parts, and its "
                "whole row cannot be normalised; use reset_after=True"
            )

    def step(self, x_bar: Tensor, state: State, w: Weights, mask: Tensor | None = None) -> tuple[State, Tape]:
        (h_prev,) = state
        if not self.reset_after:
            return self._step_reset_before(x_bar, h_prev, w, mask)
        H_bar, tape = self.recur(h_prev, w, mask)
        x_r, x_z, x_n = x_bar.chunk(3, -1)
        h_r, h_z, h_n = H_bar.chunk(3, -1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        h = (1 - z) * n + z * h_prev
        tape.update(r=r, z=z, n=n, h_n=h_n, h_prev=h_prev)
        return (h,), tape

    def step_backward(
        self, d_state: State, tape: Tape, w: Weights, mask: Tensor | None = None
    ) -> tuple[Tensor, State, Gradients]:
        (dh,) = d_state
        r, z, n, h_prev = tape["r"], tape["z"], tape["n"], tape["h_prev"]
        dz, dn = dh * (h_prev - n), dh * (1 - z)
        dz_bar, dn_bar = dz * z * (1 - z), dn * (1 - n * n)
        if not self.reset_after:
            return self._step_reset_before_backward(dh, dz_bar, dn_bar, tape, w, mask)
        dr_bar = dn_bar * tape["h_n"] * r * (1 - r)
        dx_bar = torch.cat((dr_bar, dz_bar, dn_bar), -1)
        dH_bar = torch.cat((dr_bar, dz_bar, dn_bar * r), -1)
        dh_prev, grads = self.recur_backward(dH_bar, tape, w, mask)
        return dx_bar, (dh * z + dh_prev,), grads

    def _step_reset_before(self, x_bar: Tensor, h_prev: Tensor, w: Weights, mask: Tensor | None) -> tuple[State, Tape]:
        H = self.hidden_size
        h_in = h_prev if mask is None else h_prev * mask
        x_r, x_z, x_n = x_bar.chunk(3, -1)
        b_rz, b_n = (w["bias_hh"][: 2 * H], w["bias_hh"][2 * H :]) if self.bias else (None, None)
        h_r, h_z = F.linear(h_in, w["weight_hh"][: 2 * H], b_rz).chunk(2, -1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + F.linear(r * h_in, w["weight_hh"][2 * H :], b_n))
        h = (1 - z) * n + z * h_prev
        return (h,), {"h_in": h_in, "r": r, "z": z, "n": n, "h_prev": h_prev}

    def _step_reset_before_backward(
        self, dh: Tensor, dz_bar: Tensor, dn_bar: Tensor, tape: Tape, w: Weights, mask: Tensor | None
    ) -> tuple[Tensor, State, Gradients]:
        H, r, h_in = self.hidden_size, tape["r"], tape["h_in"]
        d_reset = dn_bar @ w["weight_hh"][2 * H :]
        dr_bar = d_reset * h_in * r * (1 - r)
        d_bar = torch.cat((dr_bar, dz_bar, dn_bar), -1)
        dh_in = d_reset * r + d_bar[:, : 2 * H] @ w["weight_hh"][: 2 * H]
        grads = {"weight_hh": torch.cat((d_bar[:, : 2 * H].t() @ h_in, dn_bar.t() @ (r * h_in)))}
        if self.bias:
            grads["bias_hh"] = d_bar.sum(0)
        return d_bar, (dh * tape["z"] + (dh_in if mask is None else dh_in * mask),), grads
