"""The guard, selection by the dev loss, and early stopping."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.training.char_task import CharTask, Notes, Runner, config, metrics, same
from unrolled.errors import UserError
from unrolled.training.guard import Guard, copy_tree
from unrolled.training.loop import Trainer


def poisoned(settings: Any, calls: dict[int, float]) -> CharTask:
    task = CharTask(settings)
    task.poison = calls
    return task


def test_copies_reuse_their_memory_and_share_nothing() -> None:
    tree = {"a": torch.ones(2), "b": [torch.zeros(1), 3], "c": ("x", None)}
    first = copy_tree(tree)
    second = copy_tree({"a": torch.zeros(2), "b": [torch.ones(1), 4], "c": ("y", None)}, first)
    assert second["a"] is first["a"]
    assert same(second, {"a": torch.zeros(2), "b": [torch.ones(1), 4], "c": ("y", None)})
    assert same(tree["a"], torch.ones(2))
    assert copy_tree({"a": torch.zeros(5)}, first)["a"].shape == (5,)


@pytest.mark.parametrize("spoilt", [math.nan, math.inf, -math.inf, 5.0])
def test_a_bad_loss_takes_the_run_back(run: Runner, spoilt: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot every 6 updates: update 27 falls back to the state after 24, at half the rate."""
    monkeypatch.setattr("unrolled.training.guard.SETTLED", 20)
    settings = config(steps=40, guard_interval=6, sample_every=0, schedule="constant")
    seen: dict[int, Any] = {}
    task = poisoned(settings, {27: spoilt, 30: spoilt})  # the same snapshot serves twice

    def look() -> None:
        if task.calls in (25, 28, 31):
            live = trainer.live.tree() | {"stream": None}  # the batch has been drawn already
            seen[task.calls] = copy_tree(live)
            seen[-task.calls] = trainer.stream.position()

    task.on_loss = look
    notes = Notes()
    trainer = Trainer(task, settings, run.root / "run", watchers=[notes])
    result = trainer.train()
    assert same(seen[25], seen[28])
    assert same(seen[25], seen[31])
    assert seen[-25] == seen[-28] == seen[-31]
    message, again = notes.messages
    assert again.startswith("step 30: ")
    assert message.startswith("step 27: ")
    assert message.endswith("back to the weights of step 24, the rate times 0.5")
    rates = {r["step"]: r["lr"] for r in notes.steps}
    assert rates[26] == 2 * rates[28] == 4 * rates[31]
    record, _ = [r for r in metrics(run.root / "run") if "guard" in r]
    assert record == {"step": 27, "guard": message, "lr_scale": 0.5}
    assert result.steps == 40
    assert math.isfinite(result.train)


def test_a_nan_in_the_gradient_alone_is_caught(run: Runner) -> None:
    settings = config(steps=15)
    task = CharTask(settings)
    plain = task.loss

    def loss(*args: Any) -> Any:
        found = plain(*args)
        if task.calls == 9:
            found.objective = found.objective * math.nan
        return found

    task.loss = loss  # type: ignore[method-assign]
    ran = run("run", settings, task=task)
    assert ["gradient's norm became nan" in m for m in ran.notes.messages] == [True]
    assert all(torch.isfinite(w).all() for w in ran.weights.values())


def test_three_in_a_row_stop_the_run(run: Runner) -> None:
    settings = config(steps=60)
    task = poisoned(settings, {27: math.nan, 30: math.nan, 31: math.inf})
    with pytest.raises(UserError, match=r"step 31: the loss became inf, for the 3rd time in a row since step 24") as e:
        run("run", settings, task=task)
    assert "\n" not in str(e.value)
    assert task.calls == 31


def test_a_good_interval_between_forgives(run: Runner) -> None:
    settings = config(steps=60)
    task = poisoned(settings, dict.fromkeys((20, 30, 40, 50), math.nan))
    ran = run("run", settings, task=task)
    assert len(ran.notes.messages) == 4
    assert ran.trainer.guard.scale == 0.5**4


def test_the_very_first_update_may_be_bad(run: Runner) -> None:
    ran = run("run", config(steps=10), task=poisoned(config(steps=10), {1: math.nan}))
    assert "step 1: the loss became nan; back to the weights of step 0" in ran.notes.messages[0]


def test_without_a_guard_a_nan_goes_through(run: Runner) -> None:
    settings = config(steps=10, guard=False)
    ran = run("run", settings, task=poisoned(settings, {5: math.nan}))
    assert ran.notes.messages == []
    assert not torch.isfinite(ran.weights["head.bias"]).all()


