"""What a run leaves to look at."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.training.char_task import CharTask, Runner, config, metrics
from unrolled.bundle.metrics import MetricsLog
from unrolled.training.loop import Trainer
from unrolled.training.records import TIME_FIELDS, Meter
from unrolled.training.watch import LossPicture, TensorBoardWatcher, plot_losses


def test_the_records(run: Runner) -> None:
    ran = run("run", config(steps=40, clip_norm=0.45, eval_every=15))
    lines = MetricsLog(run.root / "run" / "metrics.jsonl").records()
    train = [r for r in lines if "loss" in r]
    assert list(train[0]) == [
        "step", "units", "epoch", "loss", "loss_smoothed", "lr", "grad_norm", "clipped", "units_per_second", "minutes",
        "grad_norm_after",
    ]  # fmt: skip
    assert [r["step"] for r in train] == [1, 10, *range(20, 41)]
    assert all(r["units"] == 40 * r["step"] for r in train)
    assert train[-1]["epoch"] == pytest.approx(40 / 19, abs=1e-6)
    assert {r["clipped"] for r in train[3:]} == {0.0, 1.0}
    assert all((r["grad_norm"] > 0.45) == bool(r["clipped"]) for r in train[3:])
    (first, second), final = [r for r in lines if "dev_loss" in r and "final" not in r], lines[-1]
    assert (first["step"], second["step"]) == (15, 30)
    assert first["dev_low"] < first["dev_loss"] < first["dev_high"]
    assert first["dev_bpc"] == pytest.approx(first["dev_loss"] / math.log(2))
    assert final["final"] is True
    assert ran.result is not None
    assert ran.result.test is not None
    assert final["test_loss"] == ran.result.test.nats
    assert final["weights"] == "average"
    assert all(set(TIME_FIELDS).isdisjoint(r) for r in metrics(run.root / "run"))


def test_the_loss_of_a_record_is_the_mean_since_the_last() -> None:
    meter = Meter()
    meter.add(2.0, 10, 1.0, True, 0.5)
    meter.add(4.0, 30, 3.0, False, 0.5)
    record = meter.record(2, 0.5, 0.1, 120.0)
    assert (record["loss"], record["grad_norm"], record["clipped"]) == (3.5, 2.0, 0.5)
    assert (record["units_per_second"], record["minutes"]) == (40.0, 2.0)
    assert record["loss_smoothed"] == pytest.approx((0.98 * 2.0 + 4.0) / 1.98)
    assert "smooth_loss" not in record
    assert record["grad_norm_after"] == 2.0  # nothing bounds it here
    meter.add(1.0, 10, 1.0, False, 0.5)
    assert meter.record(3, 0.5, 0.1, 121.0)["loss"] == 1.0


def test_the_norm_after_clipping_is_what_is_left_and_left_out_where_it_is_not_known() -> None:
    meter = Meter(clip_norm=1.5)
    for norm in (1.0, 2.0, 4.0):
        meter.add(1.0, 1, norm, norm > 1.5, 0.1)
    assert meter.record(3, 0.0, 0.1, 1.0)["grad_norm_after"] == pytest.approx((1.0 + 1.5 + 1.5) / 3)
    meter.add(1.0, 1, 0.5, False, 0.1)
    assert meter.record(4, 0.0, 0.1, 1.0)["grad_norm_after"] == 0.5
    by_value = Meter(clip_value=True)
    by_value.add(1.0, 1, 3.0, False, 0.1)
    assert by_value.record(1, 0.0, 0.1, 1.0)["grad_norm_after"] == 3.0
    by_value.add(1.0, 1, 3.0, True, 0.1)
    assert "grad_norm_after" not in by_value.record(2, 0.0, 0.1, 1.0)
    old = {name: value for name, value in meter.state().items() if name not in ("left", "unknown")}
    meter.load(old)  # a checkpoint of before this was recorded


def test_a_summed_loss_has_the_programs_smooth_loss(run: Runner) -> None:
    """``smooth_loss = smooth_loss * 0.999 + loss * 0.001``, from ``ln V`` times the chunk's length."""
    settings = config(steps=30, loss_reduction="sum", lr=1e-3)
    task, nats = CharTask(settings), []
    plain = task.loss

    def loss(*args):  # type: ignore[no-untyped-def]
        found = plain(*args)
        nats.append(found.nats.item())
        return found

    task.loss = loss  # type: ignore[method-assign]
    ran = run("run", settings, task=task)
    expected = math.log(len(task.units)) * 10
    for x in nats:
        expected = 0.999 * expected + 0.001 * x * 10
    assert ran.notes.steps[-1]["smooth_loss"] == pytest.approx(expected, rel=1e-6)
    assert ran.notes.steps[-1]["loss"] < 4


def test_the_picture(run: Runner, tmp_path: Path) -> None:
    settings = config(steps=60)
    folder = run.root / "run"
    picture = LossPicture(folder, ("6-gram", 2.9))
    Trainer(CharTask(settings), settings, folder, watchers=[picture]).train()
    data = (folder / "loss.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 10_000
    assert not plot_losses(tmp_path / "none.jsonl", tmp_path / "none.png")


def test_tensorboard_events(run: Runner) -> None:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    settings = config(steps=25)
    folder = run.root / "run" / "events"
    Trainer(CharTask(settings), settings, run.root / "run", watchers=[TensorBoardWatcher(folder)]).train()
    (file,) = folder.iterdir()
    values = [(e.step, v) for e in EventFileLoader(str(file)).Load() for v in e.summary.value]
    tags = {v.tag for _, v in values}
    assert {"train/loss", "train/lr", "train/grad_norm", "dev/loss", "dev/bpc", "test/loss", "sample"} <= tags
    lines = {r["step"]: r for r in metrics(run.root / "run") if "loss" in r}
    losses = {s: v.tensor.float_val[0] for s, v in values if v.tag == "train/loss"}
    assert losses == pytest.approx({s: r["loss"] for s, r in lines.items()}, rel=1e-6)
    sample = next(v for _, v in values if v.tag == "sample")
    assert sample.tensor.string_val[0] == b"    sample 10 200"


def test_a_long_baseline_name_leaves_room_for_the_curve(tmp_path: Path) -> None:
    """Seen once: a legend as wide as the picture squeezed the axes into its right half."""
    from matplotlib.image import imread

    metrics, picture = tmp_path / "metrics.jsonl", tmp_path / "loss.png"
    lines = [{"step": k, "loss_smoothed": 4.0 - k / 100} for k in range(1, 200)]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert plot_losses(metrics, picture, ("a 5-gram model, trained on 4,000,000 of 10,687,400 units, " * 2, 1.5))
    pixels = imread(picture)[..., :3]
    blue = (abs(pixels - [31 / 255, 119 / 255, 180 / 255]).sum(-1) < 0.05).any(0)
    assert blue.sum() > 0.75 * len(blue)
