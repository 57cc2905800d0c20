"""A small but real task: a character model over torch's LSTM, with dropout so that the random stream matters."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unrolled.tasks.base import Evaluation, Loss
from unrolled.training.config import TrainConfig
from unrolled.training.loop import Trainer
from unrolled.training.records import TIME_FIELDS, Result
from unrolled.training.watch import Silent

TEXT = "the quick brown fox jumps over the lazy dog; pack my box with five dozen jugs. " * 12


class CharModel(nn.Module):
    def __init__(self, V: int, H: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, 8)
        self.rnn = nn.LSTM(8, H)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(H, V)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        if self.training:
            self.calls += 1
        output, state = self.rnn(self.embedding(x), state)
        return self.head(self.dropout(output)), state


class ChunkStream:
    def __init__(self, ids: Tensor, B: int, T: int) -> None:
        n = (len(ids) - 1) // B
        self.x = ids[: B * n].view(B, n).t()
        self.y = ids[1 : B * n + 1].view(B, n).t()
        self.T, self.steps_per_epoch, self.units_per_epoch = T, n // T, n // T * T * B
        self.count = 0

    def next(self) -> tuple[Tensor, Tensor, bool]:
        k = self.count % self.steps_per_epoch
        self.count += 1
        rows = slice(k * self.T, (k + 1) * self.T)
        return self.x[rows], self.y[rows], k == 0

    def position(self) -> dict[str, int]:
        return {"count": self.count}

    def restore(self, position: dict[str, int]) -> None:
        self.count = position["count"]

    @property
    def epoch(self) -> float:
        return self.count / self.steps_per_epoch


class CharTask:
    """``poison``: calls of loss (from 1) whose loss is spoilt, with what it is multiplied by. ``on_loss`` is called at
    every loss. Evaluation and sampling draw from the global generator on purpose."""

    name = "char"

    def __init__(self, config: TrainConfig, text: str = TEXT, hidden: int = 16) -> None:
        self.config, self.hidden = config, hidden
        self.units = sorted(set(text))
        ids = torch.tensor([self.units.index(c) for c in text])
        self.data = {"train": ids[:800], "dev": ids[800:900], "test": ids[900:]}
        self.poison: dict[int, float] = {}
        self.calls = 0
        self.on_loss: Any = lambda: None
        self.on_evaluate: Any = lambda: None

    def build(self) -> nn.Module:
        return CharModel(len(self.units), self.hidden)

    def stream(self) -> ChunkStream:
        return ChunkStream(self.data["train"], 4, 10)

    def loss(self, model: nn.Module, batch: Any, carry: dict[str, Tensor]) -> Loss:
        self.calls += 1
        self.on_loss()
        x, y, fresh = batch
        state = None if fresh or not carry else (carry["h"], carry["c"])
        logits, (h, c) = model(x, state)
        nats = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        nats = nats * self.poison.get(self.calls, 1.0)
        scale = y.shape[0] if self.config.loss_reduction == "sum" else 1
        return Loss(nats * scale, nats.detach(), y.numel(), {"h": h.detach(), "c": c.detach()})

    def evaluate(self, model: nn.Module, part: str) -> Evaluation:
        assert not model.training
        assert not torch.is_grad_enabled()
        self.on_evaluate()
        torch.rand(3)
        ids = self.data[part]
        if len(ids) < 2:
            return Evaluation(math.nan, 0, (math.nan, math.nan))
        logits, _ = model(ids[:-1, None], None)
        nats = nn.functional.cross_entropy(logits[:, 0], ids[1:]).item()
        return Evaluation(nats, len(ids) - 1, (nats - 0.1, nats + 0.1), {"bpc": nats / math.log(2)})

    def sample(self, model: nn.Module, carry: dict[str, Tensor], length: int, seed: int) -> str | None:
        torch.rand(5)
        return f"sample {seed} {length}"

    def baseline(self) -> tuple[str, float] | None:
        return None

    def describe(self) -> dict[str, Any]:
        return {"first_loss": math.log(len(self.units)), "parts": {k: max(0, len(v) - 1) for k, v in self.data.items()}}

    def settings(self) -> dict[str, Any]:
        return {"model": {"hidden": self.hidden}, "data": {"digest": "fox"}}

    def tokens(self) -> dict[str, Any] | None:
        return {"units": self.units}


class Notes(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.samples: list[str] = []
        self.steps: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []
        self.checkpoints: list[int] = []
        self.results: list[Result | None] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)

    def on_sample(self, text: str, record: dict[str, Any]) -> None:
        self.samples.append(text)

    def on_step(self, record: dict[str, Any]) -> None:
        self.steps.append(record)

    def on_evaluation(self, record: dict[str, Any]) -> None:
        self.evaluations.append(record)

    def on_checkpoint(self, step: int) -> None:
        self.checkpoints.append(step)

    def on_end(self, result: Result | None) -> None:
        self.results.append(result)


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class CutError(Exception):
    """Ends a run in the middle, as a kill would."""


def config(**changes: Any) -> TrainConfig:
    """Settings that exercise everything at once: cosine after a short warm-up, average, clipping, evaluations."""
    base: dict[str, Any] = {
        "lr": 1e-2, "warmup": 5, "average": 0.9, "clip_norm": 0.5, "eval_every": 7, "sample_every": 9, "batch": 4,
        "bptt": "10", "checkpoint_every": 4, "guard_interval": 6, "threads": 1,
    }  # fmt: skip
    return TrainConfig(**(base | changes))


def same(a: Any, b: Any) -> bool:
    """Equality of nested values, tensors bit for bit."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def metrics(run: Path, without: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` without what depends on the clock."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in (*TIME_FIELDS, *without)} for line in lines]


@dataclasses.dataclass
class Ran:
    trainer: Trainer
    task: CharTask
    notes: Notes
    result: Result | None

    @property
    def weights(self) -> dict[str, Tensor]:
        return dict(self.trainer.model.state_dict())

    @property
    def live(self) -> dict[str, Any]:
        return self.trainer.live.tree()


class Runner:
    """Runs trainings under a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(
        self, name: str, settings: TrainConfig, *, resume: bool = False, stop_after: int | None = None,
        task: Any = None, **more: Any,
    ) -> Ran:  # fmt: skip
        """``stop_after``: end by an exception at the loss of that update, as a kill would."""
        task = task or CharTask(settings)
        notes = Notes()
        trainer = Trainer(task, settings, self.root / name, watchers=[notes], resume=resume, **more)
        if stop_after is not None:
            before = task.on_loss

            def cut() -> None:
                before()
                if trainer.step >= stop_after:
                    raise CutError

            task.on_loss = cut
            with pytest.raises(CutError):
                trainer.train()
            return Ran(trainer, task, notes, None)
        return Ran(trainer, task, notes, trainer.train())
