"""What a cell is: ONE STEP of a recurrent network. There is no time here.

A cell knows its gates, its parameters and their shapes, how an input enters (:meth:`Cell.project`, over all time at
once), one step forward and one step backward. What runs it over time is an engine.

Conventions of every cell
    ``w`` maps parameter names without their layer suffix (``weight_ih``, ``weight_hh``, ``bias_ih``, ``bias_hh``,
    ``weight_hr``, ``gain_ih``, ``gain_hh``, ``gain_c``, ``shift_c``) to tensors. ``X_bar`` is a pre-activation, ``dX``
    the gradient of the loss with respect to ``X``. ``mask`` (B, R), or None, multiplies h where it enters the
    recurrent product (recurrent dropout). A *tape* holds what one step leaves for its backward step.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]
State = tuple[Tensor, ...]
Tape = dict[str, Tensor]
Gradients = dict[str, Tensor]

EPSILON = 1e-5
"""Added to the variance in layer normalisation (Ba et al. 2016)."""

HALVES = (torch.float16, torch.bfloat16)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter of a cell: its name without the layer suffix, and its shape."""

    name: str
    shape: tuple[int, ...]


def normalise(u: Tensor) -> tuple[Tensor, Tensor]:
    """Zero mean and unit variance over the last dimension: ``n`` and ``1/sigma``, (B, N) and (B, 1).

    Half precisions are computed in float32 (a variance soon leaves their range); n comes back in the dtype of ``u``.
    """
    wide = u.float() if u.dtype in HALVES else u
    centred = wide - wide.mean(-1, keepdim=True)
    inverse = torch.rsqrt(centred.square().mean(-1, keepdim=True) + EPSILON)
    return (centred * inverse).to(u.dtype), inverse


def normalise_backward(d_n: Tensor, n: Tensor, inverse: Tensor) -> Tensor:
    """Gradient of :func:`normalise` with respect to its input."""
    wide = d_n.to(inverse.dtype)
    d_u = inverse * (wide - wide.mean(-1, keepdim=True) - n * (wide * n).mean(-1, keepdim=True))
    return d_u.to(d_n.dtype)


def _columns(ids: Tensor, weight: Tensor) -> Tensor:
    """The columns of ``weight`` (G*H, I) that ids (T, B) name: (T, B, G*H)."""
    if ids.numel():
        return F.embedding(ids, weight.t())
    # torch cannot differentiate its look-up of nothing twice
    return weight.t().index_select(0, ids.reshape(-1)).view(*ids.shape, weight.shape[0])


