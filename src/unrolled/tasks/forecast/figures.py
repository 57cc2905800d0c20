"""The figures of a part: the loss one step ahead, and forecasts over its rolling origins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from unrolled.data.series_columns import Floats
from unrolled.tasks.base import Evaluation, Figure, Report
from unrolled.tasks.forecast import calibration, metrics, picture, rolling
from unrolled.tasks.forecast.config import ForecastPredict
from unrolled.tasks.forecast.model import ForecastModel, losses
from unrolled.tasks.forecast.picture import Panel
from unrolled.tasks.forecast.rolling import CHUNK, SERIES, Forecasts, Origin
from unrolled.tasks.metrics import mean_interval

if TYPE_CHECKING:
    from unrolled.tasks.forecast.task import ForecastTask

HISTORY = 4
"""Seasons of history in a picture (or so many horizons, where those are longer)."""


def origins(task: ForecastTask, part: str) -> list[Origin]:
    """The rolling origins of a part."""
    data = task.data_config
    return rolling.origins_of(
        task.frames, part, data.steps_ahead, data.origins, least=task.shape.lead,
        whole_gaps=data.missing == "interpolate",
    )  # fmt: skip


def evaluate(task: ForecastTask, model: ForecastModel, part: str) -> Evaluation:
    """The loss one step ahead (all of the part, the state carried from the beginning) and MASE over rolling origins."""
    values = one_step(task, model, part)
    if not len(values):
        return Evaluation(math.nan, 0, (math.nan, math.nan))
    mean, interval = mean_interval(values)
    found: dict[str, float] = {}
    places = origins(task, part)
    if places:
        made = rolling.forecast(model, task.frames, task.shape, places, task.data_config.steps_ahead)
        truth = metrics.truths(task.frames, places, made.center.shape[1])
        found = metrics.point_figures(truth, made.center, metrics.units_of(task.frames, places))
        found = {name: value for name, value in found.items() if math.isfinite(value)}
    return Evaluation(mean, len(values), interval, score=found.get("mase"), figures=found)


def one_step(task: ForecastTask, model: ForecastModel, part: str) -> Floats:
    """The loss of every value of a part that was seen, the true values before it given."""
    like, shape, made = model.head.weight, task.shape, []
    for begin in range(0, len(task.frames), SERIES):
        group = task.frames[begin : begin + SERIES]
        x, y, weight = [], [], []
        for frame in group:
            first, last = frame.part(part)
            at = slice(shape.lead, last)
            scored = frame.seen[at].copy()
            scored[: max(0, first - shape.lead)] = False
            x.append(torch.from_numpy(shape.inputs(frame)[at]))
            y.append(torch.from_numpy(frame.d[at]))
            weight.append(torch.from_numpy(scored))
        lengths = torch.tensor([len(one) for one in x])
        xs, ys = (pad_sequence(a).to(device=like.device, dtype=like.dtype) for a in (x, y))
        ws = pad_sequence(weight)
        state = None
        for k in range(0, len(xs), CHUNK):
            inside = (lengths - k).clamp(0, min(CHUNK, len(xs) - k))
            found, state = model(xs[k : k + CHUNK], state, lengths=inside.to(like.device))
            each = losses(found, ys[k : k + CHUNK], task.model_config).double().cpu()
            made.append(each[ws[k : k + CHUNK]].numpy())
    return np.concatenate(made) if made else np.zeros(0)


def full_report(task: ForecastTask, model: ForecastModel, part: str, options: ForecastPredict) -> Report:
    """Everything that is known of a part's forecasts."""
    places = origins(task, part)
    if not places:
        values = one_step(task, model, part)
        mean, interval = mean_interval(values)
        return Report({"loss": Figure(mean, interval, "one step ahead, no horizon fits the part", low_is_good=True)})
    ends = ((1 - options.interval) / 2, (1 + options.interval) / 2)
    made = calibration.forecast(
        model, task.frames, task.shape, places, task.data_config.steps_ahead, levels=(*metrics.LEVELS, *ends),
        paths=options.samples, seed=options.seed, window=options.calibrate,
    )  # fmt: skip
    found = metrics.report(task.frames, made, options.interval, task.shape.season, task.found.targets)
    count = len({o.frame for o in places})
    how = f"{len(places)} origins of {count} series, {task.data_config.steps_ahead} steps ahead from each"
    found.tables.insert(0, ("rolling origin", how))
    panels = panels_of(task, made)
    found.pictures["forecast.png"] = lambda path: picture.draw(panels, options.interval, path)
    return found


