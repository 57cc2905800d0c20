"""From what a caller holds to what an engine takes, and back: layout, missing states, packed input, checks."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from unrolled.engines.select import autocasting, values_visible
from unrolled.shapes import ShapeError, expect


class Entry(NamedTuple):
    """A call in the one form used inside: time first, batched, states present."""

    x: Tensor  # (T, B, I), or ids (T, B)
    state: tuple[Tensor, ...]  # each (L*D, B, N)
    lengths: Tensor | None
    resets: Tensor | None
    batched: bool
    packed: PackedSequence | None
    embedding: Tensor | None = None  # (V, I), whose rows the ids stand for

    def looked_up(self) -> Entry:
        """For engines that know no embedding: its rows in the place of the ids."""
        if self.embedding is None:
            return self
        return self._replace(x=F.embedding(self.x, self.embedding), embedding=None)

    @property
    def tokens(self) -> bool:
        return not self.x.is_floating_point()


def weight_of(layer: Any, name: str = "weight_ih_l0") -> Tensor:
    """A layer's parameter. ``getattr`` reaches it through Module's own look-up, which is slow; one that a
    parametrisation computes is found by nothing else."""
    found: Tensor | None = layer._parameters.get(name)
    return getattr(layer, name) if found is None else found


def enter(
    layer: Any,
    input: Tensor | PackedSequence,
    hx: Any,
    lengths: Any,
    resets: Tensor | None,
    embedding: Tensor | None = None,
) -> Entry:
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
    rows = _lengths(lengths, x, batched)
    if embedding is not None:
        check_embedding(embedding, x, weight_of(layer))
    if not x.is_floating_point():
        check_ids(x, layer.input_size if embedding is None else embedding.shape[0], rows)
    state = _state(layer, x, hx, batched)
    if embedding is not None and rows is not None:  # ids in the padding may be anything; a look-up takes no such thing
        x = x.masked_fill(torch.arange(x.shape[0], device=x.device)[:, None] >= rows, 0)
    return Entry(x, state, rows, _resets(layer, resets, x, batched), batched, packed, embedding)


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


def as_input(input: Any, what: str = "a Tensor or a PackedSequence") -> Tensor:
    """Floating point as it is; integers of any width, ids, as int64.

    Raises:
        TypeError: no tensor; or complex or bool, which are neither.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"input must be {what}, not {type(input).__name__}")
    if input.is_floating_point():
        return input
    if input.is_complex() or input.dtype == torch.bool:
        raise TypeError(f"input has dtype {input.dtype}; give floating point, or integer ids for one-hot vectors")
    return input.long()


def check_ids(ids: Tensor, input_size: int, lengths: Tensor | None = None) -> None:
    """Ids (T, B) or (B,) on a CPU, within 0 and I; what stands past a length may be anything.

    Raises:
        ValueError: names the id and the range.
    """
    if ids.device.type != "cpu" or not ids.numel() or not values_visible():
        return
    if lengths is not None:
        ids = ids.masked_fill(torch.arange(ids.shape[0], device=ids.device)[:, None] >= lengths, 0)
    low, high = (int(v) for v in torch.aminmax(ids))
    if low < 0 or high >= input_size:
        raise ValueError(f"input holds the id {low if low < 0 else high}, expected 0 to {input_size - 1}")


def check_embedding(embedding: Any, ids: Tensor, weight: Tensor) -> None:
    """Raises TypeError, ShapeError or ValueError where ``embedding`` is not (V, I) beside integer input."""
    if not isinstance(embedding, Tensor) or not embedding.is_floating_point():
        what = embedding.dtype if isinstance(embedding, Tensor) else type(embedding).__name__
        raise TypeError(f"embedding is {what}, expected a floating-point tensor (V, I)")
    if ids.is_floating_point():
        raise TypeError(f"embedding= is for integer input, the ids of its rows; the input has dtype {ids.dtype}")
    if embedding.dim() != 2 or embedding.shape[1] != weight.shape[1]:
        raise ShapeError(f"embedding has shape {tuple(embedding.shape)}, expected (V, I) with I = {weight.shape[1]}")
    if embedding.device != ids.device:
        raise ValueError(f"embedding is on {embedding.device}, the input on {ids.device}: move one of them")
    if embedding.dtype != weight.dtype and not autocasting(ids.device.type):
        raise ValueError(f"embedding has dtype {embedding.dtype}, the weights have {weight.dtype}: convert one of them")


def check_dtype(x: Tensor, weight: Tensor) -> None:
    """Raises ValueError where floating-point input and weights differ in dtype, and no autocast makes them one."""
    if x.is_floating_point() and x.dtype != weight.dtype and not autocasting(x.device.type):
        raise ValueError(f"input has dtype {x.dtype}, the weights have {weight.dtype}: convert one of them")


