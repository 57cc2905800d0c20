"""Resumed equals uninterrupted, bit for bit; watching changes nothing."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.char_task import CharTask, Clock, Notes, Ran, Runner, config, metrics, same
from unrolled.bundle.checkpoint import load_checkpoint
from unrolled.errors import UserError
from unrolled.training.loop import Trainer


def equal(a: Ran, b: Ran, folder_a: Path, folder_b: Path) -> None:
    assert same(a.weights, b.weights)
    assert same(a.live, b.live)
    assert same(a.trainer.guard.state(), b.trainer.guard.state())
    assert same(a.trainer.selection.state(), b.trainer.selection.state())
    assert metrics(folder_a) == metrics(folder_b)
    assert a.result is not None
    assert b.result is not None
    assert (a.result.dev, a.result.test, a.result.units) == (b.result.dev, b.result.test, b.result.units)


BUDGETS: dict[str, dict[str, Any]] = {
    "steps": {"steps": 45},
    "epochs": {"epochs": 2.4},
    "plateau": {"steps": 45, "schedule": "plateau", "patience": 1, "eval_every": 3, "lr": 0.3},
    "best": {"steps": 45, "keep": "best", "optimiser": "sgd", "momentum": 0.9, "average": 0.0},
    "sum": {"steps": 45, "loss_reduction": "sum", "optimiser": "min-char-rnn-adagrad", "clip_value": 0.05},
    "float64": {"steps": 45, "dtype": "float64", "optimiser": "rmsprop", "schedule": "constant"},
    "defaults": {"steps": 45, "eval_every": None, "sample_every": None, "checkpoint_every": 10},
}


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_resumed_run_equals_an_uninterrupted_one(run: Runner, budget: str) -> None:
    settings = config(**BUDGETS[budget])
    whole = run("whole", settings)
    for stop in (0, 3, 22, 37):
        name = f"stopped at {stop}"
        run(name, settings, stop_after=stop)
        run(name, settings, resume=True, stop_after=min(stop + 7, 44))  # and once more
        torch.rand(7)  # what others draw in between must not matter
        equal(whole, run(name, settings, resume=True), run.root / "whole", run.root / name)


def clocked(seconds: float = 0.1, evaluation: float = 0.5, **settings: Any) -> tuple[Any, CharTask, Clock]:
    """A machine on which an update takes ``seconds`` and an evaluation ``evaluation``."""
    made, clock = config(**settings), Clock()
    task = CharTask(made)

    def pass_time(by: float) -> Any:
        def advance() -> None:
            clock.now += by

        return advance

    task.on_loss, task.on_evaluate = pass_time(seconds), pass_time(evaluation)
    return made, task, clock


def test_minutes_fix_their_steps_and_equal_them(run: Runner) -> None:
    """20 seconds at 0.1 s an update; the evaluations' 0.5 s are inside the budget."""
    settings, task, clock = clocked(minutes=20 / 60, checkpoint_every=1000)
    timed = run("timed", settings, task=task, clock=clock)
    assert timed.result is not None
    total = timed.result.steps
    n = total // 7
    assert 0.93 * 20 <= 0.1 * total + 0.5 * n <= 20
    assert timed.result.minutes * 60 == pytest.approx(0.1 * total + 0.5 * n)
    assert timed.notes.checkpoints == [0, 20, total]
    assert timed.notes.messages == [f"0.333333 minutes are {total} updates at 100.0 ms each"]
    counted = run("counted", config(steps=total, checkpoint_every=1000))
    equal(timed, counted, run.root / "timed", run.root / "counted")
    for stop in (10, 21, 60):
        name = f"stopped at {stop}"
        settings, task, clock = clocked(minutes=20 / 60, checkpoint_every=4)
        run(name, settings, task=task, clock=clock, stop_after=stop)
        settings, task, clock = clocked(minutes=20 / 60, checkpoint_every=4)
        equal(timed, run(name, settings, task=task, clock=clock, resume=True), run.root / "timed", run.root / name)


def test_watching_does_not_disturb(run: Runner) -> None:
    class Drawing(Notes):
        def on_step(self, record: dict[str, Any]) -> None:
            torch.rand(3)

        def on_message(self, text: str) -> None:
            torch.rand(2)

    plain = run("plain", config(steps=30, eval_every=1000, sample_every=0, checkpoint_every=1000))
    settings = config(steps=30, eval_every=2, sample_every=3, checkpoint_every=1)
    trainer = Trainer(CharTask(settings), settings, run.root / "watched", watchers=[Drawing()])
    trainer.train()
    assert same(plain.live, trainer.live.tree())
    assert same(plain.weights, dict(trainer.model.state_dict()))


def test_training_leaves_the_callers_random_stream_alone(run: Runner) -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    run("any", config(steps=3))
    assert torch.equal(torch.rand(4), expected)


