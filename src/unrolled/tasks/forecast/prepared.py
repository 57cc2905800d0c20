"""Series made ready for the network: gaps filled, cut into parts, standardised on the training part, differenced."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.series import SeriesSet, fill
from unrolled.data.series_columns import Floats, Series
from unrolled.data.wording import counted
from unrolled.errors import UserError
from unrolled.tasks.forecast.config import ForecastConfig, ForecastData, harmonics_of

LONGEST_SEASON = 400
CLEAR = 0.25
"""The autocorrelation from which on a season is believed."""


@dataclasses.dataclass(frozen=True)
class Scale:
    """What a series is standardised by, all from its training part; (D,) each, but for the covariates' (C,).

    Attributes:
        mean, std: of the values, after the transform: z = (f(y) - mean) / std.
        shift, spread: of what is predicted: d = (z - base - shift) / spread.
        naive: mean absolute error of the seasonal naive forecast over the training part, the unit of MASE.
        covariate_mean, covariate_std: of the covariates.
    """

    mean: Floats
    std: Floats
    shift: Floats
    spread: Floats
    naive: Floats
    covariate_mean: Floats
    covariate_std: Floats

    def to_json(self) -> dict[str, list[float]]:
        """Lists of numbers by name."""
        return {f.name: [float(v) for v in getattr(self, f.name)] for f in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Scale:
        """Raises KeyError, TypeError or ValueError where ``found`` is not what :meth:`to_json` gave."""
        return cls(**{f.name: np.array(found[f.name], np.float64).reshape(-1) for f in dataclasses.fields(cls)})


@dataclasses.dataclass
class Frame:
    """One series, ready.

    Attributes:
        name, title: for people. start: number of its first step on the grid.
        y: (T, D) values, gaps filled. seen: (T, D) bool, where there was a value; nothing else is ever scored.
        z: (T, D) standardised. d: (T, D) what is predicted, 0 before ``lead``.
        covariates: (T and perhaps more, C), standardised.
        ends: the ends of the parts: train, dev, test.
    """

    name: str
    title: str
    start: int
    y: Floats
    seen: NDArray[np.bool_]
    z: Floats
    d: Floats
    covariates: Floats
    scale: Scale
    ends: tuple[int, int, int]

    def part(self, name: str) -> tuple[int, int]:
        """First step of a part and the one behind its last."""
        k = ("train", "dev", "test").index(name)
        return (self.ends[k - 1] if k else 0), self.ends[k]


@dataclasses.dataclass
class Shape:
    """What every series of a task is prepared by."""

    data: ForecastData
    model: ForecastConfig
    season: int

    @property
    def lead(self) -> int:
        """Steps at the beginning of a series that cannot be predicted, for what they are compared with is missing."""
        return {"none": 0, "last": 1, "season": self.season, "both": self.season + 1}[self.model.difference]

    @property
    def mask(self) -> bool:
        """Whether the network is told which values were missing."""
        return self.data.missing == "mask"

    def base(self, z: Floats) -> Floats:
        """What each step is compared with: (T, D) to (T, D), from the steps before it; 0 before ``lead``."""
        out = np.zeros_like(z)
        k, m, kind = self.lead, self.season, self.model.difference
        if kind == "last":
            out[1:] = z[:-1]
        elif kind == "season":
            out[m:] = z[:-m]
        elif kind == "both":
            out[k:] = z[m:-1] + z[1:-m] - z[: -m - 1]
        return out

    def waves(self) -> Floats:
        """(m, 2 K): sine and cosine of each wave, by the place in the season."""
        K = harmonics_of(self.model, self.season)
        angle = 2 * np.pi * np.arange(self.season)[:, None] * np.arange(1, K + 1) / self.season
        return np.stack((np.sin(angle), np.cos(angle)), -1).reshape(self.season, 2 * K)

    def forward(self, y: Floats) -> Floats:
        """The transform of values."""
        kind = self.model.transform
        return np.log(y) if kind == "log" else np.sqrt(y) if kind == "sqrt" else y

    def back(self, v: Floats) -> Floats:
        """Its inverse; the root's takes what lies below 0 for 0."""
        kind = self.model.transform
        return np.exp(np.minimum(v, 700.0)) if kind == "log" else np.maximum(v, 0.0) ** 2 if kind == "sqrt" else v

    def inputs(self, frame: Frame) -> Floats:
        """(T, I): what enters the network when it predicts each step, from the steps before it."""
        before = np.zeros_like(frame.d)
        before[1:] = frame.d[:-1] * (frame.seen[:-1] if self.mask else 1.0)
        parts = [before]
        if self.mask:
            seen = np.zeros_like(before)
            seen[1:] = frame.seen[:-1]
            parts.append(seen)
        if self.model.level and self.model.difference != "none":
            parts.append(np.concatenate((np.zeros_like(frame.z[:1]), frame.z[:-1])))
        parts.append(self.waves()[(frame.start + np.arange(len(frame.y))) % self.season])
        parts.append(self.covariates(frame, np.arange(len(frame.y))))
        return np.concatenate(parts, 1)

    def covariates(self, frame: Frame, at: NDArray[np.int64]) -> Floats:
        """(n, C): the covariates that enter when the steps ``at`` are predicted."""
        if self.data.covariates_ahead == "held":
            at = np.clip(at - 1, 0, len(frame.y) - 1)
        return frame.covariates[at]


