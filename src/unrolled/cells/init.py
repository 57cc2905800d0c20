"""Initial values of a cell's parameters, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from unrolled.cells.base import HALVES, Cell

INITS = ("torch", "orthogonal", "identity", "chrono", "normal")
NORMAL_STD = 0.01


CHRONO_T_MAX = 256
"""The longest dependency that ``chrono`` expects where no ``t_max`` is given."""


def check_init(cell: Cell, scheme: str, forget_bias: float | None, t_max: int | None = None) -> None:
    """Refuse, at construction and by name, what does not go together."""
    if scheme not in INITS:
        raise ValueError(f"init={scheme!r}: not one of {', '.join(INITS)}")
    if scheme == "identity" and cell.gates:
        raise ValueError(
            f"init='identity' starts W_hh as the identity, which means nothing for the gates of {cell.name}"
        )
    if scheme == "chrono" and (not cell.gates or not cell.bias):
        raise ValueError(f"init='chrono' sets gate biases: it needs an LSTM or a GRU with bias=True, not {cell.name}")
    if t_max is not None and scheme != "chrono":
        raise ValueError(f"t_max={t_max}: only init='chrono' takes it, not init={scheme!r}")
    if t_max is not None and t_max < 3:
        raise ValueError(f"t_max={t_max}: the longest dependency of init='chrono' must be at least 3")
    if forget_bias is None:
        return
    if "f" not in cell.gates or not cell.bias:
        raise ValueError(f"forget_bias={forget_bias}: needs an LSTM with bias=True, not {cell.name}")
    if scheme == "chrono":
        raise ValueError("forget_bias and init='chrono' both set the forget bias: give one")


@torch.no_grad()
def initialise(
    cell: Cell,
    w: Mapping[str, Tensor],
    scheme: str = "torch",
    forget_bias: float | None = None,
    t_max: int | None = None,
) -> None:
    """Fill ``w`` in place.

    Args:
        scheme: ``torch``: U(-1/sqrt(H), 1/sqrt(H)) for every weight and bias, drawn as torch.nn draws them, so the same
            seed gives the same numbers. ``orthogonal``: each gate's block of W_hh orthogonal (Saxe et al. 2014,
            arXiv:1312.6120), W_ih Glorot-uniform by gate, biases 0. ``identity``: W_hh = I, W_ih ~ N(0, 0.001^2),
            biases 0 (Le, Jaitly & Hinton 2015, arXiv:1504.00941, for relu; the identity and tanh are taken too, though
            tanh does not keep the state, it shrinks it). ``chrono``: torch's values for the matrices, the forget bias
            (the GRU's update bias) drawn as ln U(1, t_max - 1), the LSTM's input bias its negative, and every other
            bias 0 (Tallec & Ollivier 2018, arXiv:1804.11188, section 2).
            ``normal``: N(0, 0.01^2), biases 0 (the lecture's program).
        forget_bias: b_if + b_hf of an LSTM (Jozefowicz, Zaremba & Sutskever 2015).
        t_max: longest dependency expected, for ``chrono`` alone: 3 or more, None for 256.
    """
    check_init(cell, scheme, forget_bias, t_max)
    _SCHEMES[scheme](cell, w)
    for name, tensor in w.items():
        if name.startswith(("gain", "shift")):
            tensor.fill_(1.0 if name.startswith("gain") else 0.0)
    if scheme == "chrono":
        _chrono_biases(cell, w, CHRONO_T_MAX if t_max is None else t_max)
    if forget_bias is not None:
        _gate(cell, w["bias_ih"], "f").fill_(forget_bias)
        _gate(cell, w["bias_hh"], "f").zero_()


def _gate(cell: Cell, tensor: Tensor, gate: str) -> Tensor:
    k, H = cell.gates.index(gate), cell.hidden_size
    return tensor[k * H : (k + 1) * H]


def _matrices_only(cell: Cell, w: Mapping[str, Tensor], fill: Callable[[str, Tensor], object]) -> None:
    for name, tensor in w.items():
        if name.startswith("weight"):
            fill(name, tensor)
        elif name.startswith("bias"):
            tensor.zero_()


def _torch(cell: Cell, w: Mapping[str, Tensor]) -> None:
    bound = 1.0 / math.sqrt(cell.hidden_size)
    for name, tensor in w.items():
        if name.startswith(("weight", "bias")):
            torch.nn.init.uniform_(tensor, -bound, bound)


def _orthogonal(cell: Cell, w: Mapping[str, Tensor]) -> None:
    def fill(name: str, tensor: Tensor) -> None:
        blocks = 1 if name == "weight_hr" else max(1, len(cell.gates))
        for block in tensor.chunk(blocks):
            if name == "weight_ih":
                torch.nn.init.xavier_uniform_(block)
            else:
                # QR has no half-precision kernel: such blocks are drawn in float32 and rounded.
                drawn = torch.empty_like(block, dtype=torch.float32 if block.dtype in HALVES else block.dtype)
                block.copy_(torch.nn.init.orthogonal_(drawn))

    _matrices_only(cell, w, fill)


def _identity(cell: Cell, w: Mapping[str, Tensor]) -> None:
    def fill(name: str, tensor: Tensor) -> None:
        if name == "weight_hh":
            torch.nn.init.eye_(tensor)
        else:
            torch.nn.init.normal_(tensor, 0.0, 0.001)

    _matrices_only(cell, w, fill)


def _normal(cell: Cell, w: Mapping[str, Tensor]) -> None:
    _matrices_only(cell, w, lambda name, tensor: torch.nn.init.normal_(tensor, 0.0, NORMAL_STD))


def _chrono_biases(cell: Cell, w: Mapping[str, Tensor], t_max: int) -> None:
    keep = "f" if "f" in cell.gates else "z"
    bias = torch.empty_like(_gate(cell, w["bias_ih"], keep)).uniform_(1.0, t_max - 1.0).log_()
    w["bias_ih"].zero_()
    w["bias_hh"].zero_()
    _gate(cell, w["bias_ih"], keep).copy_(bias)
    if keep == "f":
        _gate(cell, w["bias_ih"], "i").copy_(-bias)


_SCHEMES: dict[str, Callable[[Cell, Mapping[str, Tensor]], None]] = {
    "torch": _torch,
    "orthogonal": _orthogonal,
    "identity": _identity,
    "chrono": _torch,
    "normal": _normal,
}