def test_a_torn_last_line_is_mended(run: Runner) -> None:
    settings = config(steps=30)
    whole = run("whole", settings)
    run("torn", settings, stop_after=22)
    with (run.root / "torn" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 22, "lo')
    equal(whole, run("torn", settings, resume=True), run.root / "whole", run.root / "torn")


def test_a_finished_run_resumed_says_the_same_again(run: Runner) -> None:
    settings = config(steps=30)
    whole = run("whole", settings)
    before = metrics(run.root / "whole")
    again = run("whole", settings, resume=True)
    assert metrics(run.root / "whole") == before
    assert again.result is not None
    assert whole.result is not None
    assert again.result.test == whole.result.test
    assert again.task.calls == 0


def test_a_budget_may_be_raised(run: Runner) -> None:
    """With a constant rate, a raised budget ends where a run with that budget from the start does."""
    whole = run("whole", config(steps=40, schedule="constant", sample_every=0))
    run("raised", config(steps=28, schedule="constant", sample_every=0))
    raised = run("raised", config(steps=40, schedule="constant", sample_every=0), resume=True)
    assert same(whole.live, raised.live)
    in_both = [r for r in metrics(run.root / "raised") if r.get("step", 0) > 28]
    assert in_both == [r for r in metrics(run.root / "whole") if r.get("step", 0) > 28]
    raised = run("raised", config(epochs=3.0, schedule="constant", sample_every=0), resume=True)
    assert raised.result is not None
    assert raised.result.steps == 57


def test_a_raised_cosine_is_that_of_the_new_total(run: Runner) -> None:
    whole = run("whole", config(steps=60))
    run("raised", config(steps=30))
    raised = run("raised", config(steps=60), resume=True)
    rates = {r["step"]: r["lr"] for r in whole.notes.steps}
    assert raised.notes.steps
    assert all(r["lr"] == rates[r["step"]] for r in raised.notes.steps)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lr": 0.5}, "lr was 0.01 and is now 0.5"),
        ({"clip_norm": None}, "clip_norm was 0.5 and is now unset"),
        ({"seed": 9}, "seed was 1 and is now 9"),
        ({"steps": 20}, "--steps 20: the run has a budget of 30"),
        ({"steps": None, "epochs": 0.5}, "already"),
    ],
)
def test_other_settings_may_not_change(run: Runner, changes: dict[str, Any], named: str) -> None:
    run("run", config(steps=30), stop_after=25)
    with pytest.raises(UserError, match=named):
        run("run", config(**{"steps": 30, **changes}), resume=True)


def test_another_model_or_text_is_refused(run: Runner) -> None:
    settings = config(steps=30)
    run("run", settings, stop_after=25)
    with pytest.raises(UserError, match=r"model\.hidden was 16 and is now 17"):
        run("run", settings, resume=True, task=CharTask(settings, hidden=17))
    other = CharTask(settings)
    other.settings = lambda: {"model": {"hidden": 16}, "data": {"digest": "hound"}}  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"this is another text"):
        run("run", settings, resume=True, task=other)
    with pytest.raises(UserError, match="holds a run already"):
        run("run", settings)


def test_watching_may_change(run: Runner) -> None:
    whole = run("whole", config(steps=30))
    run("run", config(steps=30), stop_after=25)
    settings = config(steps=30, sample_every=1, sample_length=3, checkpoint_every=None)
    resumed = run("run", settings, resume=True)
    assert same(whole.live, resumed.live)
    assert resumed.notes.samples == [f"sample {1 + s} 3" for s in range(25, 31)]


SCRIPT = """
import sys, time
from pathlib import Path
import torch
from tests.training.char_task import CharTask, config
from unrolled.training.loop import Trainer
from unrolled.training.watch import Silent

class Print(Silent):
    def on_message(self, text): print(text, flush=True)
    def on_step(self, record): print("step", record["step"], flush=True)

torch.set_num_threads(1)
settings = config(steps=int(sys.argv[2]), checkpoint_every=3)
task = CharTask(settings)
task.on_loss = lambda: time.sleep(float(sys.argv[3]))
result = Trainer(task, settings, Path(sys.argv[1]), watchers=[Print()], resume=True).train()
print(result.stopped_by, result.steps, flush=True)
"""


def start(run: Path, steps: int, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(run), str(steps), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return
    raise AssertionError(f"the run ended without {word!r}")


def test_killed_three_times(run: Runner) -> None:
    """SIGKILL at three moments; the run is equal to one that nobody touched, log and all."""
    whole = run("whole", config(steps=40, checkpoint_every=3))
    for at, delay in (("step 1\n", 0.012), ("step 20\n", 0.0), ("step 31\n", 0.007)):
        process = start(run.root / "killed", 40, 0.004)
        read_until(process, at)
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    settings = config(steps=40, checkpoint_every=3)
    equal(whole, run("killed", settings, resume=True), run.root / "whole", run.root / "killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_saves_and_ends_cleanly(run: Runner, number: signal.Signals) -> None:
    process = start(run.root / "asked", 10**6, 0.002)
    read_until(process, "step 10\n")
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "go on with: unrolled train --resume" in output
    assert "interrupted" in output.splitlines()[-1]
    step, state = load_checkpoint(run.root / "asked")
    assert step == int(output.split()[-1]) == state["step"]


def test_a_second_signal_ends_at_once(run: Runner) -> None:
    process = start(run.root / "asked", 10**6, 30.0)  # it sleeps inside an update
    deadline = time.monotonic() + 60
    while not (run.root / "asked" / "checkpoint" / "latest").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert load_checkpoint(run.root / "asked")[0] == 0


def test_a_failed_checkpoint_leaves_the_old_one(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    import unrolled.training.run as module

    whole = run("whole", config(steps=30))
    real, count = module.save_checkpoint, 0

    def full(*args: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count > 4:
            raise UserError("checkpoint: the disk is full; free some space and run again")
        return real(*args, **more)

    monkeypatch.setattr(module, "save_checkpoint", full)
    with pytest.raises(UserError, match="the disk is full"):
        run("full", config(steps=30))
    assert load_checkpoint(run.root / "full")[0] == 12
    monkeypatch.setattr(module, "save_checkpoint", real)
    equal(whole, run("full", config(steps=30), resume=True), run.root / "whole", run.root / "full")


def test_no_number_is_lost_to_nan(run: Runner) -> None:
    whole = run("whole", config(steps=12))
    assert whole.result is not None
    assert math.isfinite(whole.result.train)
    assert whole.notes.results == [whole.result]
