"""How good forecasts are, beside the naive ones, over a rolling origin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.data.series_columns import Floats
from unrolled.tasks.base import Figure, Report
from unrolled.tasks.forecast.prepared import Frame
from unrolled.tasks.forecast.rolling import Forecasts, Origin
from unrolled.tasks.metrics import Ints, bootstrap_interval

FEWEST_BLOCKS = 5
"""Blocks of origins from which on an interval is worth giving."""
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The quantiles over which the pinball loss is averaged."""


def truths(frames: Sequence[Frame], origins: Sequence[Origin], steps: int) -> Floats:
    """(R, H, D): what came; NaN where nothing was seen: a filled value is never scored."""
    return np.stack([
        np.where(frames[o.frame].seen[o.at : o.at + steps], frames[o.frame].y[o.at : o.at + steps], np.nan)
        for o in origins
    ])  # fmt: skip


def units_of(frames: Sequence[Frame], origins: Sequence[Origin]) -> Floats:
    """(R, 1, D): the unit of MASE of each row's series; NaN for a series that the naive forecast never missed."""
    found = np.stack([frames[o.frame].scale.naive for o in origins])[:, None]
    return np.where(found > 0, found, np.nan)


def naive(frames: Sequence[Frame], origins: Sequence[Origin], steps: int, season: int) -> Floats:
    """(R, H, D): the value one season before, the last season again and again; season 1 is the last value."""
    ahead = np.arange(steps) % season
    return np.stack([frames[o.frame].y[np.maximum(o.at - season + ahead, 0)] for o in origins])


def mase(error: Floats, unit: Floats) -> float:
    """Mean absolute error in units of the seasonal naive forecast's on the training part (Hyndman & Koehler 2006)."""
    return _mean(np.abs(error) / unit)


def smape(truth: Floats, found: Floats) -> float:
    """The mean of 200 |y - f| / (|y| + |f|), in percent; 0 where both are 0."""
    below = np.abs(truth) + np.abs(found)
    share = np.divide(200 * np.abs(truth - found), below, out=np.zeros_like(below), where=below > 0)
    return _mean(np.where(np.isnan(truth), np.nan, share))


def pinball(truth: Floats, quantiles: Floats, levels: Sequence[float], unit: Floats) -> float:
    """The mean of ``max(q e, (q - 1) e)`` over levels, steps and origins, in units of MASE; quantiles (R, H, D, Q)."""
    error = (truth[..., None] - quantiles) / unit[..., None]
    level = np.asarray(levels)
    return _mean(np.maximum(level * error, (level - 1) * error))


def coverage(truth: Floats, low: Floats, high: Floats) -> float:
    """The share of what came that lies in the interval."""
    inside = np.where(np.isnan(truth), np.nan, (low <= truth) & (truth <= high))
    return _mean(inside)


def point_figures(truth: Floats, found: Floats, unit: Floats) -> dict[str, float]:
    """What is known of forecasts without a distribution."""
    return {"mase": mase(truth - found, unit), "smape": smape(truth, found)}


