"""From what a caller holds to what an engine takes, and back: layout, missing states, packed input, checks."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from unrolled.shapes import ShapeError, expect


@dataclasses.dataclass(frozen=True)
class Entry:
    """A call in the one form used inside: time first, batched, states present."""

    x: Tensor  # (T, B, I), or ids (T, B)
    state: tuple[Tensor, ...]  # each (L*D, B, N)
    lengths: Tensor | None
    resets: Tensor | None
    batched: bool
    packed: PackedSequence | None

    @property
    def tokens(self) -> bool:
        return not self.x.is_floating_point()


def enter(layer: Any, input: Tensor | PackedSequence, hx: Any, lengths: Any, resets: Tensor | None) -> Entry:
    """Check everything once and bring it into the form used inside.

    Raises:
        ShapeError, ValueError, TypeError: name the argument and what was expected.
    """
    packed = input if isinstance(input, PackedSequence) else None
    if packed is not None:
        if lengths is not None or resets is not None:
            raise ValueError("a PackedSequence carries its own lengths; give lengths= and resets= with padded input")
        x, lengths = pad_packed_sequence(packed)
        batched = True
    else:
        x, batched = _layout(layer, input)
    _check_input(layer, x)
    B = x.shape[1]
    state = _state(layer, x, hx, batched)
    return Entry(x, state, _lengths(lengths, x), _resets(layer, resets, x, batched, B), batched, packed)


def leave(layer: Any, entry: Entry, output: Tensor, state: tuple[Tensor, ...]) -> tuple[Any, Any]:
    """Output and state in the caller's layout."""
    if not entry.batched:
        state = tuple(s.squeeze(1) for s in state)
    hx = state if len(state) > 1 else state[0]
    if entry.packed is not None:
        return _repack(entry, output), hx
    if not entry.batched:
        return output.squeeze(1), hx
    return (output.transpose(0, 1) if layer.batch_first else output), hx


def _layout(layer: Any, input: Any) -> tuple[Tensor, bool]:
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be a Tensor or a PackedSequence, not {type(input).__name__}")
    if input.is_complex() or input.dtype == torch.bool:
        raise TypeError(f"input has dtype {input.dtype}; give floating point, or integer ids for one-hot vectors")
    dims = 3 if input.is_floating_point() else 2
    if input.dim() not in (dims - 1, dims):
        words = "(T, B, I) or (T, I)" if dims == 3 else "ids (T, B) or (T,)"
        raise ShapeError(f"input has {input.dim()} dimensions, expected {dims} or {dims - 1}: {words}")
    batched = input.dim() == dims
    if not batched:
        return input.unsqueeze(1), False
    return (input.transpose(0, 1) if layer.batch_first else input), True


def _check_input(layer: Any, x: Tensor) -> None:
    if x.shape[0] == 0:
        raise ShapeError(f"input has shape {tuple(x.shape)}: T is 0, expected at least one step")
    if not x.is_floating_point():
        if x.numel() and x.device.type == "cpu" and not torch.compiler.is_compiling():
            low, high = (int(v) for v in torch.aminmax(x))
            if low < 0 or high >= layer.input_size:
                raise ValueError(f"input holds the id {low if low < 0 else high}, expected 0 to {layer.input_size - 1}")
        return
    if x.shape[-1] != layer.input_size:
        raise ShapeError(
            f"input has shape {tuple(x.shape)}, expected a last dimension of input_size = {layer.input_size}"
        )
    dtype = layer.weight_ih_l0.dtype
    if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(f"input has dtype {x.dtype}, the weights have {dtype}: convert one of them")


def _state(layer: Any, x: Tensor, hx: Any, batched: bool) -> tuple[Tensor, ...]:
    rows, B = layer.num_layers * (2 if layer.bidirectional else 1), x.shape[1]
    sizes = [layer.proj_size or layer.hidden_size] + ([layer.hidden_size] if layer.mode == "LSTM" else [])
    if hx is None:
        like = layer.weight_ih_l0
        dtype = x.dtype if x.is_floating_point() else like.dtype
        return tuple(torch.zeros(rows, B, N, dtype=dtype, device=x.device) for N in sizes)
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx)
    if len(states) != len(sizes):
        raise ValueError(f"hx holds {len(states)} tensors, expected {'(h, c)' if len(sizes) == 2 else 'h alone'}")
    for name, s, N in zip("hc", states, sizes, strict=False):
        if batched:
            expect(f"hx ({name})", tuple(s.shape), (rows, B, N), "(L*D, B, N)")
        else:
            expect(f"hx ({name})", tuple(s.shape), (rows, N), "(L*D, N), as the input is unbatched")
    return states if batched else tuple(s.unsqueeze(1) for s in states)


def _lengths(lengths: Any, x: Tensor) -> Tensor | None:
    if lengths is None:
        return None
    rows: Tensor = torch.as_tensor(lengths)
    if rows.is_floating_point() or rows.dtype == torch.bool:
        raise TypeError(f"lengths has dtype {rows.dtype}, expected integers")
    expect("lengths", tuple(rows.shape), (x.shape[1],), "(B,)")
    if rows.numel() and not torch.compiler.is_compiling():
        low, high = (int(v) for v in torch.aminmax(rows))
        if low < 0 or high > x.shape[0]:
            raise ValueError(f"lengths holds {low if low < 0 else high}, expected 0 to T = {x.shape[0]}")
    return rows.to(x.device)


def _resets(layer: Any, resets: Tensor | None, x: Tensor, batched: bool, B: int) -> Tensor | None:
    if resets is None:
        return None
    if not isinstance(resets, Tensor) or resets.dtype != torch.bool:
        what = resets.dtype if isinstance(resets, Tensor) else type(resets).__name__
        raise TypeError(f"resets is {what}, expected a bool tensor (T, B)")
    if not batched:
        expect("resets", tuple(resets.shape), (x.shape[0],), "(T,), as the input is unbatched")
        return resets.unsqueeze(1).to(x.device)
    if layer.batch_first:
        expect("resets", tuple(resets.shape), (B, x.shape[0]), "(B, T), as the layer is batch_first")
        resets = resets.transpose(0, 1)
    expect("resets", tuple(resets.shape), (x.shape[0], B), "(T, B)")
    return resets.to(x.device)


def _repack(entry: Entry, output: Tensor) -> PackedSequence:
    packed = entry.packed
    assert packed is not None
    assert entry.lengths is not None
    lengths = entry.lengths.cpu()
    if packed.sorted_indices is not None:
        output = output.index_select(1, packed.sorted_indices)
        lengths = lengths.index_select(0, packed.sorted_indices.cpu())
    data, batch_sizes = torch._VF._pack_padded_sequence(output, lengths, False)
    return PackedSequence(data, batch_sizes, packed.sorted_indices, packed.unsorted_indices)
