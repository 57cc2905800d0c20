"""Every step of every recurrent layer in a model, as it stands in the graph.

Inside :func:`record` the layers run on the reference engine, one step after another, and nothing is stacked: the state
after step t is a tensor of its own, so that ``torch.autograd.grad(loss, states)`` gives the gradient at each.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unrolled.cells import Cell, State, Tape
from unrolled.engines import Call, Trace, reference
from unrolled.layers.recurrent import Recurrent


@dataclasses.dataclass(frozen=True)
class Moment:
    """One step of one layer in one direction, of all rows.

    Attributes:
        call: the call that it belongs to. t: its place there.
        x_bar: (B, G*H). before: the state that entered, before cuts. after: the state that the step made; the rows
            that had ended hold another. tape: the gates by name, and what else the cell leaves.
    """

    call: Call
    t: int
    x_bar: Tensor
    before: State
    after: State
    tape: Tape

    def free(self) -> Tensor:
        """(B,) bool: rows in which this step is no padding and continues the state before it."""
        valid, cuts = self.call.valid(), self.call.cuts()
        free = torch.ones(len(self.x_bar), dtype=torch.bool, device=self.x_bar.device)
        free = free if valid is None else free & valid[self.t, :, 0]
        return free if cuts is None else free & ~cuts[self.t, :, 0]

    def valid(self) -> Tensor:
        """(B,) bool: rows in which this step is no padding."""
        valid = self.call.valid()
        return torch.ones(len(self.x_bar), dtype=torch.bool) if valid is None else valid[self.t, :, 0].cpu()


@dataclasses.dataclass
class Track:
    """One layer in one direction, over all steps that it made, in the order in which it read.

    Attributes:
        name: the layer's name in the model and torch's suffix: ``rnn.l0``, ``rnn.l0_reverse``.
        parameter: of every weight of the cell, its name in the model.
        calls: one for each call; several are one sequence, each beginning in the state in which the last one ended.
    """

    name: str
    cell: Cell
    parameter: dict[str, str]
    calls: list[reference.Steps]

    @property
    def reverse(self) -> bool:
        """Whether it reads from the end."""
        return self.calls[0].call.reverse

    def moments(self) -> list[Moment]:
        """The steps in reading order."""
        found = []
        for made in self.calls:
            back = made.call.reverse
            for t in made.call.order:
                before = made.states[t + 1 if back else t]
                found.append(Moment(made.call, t, made.x_bar[t], before, made.made[t], made.tapes[t]))
        return found

    def states(self) -> list[State]:
        """The initial state and those that each step made, in reading order; in padding they are nobody's."""
        moments = self.moments()
        return [moments[0].before, *(m.after for m in moments)]

    def ends(self) -> Tensor:
        """(B,) int64: of each row the index in :meth:`states` after its last valid step (0 if it has none)."""
        valid = torch.stack([m.valid() for m in self.moments()])
        places = torch.arange(1, len(valid) + 1)[:, None]
        return (valid * places).amax(0)

    def counts(self) -> Tensor:
        """(B,) int64: valid steps of each row."""
        return torch.stack([m.valid() for m in self.moments()]).sum(0)


class _Runner:
    """Runs the calls of one layer and keeps their steps."""

    def __init__(self, name: str, layer: Recurrent, own_weights: bool) -> None:
        self.layer, self.own_weights, self.seen = layer, own_weights, 0
        self.apart: str | None = None  # a track whose calls are no single sequence
        prefix = f"{name}." if name else ""
        self.tracks = []
        for k in range(layer._rows):
            cell, names = layer._cells()[k]
            suffix = names[0][1].removeprefix(names[0][0] + "_")
            self.tracks.append(Track(prefix + suffix, cell, {own: prefix + full for own, full in names}, []))

    def __call__(self, call: Call, *, trace: bool = False) -> tuple[Tensor, State, Trace | None]:
        track = self.tracks[self.seen % len(self.tracks)]
        self.seen += 1
        if torch.is_grad_enabled():  # the state before the first step is asked for as well
            call = dataclasses.replace(call, state=tuple(_asked(s) for s in call.state))
        if track.calls and not _continues(track.calls[-1], call):
            self.apart = track.name
        made = reference.steps(call, own_weights=self.own_weights)
        track.calls.append(made)
        return reference.ended(made, trace=trace)


def _asked(s: Tensor) -> Tensor:
    return s if s.requires_grad else s.detach().requires_grad_()


def _continues(last: reference.Steps, call: Call) -> bool:
    end = last.states[0 if last.call.reverse else -1]
    return all(a.shape == b.shape and torch.equal(a.detach(), b.detach()) for a, b in zip(end, call.state, strict=True))


@contextlib.contextmanager
def record(model: nn.Module, *, own_weights: bool = False) -> Iterator[list[Track]]:
    """Record what the recurrent layers of ``model`` do inside the ``with``.

    Args:
        own_weights: see :func:`unrolled.engines.reference.steps`.
    Yields:
        a list that holds, once the ``with`` has ended, a track for every layer and direction that was called. A layer
        that was called several times, on sequences that do not continue each other (a tagger's network over the letters
        of words), has no single sequence of steps and is left out.
    Raises:
        ValueError: the model holds none of our layers, or none was called, or each on several sequences.
    """
    runners = [_Runner(n, m, own_weights) for n, m in model.named_modules() if isinstance(m, Recurrent)]
    if not runners:
        raise ValueError(f"{type(model).__name__} holds no layer unrolled.RNN, LSTM or GRU: there is nothing to record")
    tracks: list[Track] = []
    for runner in runners:
        runner.layer.runner = runner
    try:
        yield tracks
    finally:
        for runner in runners:
            runner.layer.runner = None
    tracks += [track for runner in runners if runner.apart is None for track in runner.tracks if track.calls]
    apart = next((runner.apart for runner in runners if runner.apart is not None), None)
    if not tracks and apart is not None:
        raise ValueError(
            f"{apart} was called twice on sequences that do not continue each other; "
            "its steps are no single sequence: record one call of it"
        )
    if not tracks:
        raise ValueError("none of the model's recurrent layers was called: give a loss that runs the model")