class Cell(ABC):
    """One step of a recurrent layer.

    Args:
        input_size: I. hidden_size: H.
        bias: two bias vectors, as torch has them.
        proj_size: size of the projected hidden state (LSTM only), 0 for none.
        layer_norm: normalise the input product and the recurrent product over their whole rows, with a gain each;
            the biases serve as shifts (Ba, Kiros & Hinton 2016, arXiv:1607.06450, eqs. 20-22). A row is all gates
            together, G*H numbers, in the GRU too: there a variant, since Ba et al. normalise the gates r z and the
            candidate n apart.
    """

    name: str
    gates: tuple[str, ...]
    states: tuple[str, ...] = ("h",)

    def __init__(
        self, input_size: int, hidden_size: int, *, bias: bool = True, proj_size: int = 0, layer_norm: bool = False
    ) -> None:
        self.input_size, self.hidden_size = input_size, hidden_size
        self.bias, self.proj_size, self.layer_norm = bias, proj_size, layer_norm

    @property
    def output_size(self) -> int:
        """R: the size of h, ``proj_size`` or H."""
        return self.proj_size or self.hidden_size

    @property
    def rows(self) -> int:
        """G*H: rows of ``weight_ih``, one block of H a gate."""
        return max(1, len(self.gates)) * self.hidden_size

    def state_sizes(self) -> tuple[int, ...]:
        """The size of each state in ``states``: R for h, H for c."""
        return tuple(self.output_size if s == "h" else self.hidden_size for s in self.states)

    def parameters(self) -> tuple[Parameter, ...]:
        """Every parameter, those of torch first and in torch's order."""
        G, H, R = self.rows, self.hidden_size, self.output_size
        table = [Parameter("weight_ih", (G, self.input_size)), Parameter("weight_hh", (G, R))]
        if self.bias:
            table += [Parameter("bias_ih", (G,)), Parameter("bias_hh", (G,))]
        if self.proj_size:
            table += [Parameter("weight_hr", (R, H))]
        if self.layer_norm:
            table += [Parameter("gain_ih", (G,)), Parameter("gain_hh", (G,))]
        return tuple(table)

    # -- the input product, hoisted out of time ----------------------------------------------------------------

    def project(self, x: Tensor, w: Weights) -> Tensor:
        """``X_bar = W_ih x + b_ih`` over all time: (T, B, I) to (T, B, G*H).

        An integer ``x`` (T, B) holds ids: W_ih times a one-hot vector *is* a column of W_ih, so the product is a
        lookup and nothing one-hot is ever built. With layer norm the product is normalised and scaled first.
        """
        if not x.is_floating_point() and not x.is_complex():
            u = _columns(x, w["weight_ih"])
        elif self.layer_norm:
            u = F.linear(x, w["weight_ih"])
        else:
            return F.linear(x, w["weight_ih"], w.get("bias_ih"))
        if self.layer_norm:
            u = normalise(u)[0] * w["gain_ih"]
        return u + w["bias_ih"] if self.bias else u

    def project_backward(self, d_X_bar: Tensor, x: Tensor, w: Weights) -> tuple[Tensor | None, Gradients]:
        """Gradients of :meth:`project`: ``dx`` (None for ids) and those of its weights, summed over T and B."""
        grads: Gradients = {}
        if self.bias:
            grads["bias_ih"] = d_X_bar.sum((0, 1))
        tokens = not x.is_floating_point()
        d_u = d_X_bar
        if self.layer_norm:
            u = _columns(x, w["weight_ih"]) if tokens else F.linear(x, w["weight_ih"])
            n, inverse = normalise(u)
            grads["gain_ih"] = (d_X_bar * n).sum((0, 1))
            d_u = normalise_backward(d_X_bar * w["gain_ih"], n, inverse)
        flat = d_u.reshape(-1, d_u.shape[-1])
        if tokens:
            by_id = torch.zeros_like(w["weight_ih"].t()).index_add_(0, x.reshape(-1), flat)
            grads["weight_ih"] = by_id.t()
            return None, grads
        grads["weight_ih"] = flat.t() @ x.reshape(-1, x.shape[-1])
        return d_u @ w["weight_ih"], grads

    # -- the recurrent product, shared by the cells ------------------------------------------------------------

    def recur(self, h: Tensor, w: Weights, mask: Tensor | None) -> tuple[Tensor, Tape]:
        """``H_bar = W_hh h + b_hh``, (B, R) to (B, G*H), and its tape."""
        h_in = h if mask is None else h * mask
        if not self.layer_norm:
            return F.linear(h_in, w["weight_hh"], w.get("bias_hh")), {"h_in": h_in}
        n, inverse = normalise(F.linear(h_in, w["weight_hh"]))
        H_bar = n * w["gain_hh"]
        return (H_bar + w["bias_hh"] if self.bias else H_bar), {"h_in": h_in, "n_hh": n, "inverse_hh": inverse}

    def recur_backward(self, d_H_bar: Tensor, tape: Tape, w: Weights, mask: Tensor | None) -> tuple[Tensor, Gradients]:
        """``dh`` through the recurrent product, and this step's share of the weights' gradients."""
        grads: Gradients = {}
        if self.bias:
            grads["bias_hh"] = d_H_bar.sum(0)
        d_u = d_H_bar
        if self.layer_norm:
            grads["gain_hh"] = (d_H_bar * tape["n_hh"]).sum(0)
            d_u = normalise_backward(d_H_bar * w["gain_hh"], tape["n_hh"], tape["inverse_hh"])
        grads["weight_hh"] = d_u.t() @ tape["h_in"]
        d_h = d_u @ w["weight_hh"]
        return (d_h if mask is None else d_h * mask), grads

    # -- one step ----------------------------------------------------------------------------------------------

    @abstractmethod
    def step(self, x_bar: Tensor, state: State, w: Weights, mask: Tensor | None = None) -> tuple[State, Tape]:
        """One step: the new state, and a tape that holds the gates by name.

        Args:
            x_bar: this step's row of :meth:`project`, (B, G*H).
            state: the tensors named in ``states``, each (B, R) or (B, H).
        """

    @abstractmethod
    def step_backward(
        self, d_state: State, tape: Tape, w: Weights, mask: Tensor | None = None
    ) -> tuple[Tensor, State, Gradients]:
        """One step back: ``dx_bar``, the gradient of the state before, and this step's share of the gradients of the
        recurrent weights. The gradient of a weight that every step shares is the *sum* of these over time."""
