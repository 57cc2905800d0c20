"""Forecasts: the state after the history, then the network's own predictions, one step after another."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.data.series_columns import Floats
from unrolled.errors import UserError
from unrolled.state import select, stack
from unrolled.tasks.forecast import model as distributions
from unrolled.tasks.forecast.model import ForecastModel, State
from unrolled.tasks.forecast.prepared import Frame, Shape

CHUNK = 512
"""Steps that are read in one call."""
ROWS = 4096
"""Rows (origins times paths) that are forecast together."""
SERIES = 64
"""Series that are read side by side."""


@dataclasses.dataclass
class Origin:
    """A place from which is forecast.

    Attributes:
        frame: the number of the series. at: the first step that is forecast; everything before it is history.
    """

    frame: int
    at: int


@dataclasses.dataclass
class Forecasts:
    """What was forecast from R origins, H steps ahead, in the series' own units.

    Attributes:
        origins: R of them.
        center: (R, H, D) the network's own middle predictions fed back.
        quantiles: (R, H, D, Q) at ``levels``; None where none were asked for.
        plain: those that the network gave, where ``quantiles`` are stretched ones (see ``calibration``).
    """

    origins: list[Origin]
    center: Floats
    levels: tuple[float, ...] = ()
    quantiles: Floats | None = None
    plain: Floats | None = None


def origins_of(
    frames: Sequence[Frame], part: str, steps: int, most: int, *, least: int = 1, whole_gaps: bool = False
) -> list[Origin]:
    """The rolling origins of a part: steps from which ``steps`` lie in it, ``most`` a series at most, spread evenly.

    Args:
        least: the first step that can be an origin.
        whole_gaps: leave out origins right behind a missing value: a line through the gap would know what follows.
    """
    made: list[Origin] = []
    for k, frame in enumerate(frames):
        first, last = frame.part(part)
        found = np.arange(max(first, least, 1), last - steps + 1)
        if whole_gaps:
            found = found[frame.seen[found - 1].all(1)] if len(found) else found
        if len(found) > most:
            found = found[np.unique(np.round(np.linspace(0, len(found) - 1, most)).astype(np.int64))]
        made += [Origin(k, int(at)) for at in found]
    return made


def states_at(model: ForecastModel, frames: Sequence[Frame], shape: Shape, origins: Sequence[Origin]) -> State:
    """The state at every origin, (L, R, H), in their order: each series is read once, the state carried all along."""
    places: dict[int, list[int]] = {}
    for r, origin in enumerate(origins):
        places.setdefault(origin.frame, []).append(r)
    found: list[State] = [None] * len(origins)
    chosen = sorted(places, key=lambda k: -len(frames[k].y))
    for begin in range(0, len(chosen), SERIES):
        group = chosen[begin : begin + SERIES]
        inputs = [_tensor(shape.inputs(frames[k]), model) for k in group]
        stops = [sorted(places[k], key=lambda r: origins[r].at) for k in group]
        at = [shape.lead] * len(group)
        state = model.initial_state(len(group))
        for rank in range(max(map(len, stops))):
            until = [max(origins[s[rank]].at, a) if rank < len(s) else a for s, a in zip(stops, at, strict=True)]
            state = _read(model, inputs, at, until, state)
            at = until
            for row, s in enumerate(stops):
                if rank < len(s):
                    found[s[rank]] = select(state, [row])
    return stack(found)


def _read(model: ForecastModel, inputs: list[Tensor], at: list[int], until: list[int], state: State) -> State:
    """Read each series from ``at`` to ``until``; the state after that."""
    longest = max(b - a for a, b in zip(at, until, strict=True))
    for first in range(0, longest, CHUNK):
        lengths = [min(max(b - a - first, 0), CHUNK) for a, b in zip(at, until, strict=True)]
        x = inputs[0].new_zeros(max(lengths), len(inputs), inputs[0].shape[1])
        for row, (a, n) in enumerate(zip(at, lengths, strict=True)):
            x[:n, row] = inputs[row][a + first : a + first + n]
        _, state = model.rnn(x, state, lengths=torch.tensor(lengths, device=x.device))
    return state


@torch.no_grad()
def forecast(
    model: ForecastModel, frames: Sequence[Frame], shape: Shape, origins: list[Origin], steps: int, *,
    levels: Sequence[float] = (), paths: int = 0, seed: int = 1,
) -> Forecasts:  # fmt: skip
    """Forecast from every origin.

    The middle of each predicted distribution is read as the value of its step: that gives ``center``. With ``paths``
    the values are drawn instead, so many times, and the quantiles are those of the draws, which widen with the
    horizon; without, they are those of each step alone, given the middle path before it. Each origin has its own
    random stream, so that its paths do not hang on which others are asked for.

    Args:
        levels: of the quantiles to give; none: only ``center``.
    Raises:
        UserError: covariates of a step to forecast are missing.
    """
    was = model.training
    model.eval()
    try:
        state = states_at(model, frames, shape, origins)
        D = model.targets
        center = np.zeros((len(origins), steps, D))
        quantiles = np.zeros((len(origins), steps, D, len(levels))) if levels else None
        each = max(1, ROWS // max(1, paths))
        for begin in range(0, len(origins), each):
            some = origins[begin : begin + each]
            rows = np.arange(begin, begin + len(some))
            part = select(state, torch.from_numpy(rows))
            roll = _Roll(model, frames, shape, some, steps, 1)
            center[rows], direct = roll.run(part, None, () if paths else levels)
            if quantiles is not None and paths:
                again = select(part, torch.arange(len(some)).repeat_interleave(paths))
                drawn, _ = _Roll(model, frames, shape, some, steps, paths).run(again, seed, ())
                drawn = drawn.reshape(len(some), paths, steps, D)
                quantiles[rows] = np.moveaxis(np.quantile(drawn, np.asarray(levels), axis=1), 0, -1)
            elif quantiles is not None:
                quantiles[rows] = direct
    finally:
        model.train(was)
    return Forecasts(origins, center, tuple(levels), quantiles)


class _Roll:
    """Forecasts of some origins, each ``copies`` times."""

    def __init__(
        self, model: ForecastModel, frames: Sequence[Frame], shape: Shape, origins: Sequence[Origin], steps: int,
        copies: int,
    ) -> None:  # fmt: skip
        self.model, self.shape, self.steps, self.origins, self.copies = model, shape, steps, origins, copies
        chosen = [frames[o.frame] for o in origins]

        def rows(values: list[Any]) -> Tensor:
            return _tensor(np.stack(values), model).repeat_interleave(copies, 0)

        keep = shape.season + 1
        self.past = rows([_last(f.z, o.at, keep) for f, o in zip(chosen, origins, strict=True)]).transpose(0, 1)
        self.before = rows([_before(f, o.at, shape.mask) for f, o in zip(chosen, origins, strict=True)])
        seen = [f.seen[o.at - 1].astype(np.float64) for f, o in zip(chosen, origins, strict=True)]
        self.seen = rows(seen)
        self.shift, self.spread = rows([f.scale.shift for f in chosen]), rows([f.scale.spread for f in chosen])
        self.mean, self.std = np.stack([f.scale.mean for f in chosen]), np.stack([f.scale.std for f in chosen])
        waves = shape.waves()
        self.waves = rows(
            [waves[(f.start + o.at + np.arange(steps)) % shape.season] for f, o in zip(chosen, origins, strict=True)]
        )
        self.covariates = rows([_ahead(f, shape, o.at, steps) for f, o in zip(chosen, origins, strict=True)])

    def run(self, state: State, seed: int | None, levels: Sequence[float]) -> tuple[Floats, Floats | None]:
        """The values (R * copies, H, D), drawn with ``seed`` or the middle ones; and the quantiles of each step."""
        model, shape, config = self.model, self.shape, self.model.config
        generators = [] if seed is None else [_generator(seed, o) for o in self.origins]
        values, asked = [], []
        before, seen, past = self.before, self.seen, self.past
        for h in range(self.steps):
            parts = [before]
            if shape.mask:
                parts.append(seen)
            if config.level and config.difference != "none":
                parts.append(past[-1])
            x = torch.cat((*parts, self.waves[:, h], self.covariates[:, h]), 1)
            found, state = model(x.unsqueeze(0), state)
            found = found[0]
            if seed is None:
                d = distributions.middle(found, config)
            else:
                split = found.unflatten(0, (len(self.origins), self.copies))
                d = torch.cat([distributions.draw(f, config, g) for f, g in zip(split, generators, strict=True)])
            base = _base(past, config.difference, shape.season)
            values.append(base + d * self.spread + self.shift)
            for level in levels:
                q = distributions.at_level(found, config, torch.full_like(d, level))
                asked.append(base + q * self.spread + self.shift)
            past = torch.cat((past[1:], values[-1].unsqueeze(0)))
            before, seen = d, torch.ones_like(seen)
        z = torch.stack(values, 1).double().cpu().numpy()
        quantiles = None
        if levels:
            at_levels = torch.stack(asked).double().cpu().numpy().reshape(self.steps, len(levels), *z[:, 0].shape)
            quantiles = self._units(np.transpose(at_levels, (2, 0, 3, 1)))
        return self._units(z), quantiles

    def _units(self, z: Floats) -> Floats:
        """(R * copies, H, D) or (R, H, D, Q) of z to the series' own units."""
        mean, std = (np.repeat(a, self.copies, 0)[:, None] for a in (self.mean, self.std))
        if z.ndim == 4:
            mean, std = mean[..., None], std[..., None]
        return self.shape.back(z * std + mean)


