"""Budgets in minutes on machines of every kind, by a clock that the tests move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.training.char_task import CharTask, Clock, Notes, Ran, Runner, config, metrics, same
from unrolled.errors import UserError
from unrolled.training.budget import Budget
from unrolled.training.loop import Trainer
from unrolled.training.schedule import Schedule


class Machine:
    """Takes ``pace(step)`` seconds an update, so many an evaluation of dev and of test, so many a sample."""

    def __init__(
        self, run: Runner, pace: Callable[[int], float], evaluation: float = 0.0, test: float = 0.0, sample: float = 0.0
    ) -> None:
        self.run, self.pace, self.clock = run, pace, Clock()
        self.cost = {"dev": evaluation, "test": test, "sample": sample}

    def __call__(
        self, name: str = "run", resume: bool = False, spent: float = 0.0, stop_after: int | None = None,
        baseline: float = 0.0, **settings: Any,
    ) -> Ran:  # fmt: skip
        base = {"eval_every": None, "sample_every": None, "checkpoint_every": None}
        made = config(**(base | settings))
        task = CharTask(made)
        evaluate, sample = task.evaluate, task.sample

        def on_loss() -> None:
            self.clock.now += self.pace(task.calls)

        def timed_evaluate(model: Any, part: str) -> Any:
            self.clock.now += self.cost[part]
            return evaluate(model, part)

        def timed_sample(*args: Any) -> Any:
            self.clock.now += self.cost["sample"]
            return sample(*args)

        task.on_loss, task.evaluate, task.sample = on_loss, timed_evaluate, timed_sample  # type: ignore[method-assign]
        begun = self.clock.now
        ran = self.run(
            name, made, task=task, clock=self.clock, resume=resume, stop_after=stop_after, spent=spent,
            baseline_seconds=baseline,
        )  # fmt: skip
        self.took = self.clock.now - begun
        return ran


def steps(ran: Ran) -> int:
    assert ran.result is not None
    return ran.result.steps


def test_an_even_machine_uses_the_budget(run: Runner) -> None:
    ran = Machine(run, lambda step: 0.1)(minutes=0.5)
    assert steps(ran) == 291  # 0.97 of 30 s
    assert ran.result is not None
    assert ran.result.minutes == pytest.approx(0.485)
    assert ran.notes.checkpoints == [0, 20, 291]


def test_evaluations_and_samples_are_inside_the_budget(run: Runner) -> None:
    """About 20 evaluations and 6 samples; 0.15 s each is allowed for, and both are probed before the count is fixed."""
    machine = Machine(run, lambda step: 0.1, evaluation=0.14, test=0.14, sample=0.2)
    ran = machine(minutes=0.5)
    assert len(ran.notes.samples) in (5, 6, 7)
    assert len(ran.notes.evaluations) in (19, 20, 21, 22)
    assert 0.93 * 30 < machine.took <= 30
    assert ran.result is not None
    assert ran.result.minutes == pytest.approx((machine.took - 0.14) / 60, abs=0.15 / 60)


def test_expensive_evaluations_and_samples_become_fewer(run: Runner) -> None:
    machine = Machine(run, lambda step: 0.1, evaluation=1.0, sample=4.0)
    ran = machine(minutes=0.5)
    assert "3 evaluations (each takes 1.0 s), 1 samples (each takes 4.0 s)" in ran.notes.messages[0]
    assert machine.took <= 1.05 * 30


def test_loading_and_a_long_final_evaluation_shorten_training(run: Runner) -> None:
    """Dev and test have 99 and 47 units: the test part's time is foreseen from the dev part's."""
    machine = Machine(run, lambda step: 0.1, evaluation=2.0, test=2.0 * 47 / 99)
    machine(minutes=0.5, spent=4.0)
    assert 4.0 + machine.took <= 1.15 * 30
    assert machine.took > 0.8 * 30


def test_time_is_left_for_the_baseline(run: Runner) -> None:
    machine = Machine(run, lambda step: 0.1)
    ran = machine(minutes=0.5, baseline=10.0)
    assert machine.took + 10.0 <= 1.12 * 30 + 0.1
    assert steps(ran) == pytest.approx(236, abs=1)


READING = "reading the held-out text ..."


@pytest.mark.parametrize(("cost", "said"), [(1.5, False), (5.0, True)])
def test_a_long_final_evaluation_is_announced(run: Runner, cost: float, said: bool) -> None:
    """The dev loss of the last update is known: 47 units of test are left, against dev's 99."""
    ran = Machine(run, lambda step: 0.1, evaluation=cost, test=cost)(steps=30)
    assert (READING in ran.notes.messages) == said


