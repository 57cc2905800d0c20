"""How many nats a model needs for a text: one unit at a time, summed in float64, with a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.tasks.language.model import State

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SCORES_AT_ONCE = 1 << 22
"""Scores held at a time when a text is measured: a large vocabulary never meets a whole chunk at once."""

BLOCK = 1000
FEWEST_BLOCKS = 20
NORMAL_95 = 1.959963984540054


class Modal(Protocol):
    """What has a training mode and an evaluation mode, as every ``nn.Module``."""

    training: bool

    def train(self, mode: bool = True) -> Any: ...

    def eval(self) -> Any: ...


class Reader(Modal, Protocol):
    """What a text is measured with: a language model, or one that reads as it does."""

    V: int
    head: nn.Linear

    def features(
        self, ids: Tensor, state: State = None, *, resets: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]: ...

    def scores(self, output: Tensor) -> Tensor: ...


@contextmanager
def reading(model: Modal) -> Iterator[None]:
    """Evaluation mode without gradients; the training mode is put back. Nothing random runs inside."""
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)


def unit_nats(
    model: Reader,
    ids: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    state: State,
    *,
    resets: Mask | None = None,
) -> tuple[Floats, State]:
    """Minus the log-probability of every target, in nats.

    Args:
        ids, targets: (T, B).
        resets: (T, B), as the model takes them.
    Returns:
        float64 (T, B), computed in the model's precision, and the state after the last step.
    """
    device = model.head.weight.device

    def move(array: npt.NDArray[Any] | None) -> Tensor | None:
        return None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(device)

    x, y = move(ids), move(targets)
    assert x is not None
    assert y is not None
    if resets is not None and not resets.any():
        resets = None
    output, state = model.features(x, state, resets=move(resets))
    flat, wanted = output.flatten(0, 1), y.flatten()
    rows = max(1, SCORES_AT_ONCE // model.V)
    nats = [
        F.cross_entropy(model.scores(flat[k : k + rows]), wanted[k : k + rows], reduction="none").cpu().double()
        for k in range(0, len(flat), rows)
    ]
    return torch.cat(nats).reshape(y.shape).numpy(), state


class BlockSums:
    """Sums over blocks of consecutive units of each stream, from which the mean and its interval come.

    Neighbouring units are correlated, blocks of about 1,000 of them hardly; so the interval treats the blocks as
    independent draws and is the normal approximation for a ratio of sums over blocks. A text of fewer than 20,000 units
    has blocks of a twentieth of it, whose correlation the interval then understates a little.

    Args:
        units: how many units will be added, about.
        streams: B, the columns of what is added.
    """

    def __init__(self, units: int, streams: int) -> None:
        self.block = min(BLOCK, max(1, units // FEWEST_BLOCKS))
        self.seen = np.zeros(streams, np.int64)
        self.sums, self.counts = np.zeros((8, streams)), np.zeros((8, streams))

    def add(self, nats: Floats, scored: Mask) -> None:
        """Add a chunk (T, B), of which the units marked in ``scored`` (T, B) count."""
        place = self.seen + np.cumsum(scored, 0) - 1
        self.seen += scored.sum(0)
        block = np.broadcast_to(place, scored.shape)[scored] // self.block
        if not len(block):
            return
        while block.max() >= len(self.sums):
            self.sums = np.concatenate((self.sums, np.zeros_like(self.sums)))
            self.counts = np.concatenate((self.counts, np.zeros_like(self.counts)))
        column = np.broadcast_to(np.arange(scored.shape[1]), scored.shape)[scored]
        np.add.at(self.sums, (block, column), nats[scored])
        np.add.at(self.counts, (block, column), 1.0)

    @property
    def units(self) -> int:
        return int(self.seen.sum())

    @property
    def total(self) -> float:
        """Nats of all units together."""
        return float(self.sums.sum())

    @property
    def mean(self) -> float:
        """Nats a unit; NaN where nothing was added."""
        return self.total / self.units if self.units else math.nan

    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean; unbounded above where there is but one block."""
        used = self.counts > 0
        sums, counts = self.sums[used], self.counts[used]
        if len(counts) < 2:
            return (0.0, math.inf)
        residuals = sums - self.mean * counts
        spread = NORMAL_95 * math.sqrt(len(counts) / (len(counts) - 1) * float(residuals @ residuals)) / self.units
        return (max(0.0, self.mean - spread), self.mean + spread)
