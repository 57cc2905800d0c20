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
from unrolled.engines.native.net import PARAMETERS, Layout, Net, Rates


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
    step, row = x.stride(0), x.stride(1)
    if x.shape[1] == 1:
        row = step
    return x.shape[1] * row, row


class Task:
    """One call of the core in the making: what its forward and its backward have in common."""

    def __init__(self, net: Net, rates: Rates, given: Given, seed: int | None, layout: Layout) -> None:
        x = given.x
        self.net, self.rates, self.given, self.seed = net, rates, given, seed
        self.T, self.B = x.shape[0], x.shape[1]
        self.size = given.h0.itemsize
        self.threads = core.threads()
        self.layout = layout
        self.dropping = bool(layout.dropped) and layout.dropped[0] >= 0
        self.lengths = 0 if given.lengths is None else given.lengths.data_ptr()
        self.resets = 0 if given.resets is None else given.resets.data_ptr()
        self.alive: list[Tensor] = []
        """What the core still reads though nothing else holds it."""

    def call(
        self, k: int, x: tuple[int, int, int], output: tuple[int, int, int], tape: int,
        ends: tuple[int, int] = (0, 0), grads: tuple[int, ...] = (),
    ) -> Any:  # fmt: skip
        """Row ``k``'s call of the core; ``x`` and ``output`` are addresses with the distances of steps and rows,
        ``ends`` where the last states go, ``grads`` what a backward call says besides."""
        net, given, B, size, layout = self.net, self.given, self.B, self.size, self.layout
        layer, direction = divmod(k, net.directions)
        weights = [0] * len(PARAMETERS)
        first = k * net.per_row
        for slot, w in zip(net.slots, given.weights[first : first + net.per_row], strict=True):
            weights[slot] = w.data_ptr()
        tokens = layer == 0 and given.x.dim() == 2
        source = (0, 0, 0, *x) if tokens else (*x, 0, 0, 0)
        fields = [
            net.code, self.T, B, net.inputs[k], net.H, net.P, self.reverse(k), net.layer_norm, *source, *weights,
            _at(given.h0, k, B * net.R * size), _at(given.c0, k, B * net.H * size), self.lengths, self.resets,
            self.mask(layer, direction), *output, *ends,
            *[tape + places[k] * size if tape and places[k] >= 0 else 0
              for places in (layout.gates, layout.cells, layout.norms)], *grads,
        ]  # fmt: skip
        made = core.call(self.size == 8, fields)
        if self.rates.zoneout:
            for state, rate in enumerate(self.rates.zoneout):
                if rate:
                    made.set_zoneout(state, rate, self.seed is not None, self.seed or 0, self.stream(k, state))
        return made

    def reverse(self, k: int) -> int:
        """Whether row ``k`` reads from the last step to the first."""
        return k % self.net.directions

    def stream(self, k: int, state: int) -> int:
        """Where the bits of row ``k``'s zoneout come from."""
        return masks.stream(masks.ZONEOUT, *divmod(k, self.net.directions), state)

    def mask(self, layer: int, direction: int) -> int:
        """The address of the mask of recurrent dropout, 0 for none."""
        p = self.rates.recurrent_dropout
        if self.seed is None or not p:
            return 0
        stream = masks.stream(masks.RECURRENT_DROPOUT, layer, direction)
        mask = core.dropout_mask(p, self.seed, stream, 1, self.B, self.net.R, self.given.h0)
        self.alive.append(mask)
        return mask.data_ptr()

    def between(self, layer: int) -> Tensor:
        """The mask of the dropout behind ``layer``, flat."""
        assert self.seed is not None
        width, stream = self.net.directions * self.net.R, masks.stream(masks.DROPOUT, layer, 0)
        return core.dropout_mask(self.rates.dropout, self.seed, stream, self.T, self.B, width, self.given.h0).view(-1)

    def source(self, layer: int, tape: Tensor) -> tuple[int, int, int]:
        """Where a layer reads: address, distance of steps, distance of rows."""
        x = self.given.x
        if layer == 0:
            return (x.data_ptr(), *_steps(x)) if x.dim() == 3 else (x.data_ptr(), x.stride(0), x.stride(1))
        width = self.net.directions * self.net.R
        places = self.layout.dropped if self.dropping else self.layout.outputs
        return tape.data_ptr() + places[layer - 1] * self.size, self.B * width, width

    def target(self, layer: int, output: Tensor, tape: Tensor) -> tuple[int, int, int]:
        """Where a layer writes, and in the backward call reads its h."""
        width = self.net.directions * self.net.R
        last = layer == self.net.layers - 1
        at = output.data_ptr() if last else tape.data_ptr() + self.layout.outputs[layer] * self.size
        return at, self.B * width, width


