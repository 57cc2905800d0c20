"""How long a run lasts, and how often it stops to be watched.

Steps and epochs give the number of updates at once. Minutes measure the machine on the first updates, then fix the
number and write it down, so that a resumed run ends where the uninterrupted one would.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Any

from unrolled.errors import UserError
from unrolled.training.config import TrainConfig
from unrolled.training.schedule import CALIBRATION, held_until

AIM = 0.97
"""The share of a budget in minutes that is planned for."""
LATE = 1.05
"""A projected end past this share of the budget fits the number of updates anew."""
EARLY = 0.9
"""A projected end before this share of what is planned for fits the number of updates anew, too: the machine was busy
when it was measured, or whole updates made many a call are faster than the single ones of the calibration."""
COMMAND = 1.12
"""What loading, training and the final evaluation may take together, as a share of the budget (1.15 is promised)."""

EVALUATIONS, SAMPLES, RECORDS = 20, 6, 400
"""How many of each a run has by default."""

RECENT = 15
"""Records over which the pace is taken."""

LONG = 40
"""A budget of this many warm-ups measures until the warm-up ends: the rate cannot depend on the total before."""


@dataclasses.dataclass
class Cadence:
    """Updates between evaluations, samples and records; None: not known yet, or none."""

    evaluate: int | None
    sample: int | None
    record: int | None


class Budget:
    """The number of updates, and the time they take.

    Attributes:
        total: updates of the whole run; None until a budget in minutes has been fixed.
        elapsed: seconds of training so far, over all resumed parts, without loading and the final evaluation.
        pace: seconds an update takes lately, without evaluations and the like.
        costs: seconds of the last ``"evaluation"``, ``"sample"`` and ``"checkpoint"``.

    Args:
        config: gives the budget; exactly one of minutes, epochs, steps.
        steps_per_epoch: batches in one pass.
        parts: scored units by part, where the task says so.
        spent: seconds that the command takes outside training: loading before, the baseline afterwards.

    Raises:
        UserError: no budget is given.
    """

    NAMES = ("total", "elapsed", "pace", "costs", "times", "recent", "refitted")

    def __init__(
        self, config: TrainConfig, steps_per_epoch: int, parts: dict[str, int] | None = None, spent: float = 0.0
    ) -> None:
        self.config, self.parts, self.spent = config, parts or {}, spent
        self.seconds = None if config.minutes is None else 60.0 * config.minutes
        self.total: int | None = None
        self.elapsed, self.pace = 0.0, 0.0
        self.costs: dict[str, float] = {}
        self.times: list[float] = []
        self.recent: list[float] = []
        self.refitted = 0.0
        self.cadence = Cadence(config.eval_every, config.sample_every or None, None)
        if config.steps is not None:
            self.fix(config.steps)
        elif config.epochs is not None:
            self.fix(max(1, round(config.epochs * steps_per_epoch)))
        elif self.seconds is None:
            raise UserError("no budget: give --minutes, --epochs or --steps")

    def fix(self, total: int, evaluations: int = EVALUATIONS, samples: int = SAMPLES) -> None:
        """Settle the number of updates, and what hangs on it."""
        self.total = total
        c = self.config
        sample = max(1, round(total / samples)) if c.sample_every is None else c.sample_every or None
        evaluate = c.eval_every or max(1, round(total / evaluations))
        self.cadence = Cadence(evaluate, sample, min(max(1, total // RECORDS), 100))

    # When to do what. A cadence that was given holds from the first update on; one that hangs on the total only after
    # the calibration, in every run, so that minutes and steps do the same.

    def evaluates(self, step: int) -> bool:
        """Whether the dev loss is due after update number ``step``."""
        return self._due(step, self.cadence.evaluate, self.config.eval_every is not None)

    def samples(self, step: int) -> bool:
        """Whether a live sample is due after update number ``step``."""
        return self._due(step, self.cadence.sample, self.config.sample_every is not None)

    def records(self, step: int) -> bool:
        """Whether a line for ``metrics.jsonl`` is due after update number ``step``."""
        if step <= held_until(self.config.warmup):
            return step == 1 or step % 10 == 0 or step == self.total
        return step == self.total or self._due(step, self.cadence.record, False)

    def quiet(self, step: int, most: int) -> int:
        """After update number ``step``: how many updates until one of these is due, ``most`` at most."""
        assert self.total is not None
        if step >= held_until(self.config.warmup):  # nothing but the cadences and the end counts from here on
            c = self.cadence
            due = (every - step % every for every in (c.evaluate, c.sample, c.record) if every is not None)
            return min(most, self.total - step, *due)
        for n in range(1, most):
            if self.records(step + n) or self.evaluates(step + n) or self.samples(step + n):
                return n
        return most

    @staticmethod
    def _due(step: int, every: int | None, given: bool) -> bool:
        return every is not None and step % every == 0 and (given or step > CALIBRATION)

    # Minutes.

    def calibrates(self, step: int) -> bool:
        """Whether the number of updates is to be fixed now, after update number ``step``.

        After :data:`CALIBRATION` updates; at the end of the warm-up where that comes later and the budget is long.
        """
        if self.total is not None or len(self.times) < CALIBRATION:
            return False
        end = held_until(self.config.warmup)
        return step >= end or self.seconds is None or self.seconds < LONG * end * statistics.median(self.times)

    def count(self, seconds: float) -> None:
        """Take in the time of one update while calibrating."""
        self.times.append(seconds)

    def calibrate(self, step: int) -> str:
        """Fix the number of updates from the times measured; a message that says so.

        The median is taken, over the last three quarters: the first updates also set up kernels and memory.
        """
        assert self.seconds is not None
        self.pace = statistics.median(self.times[len(self.times) // 4 :])
        aim = self._aim()
        evaluations = self._affordable("evaluation", EVALUATIONS) if self.config.eval_every is None else EVALUATIONS
        samples = self._affordable("sample", SAMPLES) if self.config.sample_every is None else SAMPLES
        each, fixed = self._between(evaluations, samples)
        left = aim - self.elapsed - fixed
        self.fix(step + max(0, int(left / (self.pace + each))), evaluations, samples)
        said = f"{self.config.minutes:g} minutes are {self.total} updates at {1000 * self.pace:.1f} ms each"
        for name, n, usual in (("evaluation", evaluations, EVALUATIONS), ("sample", samples, SAMPLES)):
            if n < usual:
                said += f", {n} {name}s (each takes {self.costs[name]:.1f} s)"
        return said

    def _affordable(self, name: str, usual: int) -> int:
        """As many as a tenth of the budget has room for, but at least one and not more than usual."""
        assert self.seconds is not None
        cost = self.costs.get(name, 0.0)
        return max(1, min(usual, int(0.1 * self.seconds / cost))) if cost else usual

    def _aim(self) -> float:
        """Seconds of training to plan for: less than the budget where loading and the final evaluation are long."""
        assert self.seconds is not None
        outside = self.spent + self.reading("dev", "test")
        return min(AIM * self.seconds, max(COMMAND * self.seconds - outside, 0.5 * self.seconds))

    def reading(self, *parts: str) -> float:
        """Seconds that reading these held-out parts should take, by what the dev part took; 0 where that is unknown."""
        dev, cost = self.parts.get("dev", 0), self.costs.get("evaluation", 0.0)
        return sum(cost if part == "dev" else cost * self.parts.get(part, 0) / dev if dev else 0.0 for part in parts)

    def _between(self, evaluations: int, samples: int) -> tuple[float, float]:
        """Seconds for evaluations, samples and checkpoints: a share for each update, and a sum for those whose number
        does not depend on the number of updates."""
        assert self.seconds is not None
        c, each, fixed = self.config, 0.0, 0.0
        for name, every, default in (
            ("evaluation", c.eval_every, evaluations),
            ("sample", c.sample_every, samples),
            ("checkpoint", c.checkpoint_every, math.ceil(self.seconds / 60.0)),
        ):
            if every is None:
                fixed += default * self.costs.get(name, 0.0)
            elif every:
                each += self.costs.get(name, 0.0) / every
        return each, fixed

    def follow(self, step: int, seconds: float, updates: int) -> int | None:
        """Watch the pace: take in that the last ``updates`` updates took ``seconds``.

        Returns:
            A smaller total where the projected end passes :data:`LATE` times the budget, a larger one where it comes
            before :data:`EARLY` of what is planned for; else None. The caller stores it with :meth:`fit`.
        """
        if not updates or self.total is None or step >= self.total:
            return None
        # The median of the last records: a short hiccup must not cut the run, a lasting slowness must.
        self.recent = [*self.recent[1 - RECENT :], seconds / updates]
        if len(self.recent) >= RECENT or not self.pace:
            self.pace = statistics.median(self.recent)
        if self.seconds is None:
            return None
        late = self._aim() * LATE / AIM
        if self.elapsed > late:
            return step
        rest, aim = self._rest(step), self._aim()
        if self.elapsed - self.refitted < 0.02 * self.seconds:
            return None
        end = self.elapsed + rest
        if EARLY * aim <= end <= late:
            return None
        # Near the end half of what is left until late is used: stopping dead would cut off the schedule's last part.
        share = max(aim - self.elapsed, 0.5 * (late - self.elapsed)) / rest
        fitting = step + int(share * (self.total - step))
        if end > late:
            return max(step, min(self.total - 1, fitting))
        return fitting if fitting > self.total else None

    def _rest(self, step: int) -> float:
        """Seconds that what is left will take."""
        assert self.total is not None
        n = self.total - step
        rest = n * self.pace
        for name, every in (("evaluation", self.cadence.evaluate), ("sample", self.cadence.sample)):
            if every:
                rest += (self.total // every - step // every) * self.costs.get(name, 0.0)
        every = self.config.checkpoint_every
        times = n / every if every else rest / 60.0
        return rest + times * self.costs.get("checkpoint", 0.0)

    def fit(self, total: int) -> None:
        """Settle on a total fitted anew; how often the run is watched stays as it was."""
        self.total, self.refitted = total, self.elapsed

    # Resuming.

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {n: getattr(self, n) for n in self.NAMES} | {"cadence": dataclasses.asdict(self.cadence)}

    def load(self, state: dict[str, Any], step: int, old: dict[str, Any]) -> bool:
        """Go on from :meth:`state`.

        Args:
            step: updates made.
            old: the saved run's settings, whose budget may have been smaller.

        Returns:
            Whether the total is another one now.

        Raises:
            UserError: the budget was lowered, or is used up by another measure.
        """
        wanted = self.total
        for name in self.NAMES:
            setattr(self, name, state[name])
        sample = self.config.sample_every  # a watching setting: the new one holds
        self.cadence = Cadence(**state["cadence"])
        if sample is not None:
            self.cadence.sample = sample or None
        elif old.get("sample_every") is not None and self.total is not None:
            self.cadence.sample = max(1, round(self.total / SAMPLES))
        kinds = ("minutes", "epochs", "steps")
        if all(getattr(self.config, k) == old.get(k) for k in kinds):
            return False
        kind = next(k for k in kinds if getattr(self.config, k) is not None)
        new, before = getattr(self.config, kind), old.get(kind)
        if before is not None and new < before:
            raise UserError(f"--{kind} {new:g}: the run has a budget of {before:g}; a budget may only be raised")
        if self.seconds is None:
            assert wanted is not None
            if wanted < step:
                raise UserError(f"--{kind} {new:g}: the run has made {step} updates already; give a larger budget")
            self.fix(wanted)
        elif self.elapsed >= self.seconds:
            used = self.elapsed / 60.0
            raise UserError(f"--minutes {new:g}: the run has trained for {used:.2f} already; give a larger budget")
        elif self.pace:
            left = (self._aim() - self.elapsed) / (self.pace + self._between(EVALUATIONS, SAMPLES)[0])
            self.fix(step + max(0, int(left)))
        else:  # a run by steps or epochs, now by minutes: measure from here
            self.total, self.times, self.cadence.record = None, [], None
        return True
