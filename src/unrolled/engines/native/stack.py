"""A whole stack through the core, forward and backward: one kernel call for each layer and direction.

Only addresses and sizes reach the core, so everything here is dense and checked before (:func:`dense`, and
:func:`unrolled.engines.native.net.check`). Nothing here knows autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unrolled.engines import masks
from unrolled.engines.native import core
from unrolled.engines.native.net import Layout, Net, Rates


class Given(NamedTuple):
    """The tensors of one call. ``x`` is (T, B, I), or ids (T, B); states are (L*D, B, N); weights are flat."""

    x: Tensor
    h0: Tensor
    c0: Tensor | None
    weights: Sequence[Tensor]
    lengths: Tensor | None
    resets: Tensor | None


class Made(NamedTuple):
    """What a forward call leaves."""

    output: Tensor
    h_n: Tensor
    c_n: Tensor | None
    tape: Tensor | None


class Wanted(NamedTuple):
    """Which gradients are asked for."""

    x: bool
    h0: bool
    c0: bool
    weights: Sequence[bool]


class Gradients(NamedTuple):
    x: Tensor | None
    h0: Tensor | None
    c0: Tensor | None
    weights: list[Tensor | None]


def dense(x: Tensor) -> Tensor:
    """``x`` so that its (t, b) are rows at one distance; copied only where they are not."""
    if x.dim() == 2:
        return x
    T, B, I = x.shape
    even = T == 1 or B == 1 or x.stride(0) == B * x.stride(1)
    return x if even and (x.stride(2) == 1 or I == 1) else x.contiguous()


def _steps(x: Tensor) -> tuple[int, int]:
    """The strides of steps and rows; of one row or one step alone the other's serves."""
    if x.dim() == 2:
        return x.stride(0), x.stride(1)
    step, row = x.stride(0), x.stride(1)
    if x.shape[1] == 1:
        row = step
    return x.shape[1] * row, row


class Task:
    """One call of the core in the making: what its forward and its backward have in common.

    Attributes:
        masks: addresses of recurrent dropout's, one for each row; none without.
        zoneouts: (row, state, rate, drawn, seed, stream) for each state that has a rate.
        alive: what the core still reads though nothing else holds it.
    """

    def __init__(self, net: Net, rates: Rates, given: Given, seed: int | None, layout: Layout) -> None:
        x = given.x
        self.net, self.rates, self.given, self.seed, self.layout = net, rates, given, seed, layout
        self.T, self.B, self.size = x.shape[0], x.shape[1], given.h0.itemsize
        self.dropping = bool(layout.dropped) and layout.dropped[0] >= 0
        self.rows = net.rows(layout, self.T, self.B, self.size == 8)
        self.threads = core.threads()
        self.masks: list[int] = []
        self.zoneouts: list[tuple[int, int, float, bool, int, int]] = []
        self.alive: list[Tensor] = []
        if rates.recurrent_dropout or rates.zoneout:
            self._drop()

    def _drop(self) -> None:
        rates, seed, rows = self.rates, self.seed, range(len(self.net.cells))
        if seed is not None and rates.recurrent_dropout:
            for k in rows:
                stream = masks.stream(masks.RECURRENT_DROPOUT, *divmod(k, self.net.directions))
                self.alive.append(
                    core.dropout_mask(rates.recurrent_dropout, seed, stream, 1, self.B, self.net.R, self.given.h0)
                )
            self.masks = [mask.data_ptr() for mask in self.alive]
        for k in rows:
            for state, rate in enumerate(rates.zoneout):
                if rate:
                    stream = masks.stream(masks.ZONEOUT, *divmod(k, self.net.directions), state)
                    self.zoneouts.append((k, state, rate, seed is not None, seed or 0, stream))

    def addresses(
        self, output: Tensor, tape: Tensor | None, keep: bool, h_n: Tensor | None = None, c_n: Tensor | None = None
    ) -> list[int]:
        """What every row's call is made from, in the order of :data:`core.GIVEN`."""
        x, h0, c0, _, lengths, resets = self.given
        return [
            x.data_ptr(), *_steps(x), x.dim() == 2, *_pointers(h0, c0, lengths, resets, output, h_n, c_n, tape), keep,
        ]  # fmt: skip

    def between(self, layer: int) -> Tensor:
        """The mask of the dropout behind ``layer``, flat."""
        assert self.seed is not None
        width, stream = self.net.directions * self.net.R, masks.stream(masks.DROPOUT, layer, 0)
        return core.dropout_mask(self.rates.dropout, self.seed, stream, self.T, self.B, width, self.given.h0).view(-1)


