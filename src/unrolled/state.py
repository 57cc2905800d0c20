"""States are values: what torch users already hold, and a few verbs on it.

A state is h, or (h, c) for an LSTM, each ``(L*D, B, N)`` for a layer and ``(B, N)`` for a cell; any nesting of tuples,
lists and dictionaries of such tensors is taken too. Nothing here changes its argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

S = TypeVar("S")

_BATCH = -2  # the batch's dimension, counted from the end: right for layers and for cells


def _map(fn: Callable[[Tensor], Tensor], state: S) -> S:
    if state is None:
        return cast(S, None)
    if isinstance(state, Tensor):
        return cast(S, fn(state))
    if isinstance(state, dict):
        return cast(S, {key: _map(fn, value) for key, value in state.items()})
    if isinstance(state, (tuple, list)):
        return cast(S, type(state)(_map(fn, value) for value in state))
    raise TypeError(f"a state is a tensor or a tuple, list or dict of them, not {type(state).__name__}")


def zeros(layer: Any, batch_size: int | None, *, device: Any = None, dtype: torch.dtype | None = None) -> Any:
    """The zero state of a recurrent layer, ours or torch's: h (L*D, B, R), or (h, c) with c (L*D, B, H).

    Args:
        batch_size: B, or None for the state of unbatched input.
        device, dtype: default to those of the layer's weights.
    """
    weight = next(layer.parameters())
    device, dtype = device or weight.device, dtype or weight.dtype
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    batch = () if batch_size is None else (batch_size,)
    h = torch.zeros(rows, *batch, layer.proj_size or layer.hidden_size, device=device, dtype=dtype)
    if layer.mode != "LSTM":
        return h
    return h, torch.zeros(rows, *batch, layer.hidden_size, device=device, dtype=dtype)


def detach(state: S) -> S:
    """The same values, cut from the graph. ``state = unrolled.detach(state)`` *is* the truncation of truncated BPTT."""
    return _map(lambda s: s.detach(), state)


def reset(state: S, rows: Tensor) -> S:
    """Zero the rows of the batch where ``rows`` (B,) bool is True."""
    return _map(lambda s: s.masked_fill(rows.to(s.device)[:, None], 0.0), state)


def select(state: S, rows: Tensor | Sequence[int]) -> S:
    """The rows of the batch with these indices, in this order; a row may be taken more than once (beam search)."""
    index = torch.as_tensor(rows)
    if index.dtype == torch.bool:
        index = index.nonzero()[:, 0]
    return _map(lambda s: s.index_select(_BATCH, index.to(s.device)), state)


def stack(states: Sequence[S]) -> S:
    """Put the batches of several states side by side."""
    return cast(S, _stack(list(states)))


def _stack(states: list[Any]) -> Any:
    first = states[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(states, _BATCH)
    if isinstance(first, dict):
        return {key: _stack([s[key] for s in states]) for key in first}
    return type(first)(_stack(list(parts)) for parts in zip(*states, strict=True))


def split(state: S, sizes: int | Sequence[int] = 1) -> list[S]:
    """The inverse of :func:`stack`: batches of ``sizes`` rows each (an int: equal ones)."""
    return cast(list[S], _split(state, sizes if isinstance(sizes, int) else list(sizes)))


def _split(state: Any, sizes: int | list[int]) -> list[Any]:
    if isinstance(state, Tensor):
        return list(torch.split(state, sizes, _BATCH))
    if isinstance(state, dict):
        pieces = {key: _split(value, sizes) for key, value in state.items()}
        return [dict(zip(pieces, row, strict=True)) for row in zip(*pieces.values(), strict=True)]
    return [type(state)(row) for row in zip(*(_split(part, sizes) for part in state), strict=True)]