def test_a_large_test_part_is_announced(run: Runner) -> None:
    for name, steps in (("run", 30), ("cut", 10**6)):
        settings = config(steps=steps)
        task = CharTask(settings)
        told = task.describe()
        told["parts"]["test"] = 200_001
        task.describe = lambda told=told: told  # type: ignore[method-assign, misc]
        notes = Notes()
        trainer = Trainer(task, settings, run.root / name, watchers=[notes])

        def stop(task: CharTask = task, trainer: Trainer = trainer) -> None:
            trainer.signals.asked = task.calls == 40

        task.on_loss = stop
        trainer.train()
        assert (READING in notes.messages) == (name == "run")


@pytest.mark.parametrize("factor", [1.3, 5.0])
@pytest.mark.parametrize("at", [30, 200, 280])
def test_a_slowing_machine_ends_in_time(run: Runner, factor: float, at: int) -> None:
    machine = Machine(run, lambda step: 0.1 * (factor if step > at else 1.0))
    ran = machine(minutes=0.5)
    assert 0.95 * 30 <= machine.took <= 1.05 * 30 + 0.1 * factor
    late = [m for m in ran.notes.messages if "the machine has slowed" in m]
    refits = [r["refit"] for r in metrics(run.root / "run") if "refit" in r]
    assert len(late) == len(refits) <= 2
    assert steps(ran) == (refits[-1] if refits else 291)
    assert bool(refits) == (machine.took < 0.975 * 30 or machine.took > 1.04 * 30)


def test_a_hiccup_changes_nothing(run: Runner) -> None:
    ran = Machine(run, lambda step: 1.0 if step == 100 else 0.1)(minutes=0.5)
    assert steps(ran) == 291


@pytest.mark.parametrize("factor", [1.5, 4.0])
def test_a_machine_that_is_fast_again_uses_its_budget(run: Runner, factor: float) -> None:
    """Slow for some 8 seconds of 60: what was taken off comes back, but for those seconds."""
    slow = range(100, 100 + int(80 / factor))
    machine = Machine(run, lambda step: 0.1 * (factor if step in slow else 1.0))
    ran = machine(minutes=1.0)
    lost = len(slow) * 0.1 * (factor - 1)
    refits = [r["refit"] for r in metrics(run.root / "run") if "refit" in r]
    if factor > 2:
        assert refits[0] < refits[-1] == steps(ran)
        assert any("the machine is faster now" in m for m in ran.notes.messages)
    assert steps(ran) == pytest.approx(0.97 * (60 - lost) / 0.1, rel=0.08)
    assert machine.took <= 1.05 * 60
    rates = {r["step"]: r["lr"] for r in ran.notes.steps}
    assert all(0 <= rates[s] - rates[s + 1] < 0.05 * 1e-2 for s in range(21, steps(ran)))


@pytest.mark.parametrize("busy", [22, 150])
def test_a_machine_that_was_busy_when_it_was_measured_uses_its_budget(run: Runner, busy: int) -> None:
    machine = Machine(run, lambda step: 0.1 if step < busy else 0.02)
    ran = machine(minutes=0.5)
    assert 0.9 * 0.97 * 30 <= machine.took <= 1.05 * 30
    assert steps(ran) == pytest.approx((machine.took - 0.1 * busy) / 0.02 + busy, abs=5)
    rates = {r["step"]: r["lr"] for r in ran.notes.steps}
    assert all(0 <= rates[s] - rates[s + 1] < 0.05 * 1e-2 for s in range(21, steps(ran)))


def test_slow_first_updates_do_not_mislead(run: Runner) -> None:
    ran = Machine(run, lambda step: 0.3 if step <= 5 else 0.1)(minutes=0.5)
    assert steps(ran) == 281  # the second lost is taken off, the pace is the later one


