"""The package's own training loop as one side of a comparison: what ``unrolled train`` does between its first update
and its last, reading the text included; set-up, files and evaluation are not in the time."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from unrolled.bench.measure import Side
from unrolled.data.corpus import Corpus
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.task import LanguageTask
from unrolled.training.config import TrainConfig
from unrolled.training.loop import Trainer

QUIET = {"minutes": None, "epochs": None, "sample_every": 0, "checkpoint_every": 10**9, "guard": False}


class Training:
    """Trains anew, from the same weights, as often as it is run.

    Args:
        folder: for what a run writes.
        model, train: settings as a preset has them, without a budget.
        weights: to start from; None: those drawn from the seed.
    """

    def __init__(
        self, corpus: Corpus, folder: Path, model: Mapping[str, Any], train: Mapping[str, Any],
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.corpus, self.folder, self.weights = corpus, folder / "run", weights
        self.model, self.train = LanguageConfig(**model), {**train, **QUIET}

    def run(self, steps: int) -> tuple[float, dict[str, Tensor]]:
        """So many updates: the seconds of the loop, and the weights after it."""
        config = TrainConfig(**{**self.train, "steps": steps})
        shutil.rmtree(self.folder, ignore_errors=True)
        trainer = Trainer(LanguageTask(self.corpus, self.model, config), config, self.folder)
        if self.weights is not None:
            trainer.model.load_state_dict(self.weights)
        result = trainer.train()
        return 60.0 * result.minutes, trainer.model.state_dict()

    def side(self, steps: int) -> Side:
        """To be measured: a run is ``steps`` updates, and is told for one."""
        return Side("ours", lambda: self.run(steps)[0], own_clock=True, units=steps)