def _tensor(values: NDArray[Any], model: ForecastModel) -> Tensor:
    like = model.head.weight
    return torch.from_numpy(np.ascontiguousarray(values)).to(device=like.device, dtype=like.dtype)


def _generator(seed: int, origin: Origin) -> torch.Generator:
    mixed = np.random.SeedSequence([seed, origin.frame, origin.at]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(mixed) % 2**63)


def _last(z: Floats, at: int, n: int) -> Floats:
    """The ``n`` values before step ``at``, zeros before the first."""
    return np.concatenate((np.zeros((max(0, n - at), z.shape[1])), z[max(0, at - n) : at]))


def _before(frame: Frame, at: int, mask: bool) -> Floats:
    found: Floats = frame.d[at - 1] * (frame.seen[at - 1] if mask else 1.0)
    return found


def _base(past: Tensor, kind: str, season: int) -> Tensor | float:
    """What the next step is compared with, of the values before it (n, R, D)."""
    if kind == "none":
        return 0.0
    if kind == "last":
        return past[-1]
    return past[-season] if kind == "season" else past[-1] + past[-season] - past[-season - 1]


def _ahead(frame: Frame, shape: Shape, at: int, steps: int) -> Floats:
    """(H, C): the covariates that enter when the steps from ``at`` on are predicted."""
    if shape.data.covariates_ahead == "held":
        return np.repeat(frame.covariates[at - 1 : at], steps, 0)
    found = frame.covariates[at : at + steps]
    if len(found) < steps and found.shape[1]:
        raise UserError(
            f"{frame.title}: covariates of {len(found)} of the {steps} steps to forecast; add rows with them behind "
            "the last value, or train with --covariates-ahead held"
        )
    return np.zeros((steps, 0)) if not found.shape[1] else found