def mase_interval(error: Floats, unit: Floats, origins: Sequence[Origin], steps: int) -> tuple[float, float] | None:
    """95 % interval of MASE: origins of one series that lie within a horizon of each other share what they forecast, so
    blocks of that length are drawn anew. None where there are too few."""
    scaled = np.abs(error) / unit
    blocks: dict[tuple[int, int], list[int]] = {}
    first = {o.frame: o.at for o in reversed(origins)}
    for r, o in enumerate(origins):
        blocks.setdefault((o.frame, (o.at - first[o.frame]) // steps), []).append(r)
    if len(blocks) < FEWEST_BLOCKS:
        return None
    sums = np.array([np.nansum(scaled[rows]) for rows in blocks.values()])
    counts = np.array([np.isfinite(scaled[rows]).sum() for rows in blocks.values()])

    def statistic(drawn: Ints) -> float:
        return float(sums[drawn].sum() / max(1, counts[drawn].sum()))

    return bootstrap_interval(statistic, len(blocks))


def report(frames: Sequence[Frame], found: Forecasts, interval: float, season: int, names: Sequence[str]) -> Report:
    """Figures, baselines, the error by step ahead, and a row for every value forecast.

    Args:
        found: with quantiles at :data:`LEVELS`, the interval's two ends behind them.
        names: of the targets.
    """
    origins, steps = found.origins, found.center.shape[1]
    truth, unit = truths(frames, origins, steps), units_of(frames, origins)
    assert found.quantiles is not None
    low, high = found.quantiles[..., -2], found.quantiles[..., -1]
    own = point_figures(truth, found.center, unit)
    figures = {
        "mase": Figure(own["mase"], mase_interval(truth - found.center, unit, origins, steps), low_is_good=True),
        "smape": Figure(own["smape"], None, "%", low_is_good=True),
        "pinball": Figure(pinball(truth, found.quantiles[..., : len(LEVELS)], LEVELS, unit), low_is_good=True),
        "coverage": Figure(100 * coverage(truth, low, high), None, f"% inside the {100 * interval:g} % interval"),
    }
    if found.plain is not None:
        plain = coverage(truth, found.plain[..., -2], found.plain[..., -1])
        figures["coverage_plain"] = Figure(100 * plain, None, "% inside the network's own, not stretched")
    baselines, columns = [], {"network": found.center}
    for name, m in (("seasonal naive", season), ("naive", 1)):
        if name == "naive" or m > 1:
            guess = naive(frames, origins, steps, m)
            columns[name] = guess
            title = f"{name} (season {m})" if m > 1 else "naive (the last value)"
            baselines.append((title, point_figures(truth, guess, unit)))
    tables = [("MASE by step ahead", _by_step(truth, columns, unit))]
    if len(frames) > 1:
        tables.append(("MASE by series", _by_series(frames, truth, columns, unit, origins)))
    return Report(figures, baselines, tables, _rows(frames, found, truth, low, high, names), {})


def _by_step(truth: Floats, columns: dict[str, Floats], unit: Floats) -> str:
    steps = truth.shape[1]
    shown = range(steps) if steps <= 24 else sorted({round(k) for k in np.linspace(0, steps - 1, 24)})
    lines = ["step  " + "  ".join(name.rjust(14) for name in columns)]
    for h in shown:
        cells = (mase(truth[:, h] - f[:, h], unit[:, 0]) for f in columns.values())
        lines.append(f"{h + 1:4d}  " + "  ".join(f"{c:14.3f}" for c in cells))
    return "\n".join(lines)


def _by_series(
    frames: Sequence[Frame], truth: Floats, columns: dict[str, Floats], unit: Floats, origins: Sequence[Origin]
) -> str:
    of = np.array([o.frame for o in origins])
    numbers = [int(k) for k in np.unique(of)]
    width = max(6, *(len(frames[k].name[:30]) for k in numbers))
    lines = ["series".ljust(width) + "  " + "  ".join(name.rjust(14) for name in columns)]
    for k in numbers[:50]:
        rows = of == k
        cells = (mase(truth[rows] - f[rows], unit[rows]) for f in columns.values())
        lines.append(frames[k].name[:30].ljust(width) + "  " + "  ".join(f"{c:14.3f}" for c in cells))
    if len(numbers) > 50:
        lines.append(f"... and {len(numbers) - 50} more")
    return "\n".join(lines)


def _rows(
    frames: Sequence[Frame], found: Forecasts, truth: Floats, low: Floats, high: Floats, names: Sequence[str]
) -> list[dict[str, Any]]:
    made = []
    for r, o in enumerate(found.origins):
        for h in range(truth.shape[1]):
            for k, name in enumerate(names):
                came = float(truth[r, h, k])
                made.append({
                    "series": frames[o.frame].name, "origin": o.at, "step": h + 1, "target_name": name,
                    "target": None if math.isnan(came) else came, "predicted": float(found.center[r, h, k]),
                    "low": float(low[r, h, k]), "high": float(high[r, h, k]),
                })  # fmt: skip
    return made


def _mean(values: Floats) -> float:
    there = np.isfinite(values)
    return float(values[there].mean()) if there.any() else math.nan
