"""What is looked into: a trained network, its twin as it was before training, and a way to make it suffer a loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor, nn

Losses = Callable[[], Tensor]
"""Runs a model on one batch and gives the loss of each row at its last step: (P,)."""

Windows = Callable[[nn.Module, int, int], Losses]
"""``windows(model, positions, steps)``: a closure over a batch of up to ``positions`` windows that end at positions
drawn from the data, each of the ``steps`` steps before its position (fewer where the data has no more; then all windows
have that many), from the state carried there. The batch and the states are drawn once: the closure may be called again
and again, and twice with the same arguments gives the same batch for another model. It runs in the model's own dtype
(float64 models get float64 states)."""


@dataclasses.dataclass(frozen=True)
class Text:
    """What a language model reads.

    Attributes:
        ids: (N,) int64, the text that is inspected.
        units: of every id of ``ids`` what is shown for it (a character, a word, a byte's escape).
        vocabulary: of every id in the vocabulary what is shown for it.
        train: (M,) int64, of the training text up to a million units: where unigrams and unrelated text are from. The
            inspected text itself where there is no other.
        fresh: (N,) bool, True where a record begins and the state starts anew; None in an unbroken text. A record
            begins with the end unit, so the target of a record's last unit is its end.
    """

    ids: Tensor
    units: list[str]
    vocabulary: list[str]
    train: Tensor
    fresh: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network to look into.

    Attributes:
        name: what people call it: a run's name, or ``preset quick, untrained``.
        task: the task's name.
        model: in evaluation mode, in the precision in which it is kept.
        untrained: the same network at its initialisation; ``model`` itself where that was never trained.
        windows: see :data:`Windows`.
        text: for tasks that predict the next unit at each step; None for the others.
        run: the run's folder, with ``metrics.jsonl``, as a string; None without one.
    """

    name: str
    task: str
    model: nn.Module
    untrained: nn.Module
    windows: Windows
    text: Text | None = None
    run: str | None = None

    @property
    def trained(self) -> bool:
        """Whether there was any training."""
        return self.model is not self.untrained
