"""What the best weights are: those of the lowest dev loss, or of the lowest score where the task gives one."""

from __future__ import annotations

import torch

from unrolled.tasks.base import Evaluation
from unrolled.training.config import TrainConfig
from unrolled.training.selection import Selection


def test_a_score_stands_above_the_loss() -> None:
    model = torch.nn.Linear(1, 1)
    for scored, best in ((False, 2), (True, 3)):
        selection = Selection(TrainConfig(keep="best", patience=2))
        for step, (nats, score) in enumerate([(2.0, 0.5), (1.0, 0.4), (3.0, 0.1), (4.0, 0.2)], 1):
            with torch.no_grad():
                model.weight.fill_(step)
            selection.see(step, Evaluation(nats, 1, (0.0, 9.0), score=score if scored else None), model)
        assert selection.best_step == best
        assert selection.weights is not None
        assert selection.weights["weight"].item() == best
        assert selection.exhausted == (not scored)
