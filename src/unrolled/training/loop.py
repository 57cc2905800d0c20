"""The training loop. It knows tasks by the face in :mod:`unrolled.tasks.base` alone."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from unrolled.bundle.lock import only_one
from unrolled.errors import UserError
from unrolled.tasks.base import Evaluation, Task
from unrolled.training.config import TrainConfig
from unrolled.training.guard import copy_tree
from unrolled.training.machine import memory_errors
from unrolled.training.records import Result, evaluation_fields
from unrolled.training.rng import kept_rng
from unrolled.training.run import Run
from unrolled.training.selection import tensors_of
from unrolled.training.signals import StopSignals
from unrolled.training.watch import Watcher

LONG_READING, LARGE_PART = 2.0, 200_000
"""Seconds, and units of the test part, from which on the final reading of the held-out text is announced."""


class Trainer(Run):
    """Trains a task within a budget, so that it can be stopped at any moment and go on exactly.

    Args:
        task: model, data and loss.
        config: the settings; exactly one budget must be set.
        run: the run's folder; ``metrics.jsonl`` and ``checkpoint/`` are written there.
        watchers: called as :class:`unrolled.training.watch.Watcher` says.
        resume: go on from the run's checkpoint. Equal to the bit to never having stopped, for the same number of
            threads. The budget may be raised (what that does to a cosine stands at
            :class:`unrolled.training.schedule.Schedule`), watching may differ, everything else must be equal. A run
            that was killed before its first checkpoint starts again.
        spent: seconds that this command took before (loading); a budget in minutes leaves room for them.
        baseline_seconds: seconds that the command will take afterwards (the baseline); likewise.
        clock: seconds that never go back.

    Attributes:
        probes: see :data:`unrolled.training.run.Probe`; empty, to be added to before :meth:`train`.
        model: the model; after :meth:`train` it holds the weights to keep. Weights loaded into it before
            :meth:`train` are where a new run starts from.

    Raises:
        UserError: no budget, a device that is not there, settings that contradict each other, too little memory.
    """

    def __init__(
        self, task: Task, config: TrainConfig, run: Path, *, watchers: Sequence[Watcher] = (), resume: bool = False,
        spent: float = 0.0, baseline_seconds: float = 0.0, clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        super().__init__(
            task, config, run, watchers=watchers, resume=resume, spent=spent, baseline_seconds=baseline_seconds,
            clock=clock,
        )  # fmt: skip
        self.signals = StopSignals()

    def train(self) -> Result:
        """Train until the budget is used, patience ends, or the user stops it.

        Torch's global random streams are left as they were found.

        Raises:
            UserError: the run cannot be resumed or written, another process trains it, memory was too small, or the
                guard gave up.
        """
        result = None
        with memory_errors(), kept_rng(self.device), self.signals, only_one(self.run):
            try:
                self._begin()
                result = self._finish(self._loop())
            finally:
                for w in self.watchers:
                    w.on_end(result)
        return result

    # Updates.

    def _loop(self) -> str:
        """Update after update; what stopped it."""
        b, clock, meter = self.budget, self.clock, self.meter
        last = clock()
        start = last - b.elapsed
        self.saved_at, each = b.elapsed, math.inf
        while True:
            if b.total is not None and self.step >= b.total:
                return "budget"
            if self.signals.asked:
                return "interrupted"
            if self.selection.exhausted:
                return "patience"
            figures = self._updates(each) if self.whole is not None else [self._update()]
            now = clock()
            b.elapsed, each = now - start, (now - last) / len(figures)
            self.step += len(figures)
            for found in figures:
                if found is not None:
                    meter.add(*found, each)
                if b.total is None:
                    b.count(each)
            if self._between():
                now = clock()
                b.elapsed = now - start
            last = now

    def _update(self) -> tuple[float, int, float, bool] | None:
        """One update: ``(nats, units, gradient norm, clipped)``, or None where the guard took it back."""
        live, params = self.live, self.params
        self.guard.before(self.step, live.tree)
        factor = self.schedule.factor(self.step, self.budget.total)
        self.lr = self.config.lr * factor * self.guard.scale * self.selection.scale
        for group in self.optimiser.param_groups:
            group["lr"] = self.lr
        loss = self.task.loss(self.model, self.stream.next(), live.carry)
        loss.objective.backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in params if p.grad is not None]
        nats, norm = self.clipper.measure(loss.nats, grads)
        wrong = self.guard.verdict(nats, norm)
        clipped = False
        if wrong is None:
            clipped = self.clipper.clip(grads, norm)
            self.optimiser.step()
            if live.average is not None:
                live.average.update()
            live.carry = loss.carry
        for p in params:
            p.grad = None
        if wrong is not None:
            self._go_back(self.step + 1, wrong)
            return None
        return nats, loss.units, norm, clipped

    def _updates(self, seconds: float) -> list[tuple[float, int, float, bool] | None]:
        """Some updates in one go, each as :meth:`_update` gives it; ``seconds`` is what one took lately."""
        assert self.whole is not None
        live, guard, step = self.live, self.guard, self.step
        guard.before(step, live.tree)
        n = self._ahead(seconds)
        scale = self.config.lr * guard.scale * self.selection.scale
        rates = [scale * self.schedule.factor(step + k, self.budget.total) for k in range(n)]
        batches = [self.stream.next() for _ in range(n)]
        made = self.whole.run(batches, rates, live.carry, guard.view())
        found: list[tuple[float, int, float, bool] | None] = []
        for batch, (nats, norm, clipped) in zip(batches, made.figures, strict=False):
            wrong = guard.verdict(nats, norm)
            if wrong is not None:
                self._go_back(step + len(found) + 1, wrong)
                return [*found, None]
            found.append((nats, batch.scored, norm, clipped))
        self.lr, live.carry = rates[len(found) - 1], made.carry
        return found

    def _go_back(self, step: int, wrong: str) -> None:
        try:
            moment, message = self.guard.trip(step, wrong)
        except UserError:
            assert self.guard.good is not None  # the caller may want the last good weights
            self.live.restore(copy_tree(self.guard.good["live"]))
            raise
        self.live.restore(moment)
        self._write({"step": step, "guard": message, "lr_scale": self.guard.scale})
        with kept_rng(self.device):
            self._say(message)

    # The end.

    def _finish(self, stopped: str) -> Result:
        self._save()
        with kept_rng(self.device):
            begun = self.clock()
            if stopped != "interrupted":
                self._announce()
                self._see_last()
            if self.signals.asked:  # perhaps during that evaluation
                stopped = "interrupted"
            weights, at = self._keep()
            dev, test = None, None
            if stopped == "interrupted":
                run = shlex.quote(str(self.run))
                self._say(f"stopped at step {self.step}; go on with: unrolled train --resume {run}")
            else:
                self._settle()
                dev = self._dev[1] if self._dev and self._dev[0] == at else self._evaluate("dev")
                test = self._evaluate("test")
                fields: dict[str, Any] = {"final": True, "weights": weights, "weights_step": at}
                for part, found in (("dev", dev), ("test", test)):
                    fields |= {} if found is None else evaluation_fields(part, found)
                self._note(fields, begun)
            self.model.eval()
        m = self.meter
        return Result(self.step, m.units, self.budget.elapsed / 60.0, m.loss_smoothed, dev, test, stopped, weights, at)

    def _announce(self) -> None:
        """Say that the held-out text is read now, where that takes a while."""
        seen = self._dev is not None and self._dev[0] == self.step
        seconds = self.budget.reading("test") if seen else self.budget.reading("dev", "test")
        if seconds > LONG_READING or self.parts.get("test", 0) > LARGE_PART:
            self._say("reading the held-out text ...")

    def _see_last(self) -> None:
        """Evaluate the last weights on the dev part, unless that was just done: they may be the best."""
        if self._dev is not None and self._dev[0] == self.step:
            return
        with self._shown():
            dev: Evaluation | None = self._evaluate("dev")
            if dev is not None:
                self.selection.see(self.step, dev, self.model)
                self._dev = (self.step, dev)

    def _settle(self) -> None:
        """Let the task fit, on the dev part, what belongs to the kept weights and not to training (a temperature)."""
        settle = getattr(self.task, "settle", None)
        if settle is not None:
            self.model.eval()
            settle(self.model)

    @torch.no_grad()
    def _keep(self) -> tuple[str, int]:
        """Put the weights to keep into the model; their name and the update they are from."""
        if self.selection.weights is not None:
            own = tensors_of(self.model)
            for name, tensor in self.selection.weights.items():
                own[name].copy_(tensor)
            return "best", self.selection.best_step
        if self.live.average is not None:
            self.live.average.put_in()
            return "average", self.step
        return "last", self.step