def forward(task: Task, keep: bool, clean: bool = False) -> Made:
    """Run the stack; with ``keep`` it leaves a tape for :func:`backward`.

    ``clean``: zeros where the core leaves a tape as it found it (padding, and what no backward reads): an operator's
    results must be the same each time.
    """
    net, given, T, B, size = task.net, task.given, task.T, task.B, task.size
    width = net.directions * net.R
    output = core.empty(given.h0, T, B, width)
    h_n = torch.empty_like(given.h0)
    c_n = None if given.c0 is None else torch.empty_like(given.c0)
    tape: Any = core.empty(given.h0, task.layout.total) if keep or net.layers > 1 else None
    if keep and clean:
        tape.zero_()
    for layer in range(net.layers if B else 0):
        x, (out, step, row) = task.source(layer, tape), task.target(layer, output, tape)
        for k in range(layer * net.directions, (layer + 1) * net.directions):
            ends = (
                h_n.data_ptr() + k * B * net.R * size,
                0 if c_n is None else c_n.data_ptr() + k * B * net.H * size,
            )
            place = (out + k % net.directions * net.R * size, step, row)
            task.call(k, x, place, tape.data_ptr() if keep else 0, ends).forward(task.threads)
        if task.dropping and layer < net.layers - 1:
            n, at, to = T * B * width, task.layout.outputs[layer], task.layout.dropped[layer]
            torch.mul(tape[at : at + n], task.between(layer), out=tape[to : to + n])
    return Made(output, h_n, c_n, tape if keep else None)


def backward(
    task: Task, output: Tensor, tape: Tensor, d_output: Tensor | None, d_h_n: Tensor | None, d_c_n: Tensor | None,
    d_tape: Tensor | None, wanted: Wanted, per_step: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Gradients:  # fmt: skip
    """Gradients of :func:`forward`; ``d_tape`` is that of a trace. The tape is read, never written.

    ``per_step``, of one layer in one direction: where to write the whole gradient of each h, and of each X_bar.
    """
    net, given, B, size, D = task.net, task.given, task.B, task.size, task.net.directions
    make = core.empty_like if B else torch.zeros_like
    d_h0 = make(given.h0) if wanted.h0 else None
    d_c0 = make(given.c0) if wanted.c0 and given.c0 is not None else None
    # Large ones from memory that an earlier gradient gave back: new pages can cost more than the whole call.
    d_weights = [make(w) if want else None for w, want in zip(given.weights, wanted.weights, strict=True)]
    if not B:
        return Gradients(make(given.x) if wanted.x else None, d_h0, d_c0, d_weights)
    if d_h_n is not None or d_c_n is not None or d_tape is not None:
        d_h_n, d_c_n, d_tape = (None if d is None else d.contiguous() for d in (d_h_n, d_c_n, d_tape))
    d_out, dx = d_output, None
    states_wanted = wanted.h0 or wanted.c0
    for layer in range(net.layers - 1, -1, -1):
        d_out = _with_trace(task, layer, d_out, d_tape)
        x, (out, step, row) = task.source(layer, tape), task.target(layer, output, tape)
        below = layer > 0 and (wanted.x or states_wanted or any(wanted.weights[: layer * D * net.per_row]))
        want_x = below or (layer == 0 and wanted.x)
        dx = None
        for k in range(layer * D, (layer + 1) * D):
            I, first = net.inputs[k], k * net.per_row
            own = core.empty(output, task.T, B, I) if want_x else None
            grads = [0] * len(PARAMETERS)
            for slot, d in zip(net.slots, d_weights[first : first + net.per_row], strict=True):
                grads[slot] = 0 if d is None else d.data_ptr()
            place = (out + k % D * net.R * size, step, row)
            back = (
                *_given_rows(d_out, k % D * net.R * size), _at(d_h_n, k, B * net.R * size),
                _at(d_c_n, k, B * net.H * size), *_traced(task, k, d_tape), _at(own, 0, 0), B * I, I, *grads,
                _at(d_h0, k, B * net.R * size), _at(d_c0, k, B * net.H * size),
                _at(per_step[0], 0, 0), _at(per_step[1], 0, 0),
            )  # fmt: skip
            task.call(k, x, place, tape.data_ptr(), grads=back).backward(task.threads)
            dx = own if dx is None or own is None else dx.add_(own)
        if layer > 0 and not below:
            break
        if layer > 0 and task.dropping and dx is not None:
            dx.view(-1).mul_(task.between(layer - 1))
        d_out = dx
    return Gradients(dx if wanted.x else None, d_h0, d_c0, d_weights)


def _at(tensor: Tensor | None, k: int, step: int) -> int:
    return 0 if tensor is None else tensor.data_ptr() + k * step


def _given_rows(d: Tensor | None, offset: int) -> tuple[int, int, int]:
    return (0, 0, 0) if d is None else (d.data_ptr() + offset, d.stride(0), d.stride(1))


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
