"""The model folder of a run, kept up to date while it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unrolled.bundle.files import disk_errors, replace_file
from unrolled.bundle.manifest import to_json
from unrolled.bundle.model import CONFIG, save
from unrolled.settings import to_dict
from unrolled.tasks.base import Report, Task
from unrolled.training.card import model_card
from unrolled.training.config import TrainConfig
from unrolled.training.records import Result
from unrolled.training.watch import Silent


class ModelKeeper(Silent):
    """Writes the model folder at every checkpoint, so that a run can be sampled from while it goes or after it was
    killed, and at the end with its figures.

    Args:
        run: the run's folder.
        task, config: as for the trainer.
        text: where the text came from, in JSON values; kept in ``config.json`` for resuming.
        model: the model being trained; None until the trainer has built it.
    """

    def __init__(self, run: Path, task: Task, config: TrainConfig, text: Mapping[str, Any]) -> None:
        self.run, self.task, self.config, self.text = run, task, config, dict(text)
        self.model: nn.Module | None = None

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` holds, but for the result."""
        own = {"task": self.task.name, **self.task.settings(), "train": to_dict(self.config), "text": self.text}
        return own | {"parameters": self.task.describe().get("parameters")}

    def on_start(self, info: dict[str, Any]) -> None:
        """Write ``config.json`` at once: a run killed before its first checkpoint can be started again from it."""
        if not (self.run / CONFIG).exists():
            with disk_errors(self.run):
                replace_file(self.run / CONFIG, to_json(self.settings()))

    def on_checkpoint(self, step: int) -> None:
        """The weights as they are."""
        self._save({})

    def report(self, result: Result) -> Report | None:
        """The task's own report of the test part, or of dev where nothing else was held out; its pictures are drawn in
        the run's folder. None where there is no such part. Call it once the trainer is done."""
        part = self._reported(result)
        if part is None or self.model is None:
            return None
        self.model.eval()
        with torch.no_grad():
            made: Report = self.task.report(self.model, part)  # type: ignore[attr-defined]
        with disk_errors(self.run):
            for name, draw in made.pictures.items():
                draw(self.run / name)
        return made

    @staticmethod
    def _reported(result: Result) -> str | None:
        return "test" if result.test is not None else "dev" if result.dev is not None else None

    def finish(
        self, result: Result, baseline: tuple[str, float] | None = None, report: Report | None = None
    ) -> dict[str, Any]:
        """The kept weights and the figures; returns the "result" table of ``config.json``."""
        found: dict[str, Any] = {
            "stopped_by": result.stopped_by,
            "steps": result.steps,
            "units": result.units,
            "minutes": result.minutes,
            "weights": result.weights,
            "weights_step": result.weights_step,
            "train_nats": result.train,
        }
        for part, evaluation in (("dev", result.dev), ("test", result.test)):
            if evaluation is not None:
                found[f"{part}_nats"] = evaluation.nats
                found[f"{part}_interval"] = list(evaluation.interval)
                found |= {f"{part}_{name}": value for name, value in evaluation.figures.items()}
        if result.test is not None:  # the figures that `unrolled runs` lists
            found |= {"nats": result.test.nats, "bpc": result.test.figures.get("bpc")}
        if baseline is not None:
            found |= {"baseline": baseline[0], "baseline_nats": baseline[1]}
        if report is not None and report.figures:
            name, figure = next(iter(report.figures.items()))
            found |= {"headline": name, "figure": figure.value, "report_part": self._reported(result)}
            found["figures"] = {n: [f.value, *(f.interval or ()), f.unit] for n, f in report.figures.items()}
            found["baselines"] = [[n, values] for n, values in report.baselines]
        found = {name: _finite(value) for name, value in found.items()}
        self._save(found)
        return found

    def _save(self, result: dict[str, Any]) -> None:
        assert self.model is not None, "the keeper was given no model"
        config = self.settings() | ({"result": result} if result else {})
        card = model_card(self.run.name, config, self.task.describe())
        save(self.run, config=config, tensors=self.model.state_dict(), tokens=self.task.tokens(), card=card)


def _finite(value: Any) -> Any:
    """JSON knows no infinity and no NaN: the interval of a tiny part, the loss before the first update."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    if isinstance(value, dict):
        return {name: _finite(v) for name, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