def panels_of(task: ForecastTask, made: Forecasts) -> list[Panel]:
    """The forecast from the middle origin of each series, for as many as a picture holds."""
    steps, season = made.center.shape[1], task.shape.season
    truth = metrics.truths(task.frames, made.origins, steps)
    of = np.array([o.frame for o in made.origins])
    kept = HISTORY * max(season, steps)
    panels = []
    each = np.unique(of)
    for k in each[:: -(-len(each) // picture.MOST)]:
        rows = np.flatnonzero(of == k)
        r = int(rows[len(rows) // 2])
        at, frame = made.origins[r].at, task.frames[int(k)]
        first = max(0, at - kept)
        for d, name in enumerate(task.found.targets):
            assert made.quantiles is not None
            panels.append(Panel(
                title=f"{frame.name or name}, {steps} steps from {task.found.grid.label(frame.start + at)}",
                grid=task.found.grid, first=frame.start + first,
                history=frame.y[first:at, d], center=made.center[r, :, d],
                low=made.quantiles[r, :, d, -2], high=made.quantiles[r, :, d, -1], truth=truth[r, :, d],
            ))  # fmt: skip
    return panels


def baseline(task: ForecastTask) -> tuple[str, float] | None:
    """Name and loss one step ahead, on the test part, of the seasonal naive forecast; None without a test part.

    Its distribution is that of its errors on the training part: normal, or their quantiles.
    """
    from unrolled.tasks.forecast.task import seasonal_residual

    config, m = task.model_config, task.shape.season
    total, count = 0.0, 0
    for k, frame in enumerate(task.frames):
        error = seasonal_residual(task, k)
        known = error[: frame.ends[0]]
        first, last = frame.part("test")
        for d in range(error.shape[1]):
            train, test = known[np.isfinite(known[:, d]), d], error[first:last, d]
            test = test[np.isfinite(test)]
            if len(train) < 2 or not len(test):
                continue
            if config.output == "gaussian":
                numbers = [train.mean(), math.log(max(1e-9, float(train.std())))]
            else:
                numbers = list(np.quantile(train, config.levels))
            guess = torch.tensor(numbers, dtype=torch.float64).expand(len(test), -1)
            total += float(losses(guess, torch.from_numpy(test), config).sum())
            count += len(test)
    name = f"seasonal naive (season {m})" if m > 1 else "the last value"
    return (name, total / count) if count else None


def sketch(task: ForecastTask, model: ForecastModel, seed: int) -> str | None:
    """A series' last values, the forecast from the end of the training part and what came, as little bars."""
    frames, steps = task.frames, task.data_config.steps_ahead
    fit = [k for k, f in enumerate(frames) if f.ends[2] - f.ends[0] > 0]
    if not fit:
        return None
    k = fit[seed % len(fit)]
    frame, shown = frames[k], min(steps, 40)
    at = frame.ends[0]
    shown = min(shown, len(frame.y) - at)
    made = rolling.forecast(model, frames, task.shape, [Origin(k, at)], shown)
    past, came, center = frame.y[max(0, at - 40) : at, 0], frame.y[at : at + shown, 0], made.center[0, :, 0]
    low, high = float(min(past.min(), came.min())), float(max(past.max(), came.max()))
    bars = [picture.sparkline(v, low, high) for v in (past, center, came)]
    name = f"{frame.name}: " if frame.name else ""
    return f"{name}history {bars[0]}  forecast {bars[1]}  came {bars[2]}"
