"""The specification: a cell over time, in plain PyTorch, one step after another.

It takes every option, dtype and device, double backward and ``torch.func``; it is the slow one. :func:`run` leaves the
gradient to autograd. :func:`unroll` and :func:`backward` are back-propagation through time by hand, over the cells' own
``step_backward``: there the lecture's first remark can be read off, that the gradient of a shared weight is a sum over
time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from unrolled.cells import Cell, Gradients, State, Tape, Weights
from unrolled.engines import masks
from unrolled.engines.call import Call, Trace
from unrolled.engines.spying import record


@dataclasses.dataclass(frozen=True)
class Steps:
    """Every step of one call as it stands in the graph, nothing stacked: ``autograd.grad`` reaches each by itself.

    Attributes:
        x_bar: T tensors (B, G*H), the projected inputs.
        states: T+1 states, laid out as in :class:`Trace`; after cuts, zoneout and padding.
        made: T states, as each step made them, before padding held the rows that had ended. The h of an LSTM's step is
            computed from this c (without zoneout), and not from the held one.
        outputs: T tensors (B, R). tapes: T tapes, empty where they were not asked for.
        weights: of every step what it used: its own aliases of the call's weights, or those weights themselves.
    """

    call: Call
    x_bar: list[Tensor]
    states: list[State]
    made: list[State]
    outputs: list[Tensor]
    tapes: list[Tape]
    weights: list[Weights]


def steps(call: Call, *, tapes: bool = True, own_weights: bool = False) -> Steps:
    """Run ``call`` and keep each step.

    Args:
        own_weights: give every step, its input product too, an alias of its own of every weight. The gradients of the
            aliases of one weight are the summands of its gradient (the lecture's first remark).
    """
    x, valid, cuts = _border(call)
    T = len(call.order)
    weights: list[Weights] = [call.w] * T
    if own_weights:
        weights = [{name: p.view_as(p) for name, p in call.w.items()} for _ in range(T)]
        X_bar = [call.cell.project(x[t : t + 1], weights[t])[0] for t in range(T)]
    else:
        X_bar = list(call.cell.project(x, call.w).unbind())
    states, state = [call.state] * (T + 1), call.state
    outputs, made, kept = list(X_bar), [state] * T, [dict[str, Tensor]()] * T
    for t in call.order:
        own = dataclasses.replace(call, w=weights[t]) if own_weights else call
        made[t], tape = _advance(own, t, X_bar[t], state, _at(cuts, t))
        state = _held(made[t], state, _at(valid, t))
        outputs[t] = state[0] if valid is None else torch.where(valid[t], state[0], 0.0)
        states[t if call.reverse else t + 1] = state
        if tapes:
            kept[t] = tape
    return Steps(call, X_bar, states, made, outputs, kept, weights)


class Runner(Protocol):
    """What runs one call: :func:`run`, or what records it on the way."""

    def __call__(self, call: Call, *, trace: bool = False) -> tuple[Tensor, State, Trace | None]: ...


def run(call: Call, *, trace: bool = False) -> tuple[Tensor, State, Trace | None]:
    """Run ``call``: output (T, B, R), zero past a row's length; the last state; the trace if asked for."""
    return ended(steps(call, tapes=trace), trace=trace)


def ended(made: Steps, *, trace: bool = False) -> tuple[Tensor, State, Trace | None]:
    """What :func:`run` gives, of steps that were kept."""
    state = made.states[0 if made.call.reverse else -1]
    return torch.stack(made.outputs), state, _trace(made) if trace else None


def run_stack(
    call: Callable[[Tensor, int, int], Call],
    x: Tensor,
    *,
    num_layers: int,
    directions: int,
    dropout: float = 0.0,
    seed: Tensor | None = None,
    trace: bool = False,
    runner: Runner | None = None,
) -> tuple[Tensor, State, list[Trace]]:
    """All layers and directions of a network.

    Args:
        call: makes the call of (input, layer, direction). x: (T, B, I), or ids (T, B).
        dropout: between the layers, its masks drawn from ``seed``; without a seed (in evaluation) there is none.
        runner: runs each call in the place of :func:`run`.
    Returns:
        output (T, B, D*R); the last states, each (L*D, B, N); a trace for each layer and direction if asked for.
    """
    record("reference")
    return run_layers(
        call, x, num_layers=num_layers, directions=directions, dropout=dropout, seed=seed, trace=trace, runner=runner
    )


def run_layers(
    call: Callable[[Tensor, int, int], Call],
    x: Tensor,
    *,
    num_layers: int,
    directions: int,
    dropout: float,
    seed: Tensor | None,
    trace: bool,
    runner: Runner | None = None,
) -> tuple[Tensor, State, list[Trace]]:
    """:func:`run_stack` for another engine's double backward: no spy hears it, since no call of a layer began."""
    last: list[State] = []
    traces: list[Trace] = []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            output, state, traced = (runner or run)(call(x, layer, direction), trace=trace)
            outputs.append(output)
            last.append(state)
            traces += [] if traced is None else [traced]
        x = torch.cat(outputs, -1) if directions > 1 else outputs[0]
        if dropout and seed is not None and layer < num_layers - 1:
            x = masks.dropout(x, dropout, seed, masks.stream(masks.DROPOUT, layer, 0))
    return x, tuple(torch.stack(parts) for parts in zip(*last, strict=True)), traces


def run_step(cell: Cell, x: Tensor, state: State, w: Weights) -> State:
    """One step of one cell, time left out: x (B, I) or ids (B,), each state (B, N)."""
    record("reference")
    return cell.step(cell.project(x, w), state, w)[0]


def _at(steps: Tensor | None, t: int) -> Tensor | None:
    return None if steps is None else steps[t]


def _border(call: Call) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The input with its padding zeroed (whatever stood there, NaN included, must reach nothing), and the masks."""
    valid, x = call.valid(), call.x
    if valid is not None:
        x = torch.where(valid if x.dim() == 3 else valid[..., 0], x, torch.zeros((), dtype=x.dtype, device=x.device))
    return x, valid, call.cuts()


def _advance(call: Call, t: int, x_bar: Tensor, state: State, cut: Tensor | None) -> tuple[State, Tape]:
    """One step with what surrounds a cell: cut, step, zoneout. What follows is :func:`_held`."""
    entering = state if cut is None else tuple(s.masked_fill(cut, 0.0) for s in state)
    new, tape = call.cell.step(x_bar, entering, call.w, call.mask)
    if call.zoned:
        new = tuple(torch.where(z[t], s, n) for z, s, n in zip(call.zoned, entering, new, strict=True))
    elif call.zoneout:
        new = tuple(p * s + (1 - p) * n for p, s, n in zip(call.zoneout, entering, new, strict=True))
    return new, tape


def _held(new: State, state: State, valid: Tensor | None) -> State:
    """Past a row's length the state stays as it was."""
    return new if valid is None else tuple(torch.where(valid, n, s) for n, s in zip(new, state, strict=True))


def _trace(made: Steps) -> Trace:
    call, valid = made.call, made.call.valid()
    by_state = {name: torch.stack([s[k] for s in made.states]) for k, name in enumerate(call.cell.states)}
    gates = {name: torch.stack([tape[name] for tape in made.tapes]) for name in call.cell.gates}
    if valid is not None:
        gates = {name: torch.where(valid, gate, 0.0) for name, gate in gates.items()}
    return Trace(by_state, gates)


# -- back-propagation through time, by hand ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Unrolled:
    """What :func:`unroll` leaves for :func:`backward`: the call, the input it read, and a tape for every step."""

    call: Call
    x: Tensor
    tapes: list[Tape]


@dataclasses.dataclass(frozen=True)
class Backward:
    """Gradients of one call.

    Attributes:
        x: (T, B, I), None where the input was ids. state: those of the initial states.
        weights: by name, summed over time.
        d_h: (T, B, R), the whole gradient that reaches h_t, from its output and from every later step (``per_step``).
        d_gates: (T, B, G*H), the gradient of the pre-activations X_bar (``per_step``).
        by_step: for each weight of the recurrence, (T, ...): the summands (``per_step``).
    """

    x: Tensor | None
    state: State
    weights: Gradients
    d_h: Tensor | None = None
    d_gates: Tensor | None = None
    by_step: Gradients = dataclasses.field(default_factory=dict)


@torch.no_grad()
def unroll(call: Call) -> tuple[Tensor, State, Unrolled]:
    """Forward through the entire sequence, keeping each step's tape: output (T, B, R), last state, tape."""
    x, valid, cuts = _border(call)
    X_bar = call.cell.project(x, call.w)
    T, state = len(call.order), call.state
    outputs = [X_bar] * T
    tapes: list[Tape] = [{}] * T
    for t in call.order:
        new, tapes[t] = _advance(call, t, X_bar[t], state, _at(cuts, t))
        state = _held(new, state, _at(valid, t))
        outputs[t] = state[0] if valid is None else torch.where(valid[t], state[0], 0.0)
    return torch.stack(outputs), state, Unrolled(call, x, tapes)


@torch.no_grad()
def backward(tape: Unrolled, d_output: Tensor, d_state: State, *, per_step: bool = False) -> Backward:
    """Backward through the entire sequence.

    Args:
        d_output: (T, B, R), gradient of the loss with respect to the output.
        d_state: gradient with respect to the last state, one tensor a state.
    """
    call, valid, cuts = tape.call, tape.call.valid(), tape.call.cuts()
    totals: Gradients = {}
    T = len(call.order)
    d_X_bar, d_h = [d_output] * T, [d_output] * T
    by_step: list[Gradients] = [{}] * T
    for t in reversed(call.order):
        d_out = d_output[t] if valid is None else torch.where(valid[t], d_output[t], 0.0)
        d_state = (d_state[0] + d_out, *d_state[1:])
        d_h[t] = d_state[0]
        d_X_bar[t], d_state, grads = _retreat(call, t, tape.tapes[t], d_state, _at(valid, t), _at(cuts, t))
        by_step[t] = grads if per_step else {}
        for name, grad in grads.items():  # the weight is the same at every step: its gradient is a sum
            totals[name] = totals[name] + grad if name in totals else grad
    d_gates = torch.stack(d_X_bar)
    dx, input_grads = call.cell.project_backward(d_gates, tape.x, call.w)
    if not per_step:
        return Backward(dx, d_state, {**totals, **input_grads})
    summands = {name: torch.stack([grads[name] for grads in by_step]) for name in totals}
    return Backward(dx, d_state, {**totals, **input_grads}, torch.stack(d_h), d_gates, summands)


def _retreat(
    call: Call, t: int, tape: Tape, d_new: State, valid: Tensor | None, cut: Tensor | None
) -> tuple[Tensor, State, Gradients]:
    """:func:`_advance`, backwards."""
    d_held: State = tuple(torch.zeros_like(d) for d in d_new)
    if valid is not None:
        d_held = tuple(torch.where(valid, 0.0, d) for d in d_new)
        d_new = tuple(torch.where(valid, d, 0.0) for d in d_new)
    d_kept: State = tuple(torch.zeros_like(d) for d in d_new)
    if call.zoned:
        d_kept = tuple(torch.where(z[t], d, 0.0) for z, d in zip(call.zoned, d_new, strict=True))
        d_new = tuple(torch.where(z[t], 0.0, d) for z, d in zip(call.zoned, d_new, strict=True))
    elif call.zoneout:
        d_kept = tuple(p * d for p, d in zip(call.zoneout, d_new, strict=True))
        d_new = tuple((1 - p) * d for p, d in zip(call.zoneout, d_new, strict=True))
    d_x_bar, d_entering, grads = call.cell.step_backward(d_new, tape, call.w, call.mask)
    d_entering = tuple(e + k for e, k in zip(d_entering, d_kept, strict=True))
    if cut is not None:
        d_entering = tuple(d.masked_fill(cut, 0.0) for d in d_entering)
    return d_x_bar, tuple(e + s for e, s in zip(d_entering, d_held, strict=True)), grads
