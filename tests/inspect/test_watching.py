"""Watching the gradient flow while a network is trained: it costs little, says so, and changes nothing."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.inspect.networks import Net, batch, last_loss
from tests.training.char_task import metrics
from unrolled import inspect
from unrolled.bundle.metrics import MetricsLog
from unrolled.data.config import TextConfig
from unrolled.errors import UserError
from unrolled.inspect.watching import GradientWatch, watch_gradients
from unrolled.tasks.language import face
from unrolled.tasks.language.config import LanguageConfig
from unrolled.training.config import TrainConfig
from unrolled.training.loop import Trainer

FIELDS = [f"flow_{state}_{name}" for state in ("h", "c") for name in ("half", "9", "top")]


class Clock:
    """Time that passes when it is looked at: every look of the watch takes ``look`` seconds."""

    def __init__(self, look: float) -> None:
        self.now, self.look = 0.0, look

    def __call__(self) -> float:
        self.now += self.look
        return self.now


def watched(look: float) -> tuple[GradientWatch, Net, list[str]]:
    x, y = batch(T=9)
    said: list[str] = []

    def windows(model: Any, positions: int, steps: int):
        assert (positions, steps) == (16, 9)
        return last_loss(model, x, y)

    return GradientWatch(windows, 9, said.append, Clock(look)), Net("lstm", num_layers=2), said


def test_the_interval_is_such_that_looking_takes_a_twentieth() -> None:
    watch, net, said = watched(look=1.0)
    looked = [step for step in (1, *range(10, 1000, 10)) if watch(net, step, 0.1)]
    assert looked == [1, 210, 410, 610, 810]  # 1 s is 5 % of 200 updates of 0.1 s
    assert said == [
        "gradient flow is logged every 200 updates or more: a look takes 1 s, which is 5% of the time between two"
    ]


def test_the_first_look_may_take_longer_and_the_interval_then_shrinks_once() -> None:
    watch, net, said = watched(look=1.0)
    watch(net, 1, 0.125)
    watch.clock.look = 0.125
    looked = [step for step in range(10, 500, 10) if watch(net, step, 0.125)]
    assert looked[:3] == [170, 190, 210]
    assert len(said) == 2
    watch.clock.look = 10.0
    for step in range(500, 600, 10):
        watch(net, step, 0.125)
    assert len(said) == 2


def test_the_fields_are_those_of_the_last_layer() -> None:
    watch, net, _ = watched(look=1.0)
    before = {n: p.clone() for n, p in net.named_parameters()}
    found = watch(net, 1, 0.1)
    x, y = batch(T=9)
    path = inspect.gradient_flow(net, last_loss(net, x, y)).path("rnn.l1", "c")
    assert list(found) == FIELDS
    assert found["flow_c_9"] == pytest.approx(float(np.median(path.ratio[:, 9])))
    assert found["flow_c_half"] == (path.reach(0.5) or 10)
    assert found["flow_c_top"] == pytest.approx(path.top()[0])
    assert all(torch.equal(p, before[n]) and p.grad is None for n, p in net.named_parameters())


def trained(folder: Path, text: Path, watch: bool, **shape: Any) -> tuple[Trainer, list[str]]:
    config = TrainConfig(steps=30, batch=4, bptt="9", warmup=3, sample_every=10, eval_every=10, dtype="float64")
    task = face.open_task([str(text)], TextConfig(), LanguageConfig(hidden=8, **shape), config)
    trainer, said = Trainer(task, config, folder), []
    if watch:
        trainer.probes.append(watch_gradients(task, trainer.model, config.bptt, said.append))
    trainer.train()
    return trainer, said


@pytest.mark.parametrize("shape", [{}, {"cell": "gru", "dropout": 0.3, "layers": 2}], ids=["whole updates", "dropout"])
def test_a_watched_run_ends_in_the_same_bits(tmp_path: Path, shape: dict[str, Any]) -> None:
    """Dropout draws from the global stream: a watch that touched it, or the model's mode, would show."""
    rng, text = random.Random(1), tmp_path / "text"
    text.write_text("".join(rng.choices("abcd efg\n", k=4000)))
    plain, _ = trained(tmp_path / "plain", text, False, **shape)
    seen, said = trained(tmp_path / "seen", text, True, **shape)
    for (name, a), (_, b) in zip(plain.model.state_dict().items(), seen.model.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert len(said) >= 1
    with_flow = [r for r in MetricsLog(tmp_path / "seen" / "metrics.jsonl").records() if "flow_h_half" in r]
    assert with_flow[0]["step"] == 1
    assert with_flow[0]["flow_h_9"] < 1
    without = [{k: v for k, v in r.items() if not k.startswith("flow")} for r in metrics(tmp_path / "seen")]
    assert without == metrics(tmp_path / "plain")


def test_records_that_are_too_short_are_told_before_training(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("ab\n" * 400)
    config = TrainConfig(steps=3, batch=4, bptt="9")
    task = face.open_task([str(text)], TextConfig(records="line"), LanguageConfig(hidden=8), config)
    trainer = Trainer(task, config, tmp_path / "run")
    watch = watch_gradients(task, trainer.model, "9", print)
    found = watch(trainer.model, 1, 0.1)
    assert {"flow_h_half", "flow_c_half"} <= set(found)  # fewer steps than asked for, and no failure


def test_the_setting_is_checked_and_may_change_on_resuming() -> None:
    from unrolled.training.resume import check_settings, settings_of

    with pytest.raises(UserError, match="--watch"):
        TrainConfig(watch="everything")
    old, new = (settings_of(TrainConfig(steps=5, watch=w), {}, None) for w in (None, "gradients"))
    check_settings(old, new)
    del old["train"]["watch"]  # a run of before there was this setting
    check_settings(old, new)