def as_state(hx: Any, count: int) -> tuple[Tensor, ...]:
    """A state that a caller gave: h, or (h, c), as a tuple of tensors.

    Raises:
        TypeError: something else than tensors. ValueError: another number of them.
    """
    expected = "(h, c)" if count == 2 else "h alone"
    states = (hx,) if isinstance(hx, Tensor) else tuple(hx) if isinstance(hx, (tuple, list)) else ()
    if not states or not all([isinstance(s, Tensor) for s in states]):
        what = ", ".join(type(s).__name__ for s in states) if states else type(hx).__name__
        raise TypeError(f"hx is {what}, expected tensors: {expected}")
    if len(states) != count:
        raise ValueError(f"hx holds {len(states)} tensors, expected {expected}")
    return states


def check_state(name: str, s: Tensor, x: Tensor, weight: Tensor) -> None:
    """Raises ValueError where a given state lies on another device, or has another dtype, than the input."""
    if s.device != x.device:
        raise ValueError(f"hx ({name}) is on {s.device}, the input on {x.device}: move one of them")
    dtype = x.dtype if x.is_floating_point() else weight.dtype
    if s.dtype != dtype and not autocasting(x.device.type):
        whose = "the input has" if x.is_floating_point() else "the weights have"
        raise ValueError(f"hx ({name}) has dtype {s.dtype}, {whose} {dtype}: convert one of them")


def _layout(layer: Any, input: Any) -> tuple[Tensor, bool]:
    input = as_input(input)
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
    if x.is_floating_point() and x.shape[-1] != layer.input_size:
        raise ShapeError(
            f"input has shape {tuple(x.shape)}, expected a last dimension of input_size = {layer.input_size}"
        )
    check_dtype(x, weight_of(layer))


def _state(layer: Any, x: Tensor, hx: Any, batched: bool) -> tuple[Tensor, ...]:
    rows, B = layer.num_layers * (2 if layer.bidirectional else 1), x.shape[1]
    sizes = [layer.proj_size or layer.hidden_size] + ([layer.hidden_size] if layer.mode == "LSTM" else [])
    if hx is None:
        dtype = x.dtype if x.is_floating_point() else weight_of(layer).dtype
        return tuple([_zeros(x, dtype, (rows, B, N)) for N in sizes])
    states = as_state(hx, len(sizes))
    for name, s, N in zip("hc", states, sizes, strict=False):
        if batched:
            expect(f"hx ({name})", tuple(s.shape), (rows, B, N), "(L*D, B, N)")
        else:
            expect(f"hx ({name})", tuple(s.shape), (rows, N), "(L*D, N), as the input is unbatched")
        check_state(name, s, x, weight_of(layer))
    return states if batched else tuple(s.unsqueeze(1) for s in states)


_KEPT: dict[tuple[object, ...], Tensor] = {}


def _zeros(x: Tensor, dtype: torch.dtype, shape: tuple[int, int, int]) -> Tensor:
    """A state that was not given. Small ones on a CPU are kept, since making one takes as long as checking a whole
    call: so nobody may write into it, or hand it out."""
    if not values_visible() or not x.is_cpu or type(x) not in (Tensor, nn.Parameter):
        return torch.zeros(shape, dtype=dtype, device=x.device)
    found = _KEPT.get((dtype, shape))
    if found is None:
        with torch.inference_mode(False):  # one made in inference mode could not take part in training
            found = torch.zeros(shape, dtype=dtype, device="cpu")
        if type(found) is Tensor and found.numel() <= 1 << 14:  # a dispatch mode may have made another kind
            if len(_KEPT) >= 64:
                _KEPT.clear()
            _KEPT[dtype, shape] = found
    return found


def _copied(lengths: Any) -> Tensor:
    """As integers of our own: what a caller writes into theirs before the backward call must not reach it."""
    try:
        rows = lengths.clone() if isinstance(lengths, Tensor) else torch.tensor(lengths, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"lengths is {type(lengths).__name__}, expected integers (B,)") from None
    empty = not rows.numel() and not isinstance(lengths, Tensor)  # a list of none has no dtype of its own
    if not empty and (rows.is_floating_point() or rows.dtype == torch.bool):
        raise TypeError(f"lengths has dtype {rows.dtype}, expected integers")
    return rows.long()


def _lengths(lengths: Any, x: Tensor, batched: bool) -> Tensor | None:
    if lengths is None:
        return None
    rows = _copied(lengths)
    if not batched and rows.dim() == 0:
        rows = rows.unsqueeze(0)
    expect("lengths", tuple(rows.shape), (x.shape[1],), "(B,)" if batched else "(1,) or ()")
    if rows.numel() and values_visible():
        low, high = (int(v) for v in torch.aminmax(rows))
        if low < 0 or high > x.shape[0]:
            raise ValueError(f"lengths holds {low if low < 0 else high}, expected 0 to T = {x.shape[0]}")
    return rows.to(x.device)


def _resets(layer: Any, resets: Tensor | None, x: Tensor, batched: bool) -> Tensor | None:
    B = x.shape[1]
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
