"""The causal check: one unit is held at its mean, in the recurrence itself, and the loss is watched.

That a unit follows a feature does not say that the network uses it. So the unit's state is set to a constant at every
step, before anything reads it (the layer above, the head, the next step), and everything else runs on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.cells import Cell, State, Tape, Weights
from unrolled.inspect.bootstrap import in_blocks
from unrolled.inspect.features import Feature
from unrolled.inspect.reading import STEPS_AT_ONCE, Place, call, places
from unrolled.layers.border import enter, leave
from unrolled.layers.recurrent import Recurrent
from unrolled.state import stack
from unrolled.tasks.language.measure import reading as quiet

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Hold:
    """A unit held in one row of the batch: ``unit`` as in ``c0.12``."""

    unit: str
    value: float


@dataclasses.dataclass(frozen=True)
class Effect:
    """What holding a unit at its mean does to the loss, nats a unit: held minus free, with 95 % block-bootstrap
    intervals.

    Attributes:
        feature, unit: as in the probe. mean: what the unit was held at.
        where, where_low, where_high: at positions where the feature holds; for a scalar, where it is above its median.
        elsewhere, elsewhere_low, elsewhere_high: at the others.
    """

    feature: str
    unit: str
    mean: float
    where: float
    where_low: float
    where_high: float
    elsewhere: float
    elsewhere_low: float
    elsewhere_high: float


@contextmanager
def holding(model: nn.Module, holds: Sequence[Hold | None]) -> Iterator[None]:
    """Inside, row b of every batch has the unit of ``holds[b]`` held; None holds nothing.

    The recurrent layers run step by step on their cells' own ``step``. A held h is the constant that the next step, the
    layer above and the head read; a held c is the constant from which h is made and that the next step reads.

    Raises:
        ValueError: a unit that the model does not have.
    """
    found = places(model)
    by_module: dict[int, tuple[Recurrent, dict[tuple[int, str], list[tuple[int, int, float]]]]] = {}
    for place in found.values():
        by_module.setdefault(id(place.module), (place.module, {}))
    for row, hold in enumerate(holds):
        if hold is not None:
            place, j = find_unit(found, hold.unit)
            table = by_module[id(place.module)][1]
            table.setdefault((place.layer, place.state), []).append((row, j, hold.value))
    for module, table in by_module.values():
        module.__dict__["forward"] = _Stepping(module, len(holds), table)
    try:
        yield
    finally:
        for module, _ in by_module.values():
            del module.__dict__["forward"]


def find_unit(found: Mapping[str, Place], unit: str) -> tuple[Place, int]:
    """Where a unit is, from its name.

    Raises:
        ValueError: there is none of that name.
    """
    key, _, number = unit.rpartition(".")
    if key not in found or not number.isdigit():
        raise ValueError(f"no unit {unit!r}; names are like {next(iter(found))}.0, the states are {', '.join(found)}")
    place = found[key]
    sizes = dict(
        zip(place.module._cell(place.layer).states, place.module._cell(place.layer).state_sizes(), strict=True)
    )
    if int(number) >= sizes[place.state]:
        raise ValueError(f"no unit {unit!r}: {key} has {sizes[place.state]} units, counted from 0")
    return place, int(number)


class _Stepping:
    """A layer's forward, step by step, with some units of some rows held."""

    def __init__(self, layer: Recurrent, rows: int, table: Mapping[Any, Sequence[tuple[int, int, float]]]) -> None:
        self.layer, self.rows = layer, rows
        like: Any = layer.weight_ih_l0
        self.held = {
            key: (torch.tensor([r for r, _, _ in holds]), torch.tensor([j for _, j, _ in holds]),
                  like.new_tensor([v for _, _, v in holds]))
            for key, holds in table.items()
        }  # fmt: skip

    def __call__(self, input: Tensor, hx: Any = None, *, lengths: Any = None, resets: Tensor | None = None,
                 embedding: Tensor | None = None) -> Any:  # fmt: skip
        entry = enter(self.layer, input, hx, lengths, resets, embedding).looked_up()
        if entry.x.shape[1] != self.rows or lengths is not None:
            raise ValueError(f"holding: expected a batch of {self.rows} rows without lengths, got {entry.x.shape[1]}")
        x, last = entry.x, []
        for k in range(self.layer.num_layers):
            x, state = self._run(k, x, tuple(s[k] for s in entry.state), entry.resets)
            last.append(state)
        return leave(self.layer, entry, x, tuple(torch.stack(parts) for parts in zip(*last, strict=True)))

    def _run(self, k: int, x: Tensor, state: State, resets: Tensor | None) -> tuple[Tensor, State]:
        cell, w = self.layer._cell(k), self.layer._weights(k)
        x_bar = cell.project(x, w)
        outputs = []
        for t in range(len(x)):
            if resets is not None:
                state = tuple(s.masked_fill(resets[t][:, None], 0.0) for s in state)
            state = self._step(k, cell, x_bar[t], state, w)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def _step(self, k: int, cell: Cell, x_bar: Tensor, before: State, w: Weights) -> State:
        new, tape = cell.step(x_bar, before, w)
        if (k, "c") in self.held:
            c = self._set(new[1], k, "c")
            new = (_output(cell, c, tape, w), c)
        if any(self.layer.zoneout):
            new = tuple(p * s + (1 - p) * n for p, s, n in zip(self.layer.zoneout, before, new, strict=True))
        return tuple(self._set(s, k, name) for name, s in zip(cell.states, new, strict=True))

    def _set(self, s: Tensor, k: int, name: str) -> Tensor:
        if (k, name) not in self.held:
            return s
        rows, units, values = self.held[k, name]
        s = s.clone()
        s[rows, units] = values
        return s


