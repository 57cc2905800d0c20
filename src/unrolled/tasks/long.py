"""Sequences whose activations do not fit: read in pieces along time, the state handed from one to the next.

The exact gradient keeps of each layer what comes out of it, and computes the rest again, piece by piece, when the
gradient needs it (Chen et al. 2016, arXiv:1604.06174). Truncation is something else, and happens on request only: the
state that one piece hands to the next is detached.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from unrolled.layers import GRU, LSTM, RNN
from unrolled.state import zeros

Layer = LSTM | GRU | RNN
LIMIT = 1 << 28
"""Numbers (1 GiB of float32) kept for the backward pass from which on activations are computed again."""
SHARE = 8
"""A piece keeps this part of the limit: its activations are there beside the outputs of all the others."""
GATES = {"LSTM": 6, "GRU": 5}
"""Numbers that a step and unit of a cell keeps, beside input and output; 2 for a vanilla cell."""


def kept(layer: Layer, steps: int, rows: int) -> int:
    """Numbers that the backward pass of ``rows`` sequences of ``steps`` steps needs, about."""
    width = layer.hidden_size * layer.num_layers * (2 if layer.bidirectional else 1) * (GATES.get(layer.mode, 2) + 2)
    return steps * rows * (width + 2 * layer.input_size)


def read(
    layer: Layer, x: Tensor, lengths: Tensor | None, state: Any = None, *, cut: int | None = None
) -> tuple[Tensor, Any]:
    """``layer(x, state, lengths=lengths)``; in pieces along time where too much would be kept, or the gradient is cut.

    In pieces the gradient is the same one. Where the layer draws masks (dropout between layers, recurrent dropout,
    zoneout) each piece draws its own.

    Args:
        x: (T, B, I). lengths: int64 (B,), None for T. state: as the layer takes it; None for zeros.
        cut: k, truncation: in training the state is detached after every k steps, in each layer and direction, counted
            from where it begins to read; not where fewer than k steps would be left. So the gradient of an example's
            last state reaches back k steps at least, and fewer than 2 k.
    Returns:
        (T, B, D*H), and the last state.
    """
    T, B = x.shape[:2]
    cut = cut if layer.training else None
    again = torch.is_grad_enabled() and kept(layer, T, B) > LIMIT
    if not again and not (cut is not None and 2 * cut <= T):
        output, state = layer(x, state, lengths=lengths)
        return output, state
    if lengths is None:
        lengths = torch.full((B,), T, device=x.device)
    piece = cut if cut is not None else max(1, LIMIT * T // (SHARE * kept(layer, T, B)))
    pieces = _Pieces(piece, cut is not None, again, lengths)
    D, states = 2 if layer.bidirectional else 1, []
    for depth in range(layer.num_layers):
        if depth and layer.training and layer.dropout:
            x = F.dropout(x, layer.dropout)
        ways = []
        for k in range(depth * D, depth * D + D):
            row = _row(layer, k)
            if k % D:
                output, last = pieces.through(row, backwards(x, lengths), _state_of(row, state, k, B))
                ways.append(backwards(output, lengths))
            else:
                output, last = pieces.through(row, x, _state_of(row, state, k, B))
                ways.append(output)
            states.append(last)
        x = ways[0] if D == 1 else torch.cat(ways, -1)
    joined = tuple(torch.cat(parts) for parts in zip(*states, strict=True))
    return x, joined if len(joined) > 1 else joined[0]


def cut_of(bptt: str) -> int | None:
    """``--bptt`` as :func:`read` takes it."""
    return None if bptt == "full" else int(bptt)


def described(cut: int | None) -> str:
    """What the model card says of the gradient."""
    return "exact, over the whole sequence" if cut is None else f"truncated: cut every {cut:,} steps (--bptt {cut})"


def notes(lengths: NDArray[np.int64], most: int, cut: int | None, what: str) -> list[str]:
    """What people are told at the start.

    Args:
        lengths: of the training sequences. most: numbers that the longest of them keeps. what: their name.
    """
    found = []
    longer = 0 if cut is None else int((lengths >= 2 * cut).sum())
    if longer:
        found.append(
            f"--bptt {cut}: the gradient is truncated, cut every {cut:,} steps, in {longer:,} of {len(lengths):,} "
            f"{what}; --bptt full makes it exact"
        )
    if most > LIMIT:
        found.append(
            f"the longest of the {what} has {int(lengths.max()):,} steps: its activations (in float32 about "
            f"{most / 2**28:.1f} GiB, and {LIMIT / 2**28:g} is the limit) are computed again, piece by piece, when the "
            "gradient needs them; it stays exact"
        )
    return found


class _Pieces:
    """Sequences in pieces of ``size`` steps, through one layer in one direction."""

    def __init__(self, size: int, cut: bool, again: bool, lengths: Tensor) -> None:
        self.size, self.cut, self.again, self.lengths = size, cut, again, lengths

    def through(self, row: Layer, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(T, B, I) to (T, B, H), and the last state, each (1, B, H)."""
        made = []
        for k, part in enumerate(torch.split(x, self.size)):
            left = self.lengths - k * self.size
            if self.cut and k:
                ends = (left >= self.size)[:, None]
                state = tuple(torch.where(ends, s.detach(), s) for s in state)
            inside = left.clamp(0, len(part))
            if self.again:
                output, *new = checkpoint(_run, row, part, inside, *state, use_reentrant=False)
            else:
                output, *new = _run(row, part, inside, *state)
            made.append(output)
            state = tuple(new)
        return torch.cat(made), state


def _run(row: Layer, x: Tensor, lengths: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
    output, last = row(x, state if len(state) > 1 else state[0], lengths=lengths)
    return (output, *last) if isinstance(last, tuple) else (output, last)


def _row(layer: Layer, k: int) -> Layer:
    """One layer of the stack in one direction, k as in h_n, as a layer of its own over the same parameters."""
    D = 2 if layer.bidirectional else 1
    size = layer.input_size if k < D else layer.hidden_size * D
    options: dict[str, Any] = {
        "bias": layer.bias, "layer_norm": layer.layer_norm, "recurrent_dropout": layer.recurrent_dropout,
        "zoneout": layer.zoneout, "engine": layer.engine, "device": "meta",
    }  # fmt: skip
    if isinstance(layer, RNN):
        options["nonlinearity"] = layer.nonlinearity
    if isinstance(layer, GRU):
        options["reset_after"] = layer.reset_after
    row = type(layer)(size, layer.hidden_size, **options)
    for name, _ in list(row.named_parameters()):
        setattr(row, name, getattr(layer, f"{name.removesuffix('0')}{k // D}" + ("_reverse" if k % D else "")))
    return row.train(layer.training)


def _state_of(row: Layer, state: Any, k: int, B: int) -> tuple[Tensor, ...]:
    """The state of row ``k``, each (1, B, H)."""
    found = zeros(row, B) if state is None else state
    parts = found if isinstance(found, tuple) else (found,)
    return parts if state is None else tuple(part[k : k + 1] for part in parts)


def backwards(x: Tensor, lengths: Tensor) -> Tensor:
    """(T, B, ...): each row's valid steps in the opposite order, its padding where it was."""
    step = torch.arange(len(x), device=x.device)[:, None]
    place = torch.where(step < lengths, lengths - 1 - step, step)
    return x[place, torch.arange(x.shape[1], device=x.device)]