def forward(task: Task, keep: bool, clean: bool = False) -> Made:
    """Run the stack; with ``keep`` it leaves a tape for :func:`backward`.

    ``clean``: zeros where the core leaves a tape as it found it (padding, and what no backward reads): an operator's
    results must be the same each time.
    """
    net, given, layout = task.net, task.given, task.layout
    width = net.directions * net.R
    output = core.empty(given.h0, task.T, task.B, width)
    h_n = torch.empty_like(given.h0)
    c_n = None if given.c0 is None else torch.empty_like(given.c0)
    tape: Any = core.empty(given.h0, layout.total) if keep or layout.total else None
    if keep and clean:
        tape.zero_()
    if task.B:
        addresses, weights = task.addresses(output, tape, keep, h_n, c_n), _pointers(*given.weights)
        n = 1 if task.dropping else net.layers
        for layer in range(0, net.layers, n):
            task.rows.forward(layer, layer + n, addresses, weights, task.masks, task.zoneouts, task.threads)
            if task.dropping and layer < net.layers - 1:
                size, at, to = task.T * task.B * width, layout.outputs[layer], layout.dropped[layer]
                torch.mul(tape[at : at + size], task.between(layer), out=tape[to : to + size])
    return Made(output, h_n, c_n, tape if keep else None)


def backward(
    task: Task, output: Tensor, tape: Tensor, d_output: Tensor | None, d_h_n: Tensor | None, d_c_n: Tensor | None,
    d_tape: Tensor | None, wanted: Wanted, per_step: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Gradients:  # fmt: skip
    """Gradients of :func:`forward`; ``d_tape`` is that of a trace. The tape is read, never written.

    ``per_step``, of one layer in one direction: where to write the whole gradient of each h, and of each X_bar.
    """
    net, given, B, D = task.net, task.given, task.B, task.net.directions
    make = core.empty_like if B else torch.zeros_like
    d_h0 = make(given.h0) if wanted.h0 else None
    d_c0 = make(given.c0) if wanted.c0 and given.c0 is not None else None
    # Large ones from memory that an earlier gradient gave back: new pages can cost more than the whole call.
    d_weights = [make(w) if want else None for w, want in zip(given.weights, wanted.weights, strict=True)]
    if not B:
        return Gradients(make(given.x) if wanted.x else None, d_h0, d_c0, d_weights)
    if d_h_n is not None or d_c_n is not None or d_tape is not None:
        d_h_n, d_c_n, d_tape = (None if d is None else d.contiguous() for d in (d_h_n, d_c_n, d_tape))
    addresses, weights = task.addresses(output, tape, True), _pointers(*given.weights)
    d_addresses, ends = _pointers(*d_weights), _pointers(d_h_n, d_c_n, d_h0, d_c0, *per_step)
    d_out, dx = d_output, None
    states_wanted = wanted.h0 or wanted.c0
    for layer in range(net.layers - 1, -1, -1):
        d_out = _with_trace(task, layer, d_out, d_tape)
        below = layer > 0 and (wanted.x or states_wanted or any(wanted.weights[: layer * D * net.per_row]))
        own: list[Tensor] = []
        if below or (layer == 0 and wanted.x):
            own = [core.empty(output, task.T, B, net.inputs[layer * D]) for _ in range(D)]
        back = [0, 0, 0] if d_out is None else [d_out.data_ptr(), d_out.stride(0), d_out.stride(1)]
        back += ends
        for direction in range(D):
            back.append(own[direction].data_ptr() if own else 0)
            back += _traced(task, layer * D + direction, d_tape)
        task.rows.backward(layer, addresses, weights, task.masks, task.zoneouts, back, d_addresses, task.threads)
        dx = own[0] if len(own) == 1 else own[0].add_(own[1]) if own else None
        if layer > 0 and not below:
            break
        if layer > 0 and task.dropping and dx is not None:
            dx.view(-1).mul_(task.between(layer - 1))
        d_out = dx
    return Gradients(dx if wanted.x else None, d_h0, d_c0, d_weights)


def _pointers(*tensors: Tensor | None) -> list[int]:
    return [0 if t is None else t.data_ptr() for t in tensors]


def _with_trace(task: Task, layer: int, d_out: Tensor | None, d_tape: Tensor | None) -> Tensor | None:
    """The gradient of a layer's output, with what reaches it through a trace of its h; rows dense."""
    if d_tape is not None and layer < task.net.layers - 1:
        width, at = task.net.directions * task.net.R, task.layout.outputs[layer]
        own = d_tape[at : at + task.T * task.B * width].view(task.T, task.B, width)
        return own if d_out is None else d_out + own
    return d_out if d_out is None or d_out.stride(2) == 1 else d_out.contiguous()


def _traced(task: Task, k: int, d_tape: Tensor | None) -> tuple[int, int]:
    """Addresses of the gradients of row ``k``'s traced gates and cells."""
    if d_tape is None:
        return 0, 0
    net, at = task.net, task.layout
    cells = d_tape.data_ptr() + at.cells[k] * task.size if net.has_c else 0
    if not net.gated:
        return 0, cells
    if net.taped == net.GH:
        return d_tape.data_ptr() + at.gates[k] * task.size, cells
    rows = task.T * task.B  # a GRU's tape holds W_hn h + b_hn beside its gates
    gates = d_tape[at.gates[k] : at.gates[k] + rows * net.taped].view(rows, net.taped)[:, : net.GH].contiguous()
    task.alive.append(gates)
    return gates.data_ptr(), cells
