"""States are values: what torch users already hold, and a few verbs on it.

A state is h, or (h, c) for an LSTM, each ``(L*D, B, N)`` for a layer and ``(B, N)`` for a cell; any nesting of tuples
(named ones keep their type), lists and dictionaries of such tensors is taken too, and None, which stays None: a state
that is still zero. The batch is always the last dimension but one. Nothing here changes its argument.
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
        return cast(S, _again(state, [_map(fn, value) for value in state]))
    raise TypeError(f"a state is a tensor or a tuple, list or dict of them, not {type(state).__name__}")


def _again(like: Any, values: Sequence[Any]) -> Any:
    """``values`` in a tuple, named tuple or list of the type of ``like``."""
    return type(like)(*values) if hasattr(like, "_fields") else type(like)(values)


def zeros(layer: Any, batch_size: int | None, *, device: Any = None, dtype: torch.dtype | None = None) -> Any:
    """The zero state of a recurrent layer, ours or torch's: h (L*D, B, R), or (h, c) with c (L*D, B, H).

    For a cell, ours or torch's, h (B, H), or (h, c).

    Args:
        batch_size: B, or None for the state of unbatched input, which has no B.
        device, dtype: default to those of the layer's weights.
    """
    weight = next(layer.parameters())
    device, dtype = device or weight.device, dtype or weight.dtype
    batch = () if batch_size is None else (batch_size,)
    if isinstance(layer, torch.nn.RNNCellBase):
        gated = isinstance(layer, torch.nn.LSTMCell) or getattr(layer, "mode", "") == "LSTM"
        h_size = layer.hidden_size
    else:
        gated, h_size = layer.mode == "LSTM", layer.proj_size or layer.hidden_size
        batch = (layer.num_layers * (2 if layer.bidirectional else 1), *batch)
    h = torch.zeros(*batch, h_size, device=device, dtype=dtype)
    return (h, torch.zeros(*batch, layer.hidden_size, device=device, dtype=dtype)) if gated else h


def detach(state: S) -> S:
    """The same values, cut from the graph. ``state = unrolled.detach(state)`` *is* the truncation of truncated BPTT."""
    return _map(lambda s: s.detach(), state)


def reset(state: S, rows: Tensor) -> S:
    """Zero the rows of the batch where ``rows`` (B,) bool is True."""
    return _map(lambda s: s.masked_fill(rows.to(s.device)[:, None], 0.0), state)


def select(state: S, rows: Tensor | Sequence[int]) -> S:
    """The rows of the batch with these indices, in this order; a row may be taken more than once (beam search)."""
    index = torch.as_tensor(rows)
    if not isinstance(rows, Tensor) and index.numel() == 0:
        index = index.long()  # an empty list has no dtype of its own
    if index.dtype == torch.bool:
        index = index.nonzero()[:, 0]
    return _map(lambda s: s.index_select(_BATCH, index.to(s.device)), state)


def stack(states: Sequence[S]) -> S:
    """Put the batches of several states side by side."""
    return cast(S, _stack(list(states)))


def _stack(states: list[Any]) -> Any:
    first = states[0]
    if any(s is None for s in states):
        if not all(s is None for s in states):
            raise ValueError("stack: some states are None and some are not; put unrolled.zeros in place of None")
        return None
    if isinstance(first, Tensor):
        return torch.cat(states, _BATCH)
    if isinstance(first, dict):
        return {key: _stack([s[key] for s in states]) for key in first}
    return _again(first, [_stack(list(parts)) for parts in zip(*states, strict=True)])


def split(state: S, sizes: int | Sequence[int] = 1) -> list[S]:
    """The inverse of :func:`stack`: batches of ``sizes`` rows each (an int: equal ones, the last perhaps smaller).

    Raises:
        ValueError: nothing but None, of which only a list of sizes says how many pieces there are.
    """
    _map(lambda s: s, state)  # what is no state is named here
    if isinstance(sizes, int):
        first = _first(state)
        if first is None:
            raise ValueError(f"split: a state of None has no batch to cut by {sizes}; give a list of sizes")
        B = first.shape[_BATCH]
        sizes = [min(sizes, B - start) for start in range(0, max(B, 1), sizes)]
    return cast(list[S], _split(state, list(sizes)))


def _first(state: Any) -> Tensor | None:
    if state is None or isinstance(state, Tensor):
        return state
    parts = state.values() if isinstance(state, dict) else state
    return next((found for found in map(_first, parts) if found is not None), None)


def _split(state: Any, sizes: list[int]) -> list[Any]:
    if state is None:
        return [None] * len(sizes)
    if isinstance(state, Tensor):
        return list(torch.split(state, sizes, _BATCH))
    if isinstance(state, dict):
        pieces = {key: _split(value, sizes) for key, value in state.items()}
        return [dict(zip(pieces, row, strict=True)) for row in zip(*pieces.values(), strict=True)]
    return [_again(state, row) for row in zip(*(_split(part, sizes) for part in state), strict=True)]