def test_a_refit_lowers_the_rate_without_a_jump(run: Runner) -> None:
    ran = Machine(run, lambda step: 0.1 * (2.0 if step > 100 else 1.0))(minutes=0.5)
    rates = {r["step"]: r["lr"] for r in ran.notes.steps}
    falls = [rates[s] - rates[s + 1] for s in range(21, steps(ran))]
    assert all(0 <= f < 0.05 * 1e-2 for f in falls)
    assert rates[steps(ran)] < 0.01 * 1e-2


def test_a_refit_is_resumed_with_its_total_and_its_rates(run: Runner) -> None:
    def pace(step: int) -> float:
        return 0.1 * (2.0 if step > 100 else 1.0)

    whole = Machine(run, pace)("whole", minutes=0.5)
    Machine(run, pace)("cut", minutes=0.5, stop_after=150)
    resumed = Machine(run, lambda step: 0.2)("cut", minutes=0.5, resume=True)
    assert 100 < resumed.notes.steps[0]["step"] < 130  # from the checkpoint that the refit made
    assert steps(resumed) == steps(whole) < 291
    assert same(resumed.live, whole.live)
    assert metrics(run.root / "whole") == metrics(run.root / "cut")
    again = Machine(run, lambda step: 0.2)("whole", minutes=0.5, resume=True)
    assert steps(again) == steps(whole)
    assert same(again.live, whole.live)


def test_a_long_budget_measures_until_the_warm_up_ends(run: Runner) -> None:
    """Nothing depends on the total before; a fast machine is measured better. Equal to the same number of steps."""
    timed = Machine(run, lambda step: 0.01 if step <= 20 else 0.0095)("timed", minutes=0.18, warmup=25)
    assert timed.notes.checkpoints[1] == 25
    assert steps(timed) > 1000
    counted = Machine(run, lambda step: 0.01)("counted", steps=steps(timed), warmup=25)
    assert same(timed.live, counted.live)
    assert metrics(run.root / "timed") == metrics(run.root / "counted")


def test_raised_minutes(run: Runner) -> None:
    machine = Machine(run, lambda step: 0.1)
    machine(minutes=0.5)
    raised = machine(minutes=1.0, resume=True)
    assert steps(raised) == pytest.approx(582, abs=1)
    assert machine.took == pytest.approx(29.1, abs=0.2)
    with pytest.raises(UserError, match="a budget may only be raised"):
        machine(minutes=0.9, resume=True)
    with pytest.raises(UserError, match="--steps 500: the run has made"):
        machine(steps=500, resume=True)
    assert steps(machine(steps=600, resume=True)) == 600
    assert steps(machine(minutes=1.1, resume=True)) == pytest.approx(640, abs=3)


def test_a_budget_is_needed() -> None:
    with pytest.raises(UserError, match="give --minutes, --epochs or --steps"):
        Budget(config(), 10)


def test_epochs_become_steps() -> None:
    assert Budget(config(epochs=2.5), 10).total == 25
    assert Budget(config(epochs=0.01), 10).total == 1


def test_cadences_that_hang_on_the_total_start_after_the_calibration() -> None:
    b = Budget(config(steps=100, eval_every=None, sample_every=None), 10)
    assert [s for s in range(101) if b.evaluates(s)] == list(range(25, 101, 5))
    assert [s for s in range(101) if b.samples(s)] == [34, 51, 68, 85]
    b = Budget(config(steps=30, eval_every=4, sample_every=0), 10)
    assert [s for s in range(1, 31) if b.evaluates(s)] == list(range(4, 31, 4))
    assert not any(b.samples(s) for s in range(31))
    assert [s for s in range(1, 31) if b.records(s)] == [1, 10, *range(20, 31)]
    assert Schedule("cosine", 5, 0.0).anchor_step == 20


@pytest.mark.parametrize("total", [30, 977, 50_000])
@pytest.mark.parametrize("every", [(None, None), (7, 9), (None, 0), (300, None)])
def test_nothing_is_due_in_a_quiet_stretch(total: int, every: tuple[int | None, int | None]) -> None:
    b = Budget(config(steps=total, warmup=33, eval_every=every[0], sample_every=every[1]), 10)
    due = [b.records(s) or b.evaluates(s) or b.samples(s) for s in range(min(total, 1200) + 1)]
    for step in range(len(due) - 1):
        n = b.quiet(step, 50)
        assert 1 <= n <= 50
        assert not any(due[step + 1 : step + n])
        assert n == 50 or step + n >= len(due) - 1 or due[step + n], "it ends where something is due, not before"