def prepare(one: Series, shape: Shape, scale: Scale | None = None, *, whole: bool = False) -> tuple[Frame, list[str]]:
    """Make a series ready.

    Args:
        scale: what to standardise by; None: found on the training part.
        whole: all of it is history; no part is held out.
    Returns:
        The frame, and notes on what was filled.
    Raises:
        UserError: missing values under the policy "error"; values that the transform does not take; a series too short.
    """
    data, title = shape.data, one.title
    there = np.flatnonzero(np.isfinite(one.values).any(1))
    if not len(there):
        raise UserError(f"{title}: no value at all in the target; leave the series out, or name another --target")
    first, last = int(there[0]), int(there[-1]) + 1
    ahead = one.covariates[last:]
    notes = [f"{title}: {counted(first, 'step')} before the first value left out"] if first else []
    if last < len(one.values):
        notes.append(f"{title}: {counted(len(one.values) - last, 'step')} behind the last value are the future")
    cut = dataclasses.replace(one, values=one.values[first:last], covariates=one.covariates[first:last])
    T = last - first
    ends = (T, T, T) if whole else _ends(T, data)
    y, covariates = fill(cut, data.missing, sorted({k for k in ends if 0 < k < T}))
    gone = int(np.isnan(cut.values).sum()), int(np.isnan(cut.covariates).sum())
    if sum(gone):
        done = {"mask": "masked (the last value stands in)", "forward": "filled with the last value",
                "interpolate": "filled by a line through the gap"}[data.missing]  # fmt: skip
        notes.append(
            f"{title}: {counted(sum(gone), 'missing value')} of {cut.values.size + cut.covariates.size:,} {done}"
        )
    limit = {"log": np.nextafter(0, 1), "sqrt": 0.0}.get(shape.model.transform)
    if limit is not None and y.min() < limit:
        needed = "values above 0" if shape.model.transform == "log" else "no values below 0"
        raise UserError(f"{title}: --transform {shape.model.transform} takes {needed}, and there is {y.min():g}")
    n, needed_steps = ends[0], shape.lead + 3
    if n < needed_steps:
        raise UserError(
            f"{title}: {counted(n, 'value')} of history, and --difference {shape.model.difference} with season "
            f"{shape.season} needs {needed_steps}; leave the series out with --bad skip, or change these"
        )
    if scale is None:
        scale = _scale(y, covariates, n, shape)
    z = (shape.forward(y) - scale.mean) / scale.std
    d = (z - shape.base(z) - scale.shift) / scale.spread
    d[: shape.lead] = 0.0
    both = np.concatenate((covariates, _known_ahead(ahead, title, data)))
    both = (both - scale.covariate_mean) / scale.covariate_std
    frame = Frame(one.name, title, one.start + first, y, np.isfinite(cut.values), z, d, both, scale, ends)
    return frame, notes


def _ends(T: int, data: ForecastData) -> tuple[int, int, int]:
    test = T - round(T * data.heldout)
    return test - round(test * data.dev), test, T


