"""One run: its parts, what it writes, and everything that happens between updates."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from unrolled.bundle.checkpoint import load_checkpoint, save_checkpoint
from unrolled.bundle.metrics import MetricsLog
from unrolled.bundle.model import MODEL
from unrolled.bundle.runs import CHECKPOINT, LATEST
from unrolled.errors import UserError
from unrolled.tasks.base import Evaluation, Task, Updating, WholeUpdates
from unrolled.training.average import Average
from unrolled.training.budget import Budget
from unrolled.training.clipping import Clipper
from unrolled.training.config import TrainConfig
from unrolled.training.guard import Guard
from unrolled.training.machine import device_of, memory_errors
from unrolled.training.optimiser import build_optimiser, update_rule
from unrolled.training.records import Meter, evaluation_fields
from unrolled.training.resume import Live, check_settings, settings_of
from unrolled.training.rng import kept_rng, rng_state, set_rng_state
from unrolled.training.schedule import Schedule
from unrolled.training.selection import Selection
from unrolled.training.watch import Watcher

Probe = Callable[[torch.nn.Module, int, float], dict[str, float]]
"""Looks at the model where a line of the log is due and gives further fields for it; called with the updates made and
the seconds that one took lately. It may draw what it likes, and leaves the model as it is."""

NO_DEV = "--keep best, --patience and --schedule plateau need a dev part; give --dev a share above 0"


class Run:
    """The state of a run and what is done with it apart from updates. :class:`unrolled.training.loop.Trainer` is the
    one to use; the arguments are explained there."""

    def __init__(
        self, task: Task, config: TrainConfig, run: Path, *, watchers: Sequence[Watcher] = (), resume: bool = False,
        spent: float = 0.0, baseline_seconds: float = 0.0, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.task, self.config, self.run, self.watchers = task, config, run, list(watchers)
        self.resume, self.clock, self.device = resume, clock, device_of(config.device)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        with kept_rng(self.device), memory_errors():
            torch.manual_seed(config.seed)
            self.model = task.build().to(device=self.device, dtype=getattr(torch, config.dtype))
            self._first_rng = rng_state(self.device)
        self.described = task.describe()
        self.parts: dict[str, int] = dict(self.described.get("parts") or {})
        with memory_errors():
            self.stream = task.stream()
        self.budget = Budget(config, self.stream.steps_per_epoch, self.parts, spent + baseline_seconds)
        self.schedule = Schedule(config.schedule, config.warmup, config.final_lr)
        self.selection, self.guard = Selection(config), Guard(config)
        self.clipper = Clipper(config.clip_norm, config.clip_value)
        self.meter = Meter(
            self._first_chunk_loss(), self.described.get("batch", config.batch), self.clipper.by_norm,
            self.clipper.by_value is not None,
        )  # fmt: skip
        self.log = MetricsLog(run / "metrics.jsonl")
        self.params = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = build_optimiser(self.model, config)
        self.probes: list[Probe] = []
        self.step = self.lines = 0
        self.lr = self.saved_at = 0.0
        self._dev: tuple[int, Evaluation] | None = None
        if self.selection.needed and self.parts.get("dev") == 0:
            raise UserError(NO_DEV)

    def _first_chunk_loss(self) -> float | None:
        first, c = self.described.get("first_loss"), self.config
        return first * int(c.bptt) if c.loss_reduction == "sum" and first and c.bptt != "full" else None

    def _begin(self) -> None:
        set_rng_state(self._first_rng, self.device)
        average = Average(self.model, self.config.average) if self.config.average else None
        self.live = Live(self.model, self.optimiser, average, self.stream, self.device)
        self.whole = self._whole(average)
        self.settings = settings_of(self.config, self.task.settings(), self.described.get("digest"))
        saved = (self.run / CHECKPOINT / LATEST).exists()
        if saved and not self.resume:
            raise UserError(f"{self.run}: holds a run already; give another --out, or go on with it by --resume")
        if self.resume and not saved and (self.run / MODEL).exists():
            raise UserError(f"{self.run}: its checkpoint is gone ({CHECKPOINT}/{LATEST}), so it cannot go on where it "
                            f"stopped; start a new run from its weights with --init-from {self.run}")  # fmt: skip
        changed = self._load() if saved else False
        self.log.cut_back(self.step, lines=self.lines)
        self.model.train()
        with kept_rng(self.device):
            info = {"run": str(self.run), "step": self.step, "total": self.budget.total, "describe": self.described,
                    "minutes": self.config.minutes, "resumed": saved}  # fmt: skip
            for w in self.watchers:
                w.on_start(info)
            if saved:
                self._say(f"going on at step {self.step}" + (f" of {t}" if (t := self.budget.total) else ""))
        if changed or not saved:
            self._save()

    def _load(self) -> bool:
        """Take up the checkpoint; whether the budget is another one now."""
        _, state = load_checkpoint(self.run)
        check_settings(state["settings"], self.settings)
        self.step, self.lines = state["step"], state["lines"]
        changed = self.budget.load(state["budget"], self.step, state["settings"]["train"])
        for part in ("schedule", "meter", "guard", "selection"):
            getattr(self, part).load(state[part])
        if changed:
            self.schedule.replan()
        self.live.restore(state["live"])
        return changed

    def _whole(self, average: Average | None) -> WholeUpdates | None:
        """The task's own way to make whole updates, where it has one for this run."""
        offered, rule = getattr(self.task, "whole", None), update_rule(self.optimiser)
        if offered is None or rule is None or average is not None:
            return None
        clipper = self.clipper
        updating = Updating(self.optimiser, rule, clipper.by_norm or 0.0, clipper.by_value or 0.0)
        found: WholeUpdates | None = offered(self.model, updating)
        return found

    def _ahead(self, seconds: float) -> int:
        """How many updates may be made in one go: until something is due, for a twentieth of a second at most.

        Args:
            seconds: what the last update took.
        """
        b, every = self.budget, self.config.checkpoint_every
        if b.total is None or self.whole is None:
            return 1
        most = min(1000, self.guard.room or 1000, 1 + int(0.05 / max(seconds, 1e-6)))
        return b.quiet(self.step, min(most, every - self.step % every) if every else most)

    # Between updates. Nothing here may touch the training's random streams.

    def _between(self) -> bool:
        """Whatever is due after an update; whether anything was."""
        b, step = self.budget, self.step
        calibrates, every = b.calibrates(step), self.config.checkpoint_every
        saves = step % every == 0 if every else b.elapsed - self.saved_at >= 60.0
        records, evaluates, samples = b.records(step), b.evaluates(step), b.samples(step)
        if not (calibrates or records or evaluates or samples or saves):
            return False
        with kept_rng(self.device):
            if calibrates:
                self._calibrate()
            if records:
                saves = self._record() or saves
            if evaluates:
                self._evaluate_dev()
            if samples:
                self._sample()
        if saves or calibrates:
            self._save()
        return True

    def _calibrate(self) -> None:
        """Fix the updates of a budget in minutes. What has not happened yet is tried once, to know its time."""
        if "evaluation" not in self.budget.costs:
            self._evaluate("dev")
        if "sample" not in self.budget.costs and self.config.sample_every != 0:
            self._draw()
        self._say(self.budget.calibrate(self.step))

    def _record(self) -> bool:
        """Write a line; whether the total was fitted anew, so that a checkpoint is due."""
        b, meter = self.budget, self.meter
        fitted, each = b.follow(self.step, meter.seconds, meter.updates), meter.seconds / max(1, meter.updates)
        record = meter.record(self.step, self.stream.epoch, self.lr, b.elapsed)
        for probe in self.probes:
            record |= probe(self.model, self.step, each)
        self._write(record)
        if fitted is not None:
            assert b.total is not None
            how = "has slowed" if fitted < b.total else "is faster now"
            self._say(f"step {self.step}: the machine {how}; {fitted} updates instead of {b.total} fit the budget")
            self.schedule.refit(self.step, b.total)
            b.fit(fitted)
            self._write({"step": self.step, "refit": fitted})
        for w in self.watchers:
            w.on_step(record | {"total": b.total})
        return fitted is not None

    def _evaluate_dev(self) -> None:
        begun = self.clock()
        with self._shown():
            dev = self._evaluate("dev")
            message = None if dev is None else self.selection.see(self.step, dev, self.model)
        if dev is None:
            if self.selection.needed:
                raise UserError(NO_DEV)
            return
        self._dev = (self.step, dev)
        self._note(evaluation_fields("dev", dev), begun)
        if message:
            self._say(message)

    def _note(self, fields: dict[str, Any], begun: float) -> None:
        place = {"step": self.step, "units": self.meter.units, "epoch": round(self.stream.epoch, 6)}
        times = {"minutes": self.budget.elapsed / 60.0, "seconds": self.clock() - begun}
        record = place | fields | times
        self._write(record)
        for w in self.watchers:
            w.on_evaluation(record)

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        """The model as it would be kept: averaged weights where they are asked for, evaluation mode, no gradients."""
        average = self.live.average
        with torch.no_grad(), average.inside() if average else contextlib.nullcontext():
            self.model.eval()
            try:
                yield
            finally:
                self.model.train()

    def _evaluate(self, part: str) -> Evaluation | None:
        """The loss on a part, None where it is empty."""
        if self.parts.get(part) == 0:
            return None
        begun = self.clock()
        with torch.no_grad():
            self.model.eval()
            found = self.task.evaluate(self.model, part)
            self.model.train()
        if part == "dev":
            self.budget.costs["evaluation"] = self.clock() - begun
        return found if found.units else None

    def _draw(self) -> str | None:
        begun = self.clock()
        with self._shown():
            seed = self.config.seed + self.step
            text = self.task.sample(self.model, self.live.carry, self.config.sample_length, seed)
        self.budget.costs["sample"] = self.clock() - begun
        return text

    def _sample(self) -> None:
        text = self._draw()
        if text is not None:
            for w in self.watchers:
                w.on_sample(text, {"step": self.step, "units": self.meter.units})

    def _write(self, record: dict[str, Any]) -> None:
        self.log.write(record)
        self.lines += 1

    def _say(self, text: str) -> None:
        for w in self.watchers:
            w.on_message(text)

    def _save(self) -> None:
        """Write a checkpoint. Not inside ``kept_rng``: it must find the training's random streams as training left
        them."""
        begun = self.clock()
        state = {"settings": self.settings, "step": self.step, "lines": self.lines, "live": self.live.tree()}
        for part in ("budget", "schedule", "meter", "guard", "selection"):
            state[part] = getattr(self, part).state()
        self.log.sync()
        save_checkpoint(self.run, self.step, state)
        self.budget.costs["checkpoint"] = self.clock() - begun
        self.saved_at = self.budget.elapsed
        with kept_rng(self.device):
            for w in self.watchers:
                w.on_checkpoint(self.step)
