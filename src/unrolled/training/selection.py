"""What is chosen by the dev part: the best weights, the plateau's cuts of the rate, stopping early."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from unrolled.tasks.base import Evaluation
from unrolled.training.config import TrainConfig


class Selection:
    """Follows the dev loss.

    Attributes:
        best: lowest dev loss so far, in nats per unit, or lowest score where the task gives one; infinity before the
            first evaluation.
        best_step: the update after which it was seen.
        bad: evaluations since then (since the last cut, for plateau).
        scale: the plateau's factor on the rate.
        weights: parameters and buffers that were best on the dev part, by name; None unless ``keep="best"``.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.plateau = config.schedule == "plateau"
        self.patience = config.patience or (3 if self.plateau else None)
        self.factor = config.plateau_factor
        self.keep = config.keep == "best"
        self.best, self.best_step, self.bad, self.scale = math.inf, 0, 0, 1.0
        self.weights: dict[str, Tensor] | None = None

    @property
    def needed(self) -> bool:
        """Whether the run cannot go without a dev part."""
        return self.plateau or self.keep or self.patience is not None

    @property
    def exhausted(self) -> bool:
        """Whether the run's patience is at its end (plateau cuts the rate instead of stopping)."""
        return not self.plateau and self.patience is not None and self.bad >= self.patience

    def see(self, step: int, dev: Evaluation, model: nn.Module) -> str | None:
        """Take in the dev figures of the weights that ``model`` holds now; a message where something was decided."""
        loss = dev.nats if dev.score is None else dev.score
        if loss < self.best:
            self.best, self.best_step, self.bad = loss, step, 0
            if self.keep:
                self.weights = {n: t.detach().clone() for n, t in tensors_of(model).items()}
            return None
        self.bad += 1
        if self.plateau and self.patience is not None and self.bad >= self.patience:
            self.bad, self.scale = 0, self.scale * self.factor
            return f"step {step}: no better dev loss in {self.patience} evaluations; the rate times {self.factor:g}"
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "best": self.best if math.isfinite(self.best) else None,
            "best_step": self.best_step,
            "bad": self.bad,
            "scale": self.scale,
            "weights": self.weights,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.best = math.inf if state["best"] is None else state["best"]
        self.best_step, self.bad, self.scale = state["best_step"], state["bad"], state["scale"]
        self.weights = state["weights"]


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, each once (a tied weight appears under its first name)."""
    return {n: p.data for n, p in model.named_parameters()} | dict(model.named_buffers())