def _known_ahead(ahead: Floats, title: str, data: ForecastData) -> Floats:
    """The covariates of steps to come, up to the first that lacks one."""
    if data.covariates_ahead == "held":
        return ahead[:0]
    whole = np.isfinite(ahead).all(1)
    return ahead if whole.all() else ahead[: int(np.argmin(whole))]


def _scale(y: Floats, covariates: Floats, n: int, shape: Shape) -> Scale:
    v, m = shape.forward(y[:n]), shape.season
    mean, std = v.mean(0), _spread(v)
    z = (v - mean) / std
    change = (z - shape.base(z))[shape.lead :]
    season = m if n > m else 1
    naive = np.abs(y[season:n] - y[: n - season]).mean(0)
    return Scale(mean, std, change.mean(0), _spread(change), naive, covariates[:n].mean(0), _spread(covariates[:n]))


def _spread(values: Floats) -> Floats:
    """The standard deviation of each column; 1 where it is constant, or as good as that."""
    found: Floats = values.std(0)
    flat = found <= 1e-9 * np.maximum(1e-300, np.abs(values).max(0, initial=0.0))
    return np.where(flat, 1.0, found)


def find_season(found: SeriesSet, data: ForecastData) -> tuple[int, str]:
    """The season in steps, and why.

    What is asked for, else what goes with the frequency, else the lag of the highest peak of the autocorrelation of
    the training parts, their straight line taken out.
    """
    if data.season is not None:
        return data.season, f"season {data.season}, as asked for"
    shortest = min(len(one) for one in found.series)
    known = found.grid.season
    if known is not None and 2 * known < shortest * (1 - data.heldout) * (1 - data.dev):
        return known, f"season {known}, from steps of one {found.grid.name}"
    runs = [column[np.isfinite(column)] for one in found.series for column in one.values[: _ends(len(one), data)[0]].T]
    total, weight = np.zeros(LONGEST_SEASON + 2), np.zeros(LONGEST_SEASON + 2)
    for run in runs[:200]:
        lags = min(LONGEST_SEASON + 2, len(run) // 3)
        if lags < 3:
            continue
        t = np.arange(len(run))
        rest = run - np.polyval(np.polyfit(t, run, 1), t)
        spectrum = np.abs(np.fft.rfft(rest, 2 * len(run))) ** 2
        auto = np.fft.irfft(spectrum)[:lags]
        if auto[0] > 0:
            total[:lags] += auto / auto[0]
            weight[:lags] += 1
    auto = np.divide(total, weight, out=np.full_like(total, -1.0), where=weight > 0)
    peaks = [k for k in range(2, len(auto) - 1) if auto[k] >= auto[k - 1] and auto[k] > auto[k + 1] >= -0.999]
    best = max(peaks, key=lambda k: auto[k], default=1)
    if best == 1 or auto[best] < CLEAR:
        return 1, "no clear season (--season names one)"
    return best, f"season {best}, the highest autocorrelation ({auto[best]:.2f}); --season names another"


def prepare_all(
    found: SeriesSet, shape: Shape, scales: Mapping[str, Scale] | None = None, *, whole: bool = False
) -> tuple[list[Frame], list[str]]:
    """Make every series ready; those that cannot be are refused, or skipped with ``--bad skip`` and counted."""
    frames: list[Frame] = []
    notes: list[str] = []
    bad: list[str] = []
    for one in found.series:
        try:
            frame, more = prepare(one, shape, (scales or {}).get(one.name), whole=whole)
        except UserError as error:
            if shape.data.bad == "error" or len(found.series) == 1:
                raise
            bad.append(str(error))
            continue
        frames.append(frame)
        notes += more
    if bad:
        notes.append(f"{len(bad)} series skipped, the first: {bad[0]}")
    if not frames:
        raise UserError(f"{found.label}: no series is left; the first was skipped because: {bad[0]}")
    return frames, _shortened(notes)


def _shortened(notes: Sequence[str], most: int = 8) -> list[str]:
    return list(notes) if len(notes) <= most else [*notes[:most], f"{len(notes) - most} more such notes"]
