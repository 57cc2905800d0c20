"""The model card and the kept figures, where some of them are not known."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.training.char_task import CharTask, Runner, config
from unrolled.settings import to_dict
from unrolled.tasks.base import Evaluation
from unrolled.training.card import model_card
from unrolled.training.keeping import ModelKeeper
from unrolled.training.records import Result

DESCRIBED = {"text": "a|b", "units": "char", "vocabulary": 30, "parameters": 1234}
MODEL = {"layers": 1, "hidden": 16, "cell": "lstm", "input": "embedding"}
RESULT: dict[str, Any] = {
    "stopped_by": "budget", "steps": 10, "units": 400, "minutes": 0.5, "weights": "last", "weights_step": 10,
    "train_nats": 2.0, "test_nats": 1.5, "test_interval": [1.4, 1.6], "test_bpc": 2.1, "baseline": "trigram",
    "baseline_nats": 1.9,
}  # fmt: skip


def card(**changes: Any) -> str:
    settings = {"task": "language", "model": MODEL, "train": to_dict(config(steps=10)), "result": RESULT | changes}
    return model_card("run", settings, DESCRIBED)


def test_the_figures_stand_in_the_card() -> None:
    text = card()
    assert "| held-out loss | 1.5000 nats per unit (1.4000 to 1.6000) |" in text
    assert "| held-out bits | bpc 2.1000 |" in text
    assert "| baseline | trigram: 1.9000 nats per unit |" in text


@pytest.mark.parametrize("interval", [[0.0, None], [None, 2.0], [None, None], None])
def test_an_interval_without_an_end_is_left_out(interval: Any) -> None:
    assert "| held-out loss | 1.5000 nats per unit |" in card(test_interval=interval)


@pytest.mark.parametrize("name", [n for n in RESULT if n not in ("steps", "units")])
def test_no_figure_that_is_missing_stops_the_card(name: str) -> None:
    text = card(**{name: None})
    assert "None" not in text
    assert ("held-out loss | not finite" in text) == (name == "test_nats")


def test_a_ruined_run_is_kept_all_the_same(run: Runner) -> None:
    settings = config(steps=1)
    ran = run("run", settings)
    task = ran.task
    task.settings = lambda: {"model": MODEL, "data": {}}  # type: ignore[method-assign]
    task.describe = lambda: DESCRIBED  # type: ignore[method-assign]
    keeper = ModelKeeper(run.root / "kept", task, settings, {})
    keeper.model = ran.trainer.model
    bad = Evaluation(math.nan, 1, (0.0, math.inf), {"bpc": math.nan})
    found = keeper.finish(Result(1, 1, 0.1, math.nan, bad, bad, "budget", "last", 1), ("unigram", math.inf))
    assert (found["test_nats"], found["test_interval"], found["baseline_nats"]) == (None, [0.0, None], None)
    assert json.loads((run.root / "kept" / "config.json").read_text())["result"] == found
    assert isinstance(task, CharTask)
