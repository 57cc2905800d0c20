"""What the command line knows of forecasting: how its task is opened, and a trained model that answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from unrolled.data.generated_series import PERIOD, generated_series
from unrolled.data.series import SeriesSet, read_series
from unrolled.data.timeline import Grid
from unrolled.errors import UserError
from unrolled.tasks.base import Prediction, Report
from unrolled.tasks.forecast import calibration, figures, picture
from unrolled.tasks.forecast.config import ForecastConfig, ForecastData, ForecastPredict, count_inputs
from unrolled.tasks.forecast.model import ForecastModel
from unrolled.tasks.forecast.picture import Panel
from unrolled.tasks.forecast.prepared import Frame, Scale, Shape, prepare_all
from unrolled.tasks.forecast.rolling import Forecasts, Origin
from unrolled.tasks.forecast.task import ForecastTask, Training
from unrolled.tasks.loading import saved_settings, with_weights


def open_task(
    paths: list[str],
    data: ForecastData,
    model: ForecastConfig,
    train: Training,
    *,
    progress: Callable[[str, float], None] | None = None,
    start_from: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
) -> ForecastTask:
    """Read series and make the task of them.

    Args:
        paths: files of series; none: Mackey-Glass series and seasonal sums, made here.
        start_from: weights and ``tokens.json`` of an older model.
    Raises:
        UserError: files that cannot be read, series too short, missing values that nothing was said about.
    """
    if not paths and data.season is None:
        data = dataclasses.replace(data, season=PERIOD)
    found = read_series(paths, data) if paths else generated_series()
    return ForecastTask(found, data, model, train, start_from=None if start_from is None else start_from[0])


class ForecastPredictor:
    """A trained forecaster.

    Args:
        known: the names and the grid of the series it was trained on; without values.
        scales: what each of them was standardised by.
        paths, digest: where they came from.
    """

    def __init__(
        self, model: ForecastModel, shape: Shape, known: SeriesSet, scales: Mapping[str, Scale],
        paths: list[str] | None, digest: str | None, where: str,
    ) -> None:  # fmt: skip
        self.model, self.shape, self.known, self.scales = model, shape, known, scales
        self.paths, self.digest, self.where = paths, digest, where

    def predict(self, inputs: Iterable[str], options: ForecastPredict) -> Iterator[Prediction]:
        """The values that follow each file's series: one prediction a file, a line for each value of each step.

        A series that the model was trained on, by its name, is standardised as there; another one by itself.

        Raises:
            UserError: a file that cannot be read; columns other than the trained ones; no covariates for the steps.
        """
        panels: list[Panel] = []
        for path in inputs:
            found = self._read([path])
            frames, notes = prepare_all(found, self.shape, self.scales, whole=True)
            made = self._forecast(frames, options)
            yield self._prediction(path, found, frames, made, [*found.notes, *notes])
            panels += _panels(found, frames, made, max(self.shape.season, made.center.shape[1]))
        if options.picture is not None and panels:
            try:
                picture.draw(panels, options.interval, Path(options.picture))
            except OSError as error:
                raise UserError(
                    f"--picture {options.picture}: {error.strerror or error}; name a file that can be written"
                ) from None

    def evaluate(self, paths: list[str] | None, part: str, options: ForecastPredict) -> Report:
        """The report of ``part`` of the trained series, or of files: there a series that the model knows is scored
        from the first step that has enough before it, another one on its second half, standardised on its first."""
        data = self.shape.data
        if options.steps_ahead is not None:
            data = dataclasses.replace(data, steps_ahead=options.steps_ahead)
        if paths is not None:
            task = _Scored(self._read(paths), data, self.shape.model, self.shape.season, self.scales)
            report = figures.full_report(task, self.model, "test", options)
            report.tables.insert(0, ("data", "\n".join(task.notes)))
            return report
        if self.paths is None or self.paths == ["-"]:
            raise UserError(f"{self.where}: the series it was trained on are not known here; name the file")
        found = self._read(self.paths) if self.paths else generated_series()
        if self.digest is not None and found.digest != self.digest:
            raise UserError(f"{self.where}: its series have changed since; name a file to score: evaluate RUN FILE")
        again = ForecastTask(found, dataclasses.replace(data, season=self.shape.season), self.shape.model, _READ)
        return again.report(self.model, part, options)

    def _read(self, paths: list[str]) -> SeriesSet:
        found = read_series(paths, self.shape.data, self.known)
        for kind in ("targets", "covariates"):
            own, theirs = getattr(self.known, kind), getattr(found, kind)
            if len(own) != len(theirs):
                raise UserError(
                    f"{found.label}: {len(theirs)} {kind} ({', '.join(theirs)}), and the model was trained on "
                    f"{len(own)} ({', '.join(own)}); give a file with those columns"
                )
        return found

    def _forecast(self, frames: list[Frame], options: ForecastPredict) -> Forecasts:
        ends = ((1 - options.interval) / 2, (1 + options.interval) / 2)
        origins = [Origin(k, len(f.y)) for k, f in enumerate(frames)]
        return calibration.forecast(
            self.model, frames, self.shape, origins, options.steps_ahead or self.shape.data.steps_ahead, levels=ends,
            paths=options.samples, seed=options.seed, window=options.calibrate,
        )  # fmt: skip

    def _prediction(
        self, path: str, found: SeriesSet, frames: list[Frame], made: Forecasts, notes: list[str]
    ) -> Prediction:
        assert made.quantiles is not None
        rows: list[dict[str, Any]] = []
        for r, frame in enumerate(frames):
            for h in range(made.center.shape[1]):
                for d, name in enumerate(found.targets):
                    row = {"series": frame.name} if frame.name else {}
                    row |= {"time": found.grid.label(frame.start + len(frame.y) + h), "target": name}
                    numbers = made.center[r, h, d], made.quantiles[r, h, d, 0], made.quantiles[r, h, d, 1]
                    rows.append(row | dict(zip(("forecast", "low", "high"), map(float, numbers), strict=True)))
        lines = ["\t".join(rows[0])] + [
            "\t".join(f"{v:.6g}" if isinstance(v, float) else v for v in row.values()) for row in rows
        ]
        return Prediction("\n".join(lines), {"input": path, "notes": notes, "rows": rows})


class _Scored(ForecastTask):
    """Files to be scored with a trained model."""

    def __init__(
        self, found: SeriesSet, data: ForecastData, model: ForecastConfig, season: int, scales: Mapping[str, Scale]
    ) -> None:
        self.found, self.data_config, self.model_config = found, data, model
        self.shape = Shape(data, model, season)
        frames, self.notes = prepare_all(found, self.shape, scales, whole=True)
        half = []
        for k, frame in enumerate(frames):
            T = len(frame.y)
            if frame.name in scales:
                begin = min(T, self.shape.lead + season + 1)
            else:
                begin = max(T // 2, self.shape.lead + 3)
                half.append(frame.title)
            frames[k] = dataclasses.replace(frame, ends=(begin, begin, T))
        if half:
            found_half = dataclasses.replace(found, series=[one for one in found.series if one.name not in scales])
            cut = Shape(dataclasses.replace(data, heldout=0.5, dev=0.0), model, season)
            again = {frame.name: frame for frame in prepare_all(found_half, cut)[0]}
            frames = [again.get(frame.name, frame) for frame in frames]
            self.notes.append(
                f"{len(half)} series that the model was not trained on: standardised on their first half, scored on "
                "the second"
            )
        self.frames, self.label = frames, found.label


@dataclasses.dataclass(frozen=True)
class _Reading:
    batch: int = 1
    bptt: str = "full"
    loss_reduction: str = "mean"
    seed: int = 1


_READ = _Reading()


def _panels(found: SeriesSet, frames: list[Frame], made: Forecasts, span: int) -> list[Panel]:
    panels = []
    for r, frame in enumerate(frames):
        first = max(0, len(frame.y) - figures.HISTORY * span)
        for d, name in enumerate(found.targets):
            assert made.quantiles is not None
            low, high = np.moveaxis(made.quantiles[r, :, d], -1, 0)
            panels.append(Panel(
                " ".join(part for part in (frame.name, name) if part), found.grid, frame.start + first,
                frame.y[first:, d], made.center[r, :, d], low, high,
            ))  # fmt: skip
    return panels


def load(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokens: Mapping[str, Any] | None, where: str
) -> ForecastPredictor:
    """A trained forecaster, in evaluation mode, from what a model folder holds.

    Raises:
        UserError: settings, weights and scales that do not fit each other.
    """
    model_config, data = saved_settings(config, ForecastConfig, ForecastData, where)
    try:
        held = dict(tokens or {})
        grid = Grid(**held["grid"])
        known = SeriesSet([], list(held["targets"]), list(held["covariates"]), grid, where)
        scales = {name: Scale.from_json(found) for name, found in held["series"].items()}
        shape = Shape(data, model_config, int(held["season"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{where}: tokens.json does not hold the series' scales; restore the folder") from None
    D = len(known.targets)
    inputs = count_inputs(model_config, D, len(known.covariates), shape.season, shape.mask)
    model = ForecastModel(inputs, D, model_config)
    paths = (config.get("text") or {}).get("paths")
    return ForecastPredictor(
        with_weights(model, tensors, where), shape, known, scales, paths if isinstance(paths, list) else None,
        config["data"].get("digest"), where,
    )  # fmt: skip
