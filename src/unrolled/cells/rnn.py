"""The vanilla cell (Elman 1990), as the lecture has it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from unrolled.cells.base import Cell, Gradients, State, Tape, Weights

NONLINEARITIES = ("tanh", "relu", "identity")


class RNNCell(Cell):
    """``h = phi(W_hh h + W_xh x + b)``, with phi = tanh, relu or the identity.

    The lecture's ``W_xh`` is ``weight_ih``, its ``W_hh`` is ``weight_hh``; torch keeps two biases, whose sum is b. With
    the identity the layer is a linear system, whose Jacobian is W_hh itself. Source: Elman 1990, "Finding structure in
    time"; ReLU with identity start: Le, Jaitly & Hinton 2015, arXiv:1504.00941.
    """

    gates = ()

    def __init__(self, input_size: int, hidden_size: int, *, nonlinearity: str = "tanh", **options: Any) -> None:
        super().__init__(input_size, hidden_size, **options)
        self.nonlinearity = nonlinearity
        self.name = f"rnn-{nonlinearity}"

    def step(self, x_bar: Tensor, state: State, w: Weights, mask: Tensor | None = None) -> tuple[State, Tape]:
        H_bar, tape = self.recur(state[0], w, mask)
        a = x_bar + H_bar
        h = torch.tanh(a) if self.nonlinearity == "tanh" else torch.relu(a) if self.nonlinearity == "relu" else a
        tape["h"] = h
        return (h,), tape

    def step_backward(
        self, d_state: State, tape: Tape, w: Weights, mask: Tensor | None = None
    ) -> tuple[Tensor, State, Gradients]:
        (dh,), h = d_state, tape["h"]
        if self.nonlinearity == "tanh":
            d_a = dh * (1 - h * h)  # the 112-line program's dhraw
        elif self.nonlinearity == "relu":
            d_a = dh * (h > 0)
        else:
            d_a = dh
        dh_prev, grads = self.recur_backward(d_a, tape, w, mask)  # ... and its dhnext
        return d_a, (dh_prev,), grads
