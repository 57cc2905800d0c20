"""What a stack of layers is, in sizes and rates: one description for a module, an operator and a recomputation."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unrolled.cells import Cell, GRUCell, LSTMCell, RNNCell
from unrolled.engines.call import Call
from unrolled.engines.masks import with_masks
from unrolled.engines.native import core
from unrolled.shapes import ShapeError

DTYPES = (torch.float32, torch.float64)

CODES = ("rnn-tanh", "rnn-relu", "rnn-identity", "lstm", "gru", "gru-reset-before")
"""The cells of the compiled core, in the order of its own numbering."""

PARAMETERS = (
    "weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "gain_ih", "gain_hh", "gain_c", "shift_c",
)  # fmt: skip
"""In the order in which the core takes them."""

REMEMBERED = 64
"""Layouts that a net keeps at a time: lengths and batches mostly repeat."""

_ALIGN = 16  # numbers: a part of the tape begins at a whole cache line


class Rates(NamedTuple):
    """Dropout between layers, recurrent dropout, and zoneout for each state. They act in training, where there is a
    seed; in evaluation zoneout alone does, by its expectation."""

    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: tuple[float, ...] = ()


class Layout(NamedTuple):
    """Where a tape keeps what, counted in numbers: for each row (layer and direction) gates, cells and norms, -1 for
    none; for each layer but the last its output, and what dropout made of it."""

    gates: list[int]
    cells: list[int]
    norms: list[int]
    outputs: list[int]
    dropped: list[int]
    total: int
    rows: dict[bool, Any]
    """What the core keeps of it, by whether the numbers are double: see :meth:`Net.rows`."""


class Net:
    """All layers and directions: a cell for each row of h_n, direction fastest."""

    def __init__(self, cells: Sequence[Cell], directions: int) -> None:
        first = cells[0]
        self.cells, self.directions, self.layers = tuple(cells), directions, len(cells) // directions
        self.code = CODES.index(first.name)
        self.H, self.P, self.R, self.GH = first.hidden_size, first.proj_size, first.output_size, first.rows
        self.gated, self.has_c, self.layer_norm = bool(first.gates), "c" in first.states, int(first.layer_norm)
        self.taped = 0 if not self.gated else self.H * (4 if first.name == "gru" else len(first.gates))
        self.inputs = [cell.input_size for cell in cells]
        self.names = [tuple(p.name for p in cell.parameters()) for cell in cells]
        self.shapes = [p.shape for cell in cells for p in cell.parameters()]
        self.per_row = len(self.names[0])
        self.slots = [PARAMETERS.index(name) for name in self.names[0]]
        """Of every parameter of a row, its place among the core's."""
        self.reverse = [k % directions for k in range(len(cells))]
        """Whether a row reads from the last step to the first."""
        self._layouts: dict[tuple[int, int, bool, bool, bool], Layout] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For a copy, or a pickle: what the core keeps is made anew there."""
        return self.__dict__ | {"_layouts": {}}

    def layout(self, T: int, B: int, zoneout: bool, dropping: bool, keep: bool = True) -> Layout:
        """The tape of ``T`` steps of ``B`` rows; the latest are remembered. Without ``keep`` it has room for what one
        layer hands to the next alone."""
        key = (T, B, zoneout, dropping, keep)
        if not type(T) is type(B) is int or torch.compiler.is_compiling():  # sizes may be symbols
            return self._lay_out(*key)
        found = self._layouts.get(key)
        if found is None:
            if len(self._layouts) >= REMEMBERED:
                self._layouts.clear()
            found = self._layouts[key] = self._lay_out(*key)
        return found

    def _lay_out(self, T: int, B: int, zoneout: bool, dropping: bool, keep: bool) -> Layout:
        at, rows, n = 0, range(len(self.cells)), T * B
        if not keep:
            none, size = [-1 for _ in rows], _rounded(n * self.directions * self.R)
            turns = [k % 2 * size for k in range(self.layers - 1)]  # a layer reads one half and writes the other
            return Layout(none, none, none, turns, turns if dropping else none, min(2, self.layers - 1) * size, {})
        widths = (
            self.taped,
            self.H if self.has_c or (zoneout and not self.gated) else 0,
            2 * self.GH + 4 if self.layer_norm else 0,
        )
        found: list[list[int]] = [[], [], []]
        for _ in rows:
            for places, width in zip(found, widths, strict=True):
                places.append(at if width else -1)
                at += _rounded(n * width)
        outputs, dropped = [], []
        for _ in range(self.layers - 1):
            outputs.append(at)
            at += _rounded(n * self.directions * self.R)
            dropped.append(at if dropping else -1)
            at += _rounded(n * self.directions * self.R) if dropping else 0
        return Layout(found[0], found[1], found[2], outputs, dropped, at, {})

    def rows(self, layout: Layout, T: int, B: int, double: bool) -> Any:
        """The stack as the core keeps it, for ``layout``, which is of ``T`` and ``B``; made once."""
        made = layout.rows.get(double)
        if made is None:
            made = layout.rows[double] = core.rows(
                double, self.code, T, B, self.H, self.P, bool(self.layer_norm), self.directions, self.inputs,
                self.reverse, self.slots, layout.gates, layout.cells, layout.norms, layout.outputs, layout.dropped,
            )  # fmt: skip
        return made

    def call(
        self, k: int, x: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor], lengths: Tensor | None,
        resets: Tensor | None, rates: Rates, seed: Tensor | None,
    ) -> Call:  # fmt: skip
        """Row ``k`` as the reference engine takes it; ``state`` and ``weights`` are those of all rows."""
        w = dict(zip(self.names[k], weights[k * self.per_row : (k + 1) * self.per_row], strict=True))
        layer, direction = divmod(k, self.directions)
        call = Call(self.cells[k], w, x, tuple(s[k] for s in state), lengths, resets, direction == 1)
        return with_masks(call, layer, direction, rates.recurrent_dropout, rates.zoneout, seed)


def _rounded(n: int) -> int:
    return (n + _ALIGN - 1) // _ALIGN * _ALIGN


@functools.lru_cache(maxsize=256)
def net_of(
    cell: str, input_size: int, hidden_size: int, num_layers: int, bidirectional: bool, bias: bool, proj_size: int,
    layer_norm: bool,
) -> Net:  # fmt: skip
    """The net of these sizes; ``cell`` is a name in :data:`CODES`."""
    directions = 2 if bidirectional else 1
    cells = []
    for k in range(num_layers * directions):
        size = input_size if k < directions else (proj_size or hidden_size) * directions
        cells.append(_cell(cell, size, hidden_size, bias, proj_size, layer_norm))
    return Net(cells, directions)


def _cell(name: str, input_size: int, hidden_size: int, bias: bool, proj_size: int, layer_norm: bool) -> Cell:
    if name == "lstm":
        return LSTMCell(input_size, hidden_size, bias=bias, proj_size=proj_size, layer_norm=layer_norm)
    if name.startswith("gru"):
        return GRUCell(input_size, hidden_size, reset_after=name == "gru", bias=bias, layer_norm=layer_norm)
    return RNNCell(input_size, hidden_size, nonlinearity=name[4:], bias=bias, layer_norm=layer_norm)


def check(
    net: Net, x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor], lengths: Tensor | None,
    resets: Tensor | None,
) -> None:  # fmt: skip
    """What the core takes on trust, looked at once: it gets addresses and sizes, nothing else.

    Raises:
        ShapeError, TypeError: names the argument and both shapes, or dtypes.
    """
    dtype = check_weights(net, weights)
    if x.dim() < 2:
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected (T, B, I), or ids (T, B)")
    T, B = x.shape[0], x.shape[1]
    if not T:
        raise ShapeError(f"x has shape {tuple(x.shape)}: T is 0, expected at least one step")
    if x.is_floating_point():
        _is("x", x, (T, B, net.inputs[0]), dtype)
    else:
        _is("x", x, (T, B), torch.int64)
    for name, s, size in zip(("h0", "c0"), state, (net.R, net.H), strict=False):
        _is(name, s, (len(net.cells), B, size), dtype)
    if lengths is not None:
        _is("lengths", lengths, (B,), torch.int64)
    if resets is not None:
        _is("resets", resets, (T, B), torch.bool)


def check_weights(net: Net, weights: Sequence[Tensor]) -> torch.dtype:
    """The weights alone, and what they are; of a call whose layer has looked at the rest."""
    if len(weights) != len(net.shapes):
        raise ShapeError(f"weights holds {len(weights)} tensors, expected {len(net.shapes)}")
    dtype = weights[0].dtype
    if dtype not in DTYPES:
        raise TypeError(f"weights has dtype {dtype}, expected float32 or float64")
    for k, (w, shape) in enumerate(zip(weights, net.shapes, strict=True)):
        if w.shape != shape or w.dtype is not dtype or not w.is_cpu:
            _is(f"weights[{k}]", w, shape, dtype)
    return dtype


def check_values(net: Net, x: Tensor, lengths: Tensor | None) -> None:
    """The values that are used as places: ids within 0 and I, lengths within 0 and T.

    Raises:
        ValueError: names the value and the range.
    """
    T = x.shape[0]
    if lengths is not None and lengths.numel():
        low, high = (int(v) for v in torch.aminmax(lengths))
        if low < 0 or high > T:
            raise ValueError(f"lengths holds {low if low < 0 else high}, expected 0 to T = {T}")
    if x.dim() == 2 and x.numel():
        if lengths is not None:
            x = x.masked_fill(torch.arange(T, device="cpu")[:, None] >= lengths, 0)
        low, high = (int(v) for v in torch.aminmax(x))
        if low < 0 or high >= net.inputs[0]:
            raise ValueError(f"x holds the id {low if low < 0 else high}, expected 0 to {net.inputs[0] - 1}")


def _is(name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tensor.shape != shape:
        raise ShapeError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
    if tensor.dtype is not dtype:
        raise TypeError(f"{name} has dtype {tensor.dtype}, expected {dtype}")
    if not tensor.is_cpu:
        raise TypeError(f"{name} is on {tensor.device}, expected a CPU")