def _output(cell: Any, c: Tensor, tape: Tape, w: Weights) -> Tensor:
    """An LSTM's h from a given c, as its step makes it."""
    h = tape["o"] * torch.tanh(cell._normalised(c, {}, w))
    return F.linear(h, w["weight_hr"]) if cell.proj_size else h


def held_nats(
    model: nn.Module, ids: Tensor, holds: Sequence[Hold | None], *, state: Any = None, fresh: Tensor | None = None
) -> Floats:
    """The loss of every next unit, (N - 1, B), with a unit held in each row of the batch (None: none).

    Args:
        ids: (N,) int64. state: for one row, before the first of them; None is zeros. fresh: (N,) bool, or None.
    """
    rows, nats = len(holds), []
    state = None if state is None else stack([state] * rows)
    with quiet(model), holding(model, holds):
        for at in range(0, len(ids) - 1, STEPS_AT_ONCE):
            x = ids[at : min(at + STEPS_AT_ONCE, len(ids) - 1), None].expand(-1, rows)
            resets = None if fresh is None else fresh[at : at + len(x), None].expand(-1, rows)
            scores, state = call(model, x, state, resets)
            wanted = ids[at + 1 : at + 1 + len(x), None].expand(-1, rows)
            flat = F.cross_entropy(scores.flatten(0, 1).double(), wanted.flatten(), reduction="none")
            nats.append(flat.view(len(x), rows))
    return torch.cat(nats).numpy()


def causal_check(
    model: nn.Module,
    ids: Tensor,
    chosen: Sequence[tuple[Feature, str]],
    states: Mapping[str, NDArray[Any]],
    *,
    state: Any = None,
    start: int = 0,
    steps: int | None = None,
    fresh: Tensor | None = None,
) -> list[Effect]:
    """Hold each chosen unit at its mean from ``start`` on, for ``steps`` or to the end, all of them in one batch.

    Args:
        ids: (N,). chosen: features over the N positions, each with its unit. states: of the whole text, for the means.
        state: for one row, before ``start``; None is zeros.
    """
    means = [float(states[unit.rpartition(".")[0]][:, int(unit.rpartition(".")[2])].mean()) for _, unit in chosen]
    holds = [None, *(Hold(unit, mean) for (_, unit), mean in zip(chosen, means, strict=True))]
    stop = len(ids) if steps is None else min(len(ids), start + steps + 1)
    nats = held_nats(model, ids[start:stop], holds, state=state, fresh=None if fresh is None else fresh[start:stop])
    effects = []
    for k, ((feature, unit), mean) in enumerate(zip(chosen, means, strict=True)):
        values = feature.values[start : stop - 1]
        holds_there = values if feature.two_valued else values > np.median(values)
        change = nats[:, k + 1] - nats[:, 0]
        effects.append(Effect(feature.name, unit, mean, *in_blocks(change, holds_there),
                              *in_blocks(change, ~holds_there)))  # fmt: skip
    return effects