def test_ruined_weights_are_never_the_good_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot due at the very update that turns out bad is dropped."""
    monkeypatch.setattr("unrolled.training.guard.SETTLED", 3)
    guard, weights = Guard(config(steps=1, guard_interval=3)), torch.zeros(1)
    for step in range(3):
        guard.before(step, lambda: {"w": weights})
        assert guard.verdict(1.0, 1.0) is None
    weights.fill_(9.0)
    guard.before(3, lambda: {"w": weights})
    reason = guard.verdict(8.0, 1.0)
    assert reason == "the loss jumped from about 1.00 to 8.00 nats"
    back, _ = guard.trip(4, reason)
    assert back["w"].item() == 0.0


def test_a_spike_is_measured_from_a_running_mean() -> None:
    guard = Guard(config(steps=1, guard_spike=3.0))
    guard.before(0, dict)
    for nats in (1.0, 2.0, 6.0 - 1.5, 0.5):
        assert guard.verdict(nats, 1.0) is None
    assert guard.mean == pytest.approx(2.0)  # the plain mean at first
    guard.seen, guard.mean = 10_000, 2.0
    assert guard.verdict(5.0, 1.0) is None
    assert guard.mean == pytest.approx(0.98 * 2.0 + 0.02 * 5.0)
    assert guard.verdict(5.07, 1.0) is not None
    assert guard.mean == pytest.approx(2.06)


def test_the_first_updates_may_jump() -> None:
    """The loss of a fresh network may rise for a while; a NaN counts from the first update on."""
    guard = Guard(config(steps=1))
    guard.before(0, dict)
    for nats in [4.0] * 25 + [30.0] + [4.0] * 23:
        assert guard.verdict(nats, 1.0) is None
        assert guard.verdict(math.nan, 1.0) is not None
        assert guard.verdict(nats, math.inf) is not None
    assert guard.verdict(30.0, 1.0) is None  # the 50th
    assert guard.verdict(30.0, 1.0) is not None


def test_a_run_resumed_after_a_restoration_is_exact(run: Runner) -> None:
    settings = config(steps=45)
    whole = run("whole", settings, task=poisoned(settings, {27: math.nan}))
    run("cut", settings, stop_after=33, task=poisoned(settings, {27: math.nan}))
    resumed = run("cut", settings, resume=True)
    assert same(whole.live, resumed.live)
    assert metrics(run.root / "whole") == metrics(run.root / "cut")
    # The snapshot is in the checkpoint: the same fault after resuming goes back to the same place.
    one = run("one", settings, task=poisoned(settings, {35: math.nan}))
    run("two", settings, stop_after=33)
    task = CharTask(settings)
    task.poison = {35 - 32: math.nan}
    two = run("two", settings, resume=True, task=task)
    assert one.notes.messages[-1] == two.notes.messages[-1]
    assert same(one.live, two.live)


# Selection.


def scripted(settings: Any, losses: list[float]) -> CharTask:
    """A task whose dev losses are given, then stay at the last."""
    task, left = CharTask(settings), list(losses)
    plain = task.evaluate

    def evaluate(model: Any, part: str) -> Any:
        found = plain(model, part)
        if part == "dev":
            found.nats = left.pop(0) if len(left) > 1 else left[0]
        return found

    task.evaluate = evaluate  # type: ignore[method-assign]
    return task


def test_patience_stops_early(run: Runner) -> None:
    settings = config(steps=100, eval_every=5, patience=3)
    ran = run("run", settings, task=scripted(settings, [3.0, 2.0, 2.5, 2.4, 2.0, 1.0]))
    assert ran.result is not None
    assert (ran.result.stopped_by, ran.result.steps) == ("patience", 25)


def test_plateau_cuts_the_rate(run: Runner) -> None:
    settings = config(steps=60, eval_every=5, schedule="plateau", patience=2, plateau_factor=0.1)
    ran = run("run", settings, task=scripted(settings, [3.0, 2.0, 2.5, 2.4, 1.0, 1.0, 1.0]))
    assert ran.result is not None
    assert ran.result.stopped_by == "budget"
    rates = {r["step"]: r["lr"] for r in ran.notes.steps}
    assert rates[20] == 1e-2
    assert rates[21] == pytest.approx(1e-3)  # cut after the evaluation at 20
    assert rates[35] == pytest.approx(1e-3)
    assert rates[36] == pytest.approx(1e-4)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_best_weights_are_kept(run: Runner, average: float) -> None:
    settings = config(steps=30, eval_every=10, keep="best", average=average)
    kept: dict[int, Any] = {}
    task = scripted(settings, [3.0, 1.0, 2.0, 2.0])
    plain, calls = task.evaluate, []

    def evaluate(model: Any, part: str) -> Any:
        calls.append(part)
        kept[len(calls)] = copy_tree(dict(model.state_dict()))
        return plain(model, part)

    task.evaluate = evaluate  # type: ignore[method-assign]
    ran = run("run", settings, task=task)
    assert ran.result is not None
    assert (ran.result.weights, ran.result.weights_step) == ("best", 20)
    assert same(ran.weights, kept[2])
    assert calls[-1] == "test"
    assert calls.count("test") == 1


def test_selecting_without_a_dev_part_is_refused(run: Runner) -> None:
    settings = config(steps=30, keep="best")
    task = CharTask(settings)
    task.data["dev"] = task.data["dev"][:0]
    with pytest.raises(UserError, match="need a dev part"):
        run("run", settings, task=task)


def test_empty_parts_are_left_out(run: Runner) -> None:
    settings = config(steps=10)
    task = CharTask(settings)
    task.data["dev"] = task.data["test"] = task.data["dev"][:0]
    ran = run("run", settings, task=task)
    assert ran.result is not None
    assert (ran.result.dev, ran.result.test) == (None, None)
