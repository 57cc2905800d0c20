"""The guard: a NaN or a spike of the loss costs a few updates instead of the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unrolled.errors import UserError
from unrolled.tasks.base import GuardView
from unrolled.training.config import TrainConfig

TRIPS = 3
"""Restorations in a row, without a good interval between them, at which a run ends."""

SETTLED = 50
"""Updates in the running mean before a spike counts: the loss of a fresh network may rise for a while."""

DECAY = 0.98
"""Decay of the running mean of the loss that a spike is measured against."""


def copy_tree(tree: Any, spare: Any = None) -> Any:
    """A copy of nested dicts, lists and tuples of tensors and plain values; numbers and strings are shared.

    Args:
        spare: an earlier copy that is no longer needed; its tensors are written over where they fit, so that a
            snapshot allocates nothing.
    """
    if isinstance(tree, Tensor):
        fits = isinstance(spare, Tensor) and (spare.shape, spare.dtype, spare.device) == (
            tree.shape, tree.dtype, tree.device)  # fmt: skip
        return spare.copy_(tree) if fits else tree.detach().clone()
    if isinstance(tree, dict):
        old = spare if isinstance(spare, dict) else {}
        return {key: copy_tree(value, old.get(key)) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        olds = spare if isinstance(spare, (list, tuple)) and len(spare) == len(tree) else [None] * len(tree)
        return type(tree)(copy_tree(value, o) for value, o in zip(tree, olds, strict=True))
    return tree


class Guard:
    """Keeps the last good moment of a run in memory and says when to go back to it.

    A moment is taken at the start of an update and counts as good once the loss of that update was: weights that
    have just been ruined are never kept. The cost is one copy of weights and optimiser state every
    ``guard_interval`` updates.

    Attributes:
        scale: factor on the learning rate, lowered at every restoration.
        trips: restorations since the last good interval.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.on, self.spike = config.guard, config.guard_spike
        self.interval, self.factor = config.guard_interval, config.guard_factor
        self.scale, self.trips, self.since = 1.0, 0, 0
        self.mean: float | None = None
        self.seen = 0
        self.good: dict[str, Any] | None = None
        self._pending: dict[str, Any] | None = None
        self._spare: dict[str, Any] | None = None

    @torch.no_grad()
    def before(self, step: int, live: Callable[[], dict[str, Any]]) -> None:
        """Call before a batch is drawn. ``live()`` gives the moment as a tree of tensors and plain values."""
        if not self.on or (self.good is not None and self.since < self.interval):
            return
        taken = {"step": step, "mean": self.mean, "seen": self.seen, "live": live()}
        taken = copy_tree(taken, self._spare)
        if self.good is None:  # the very start: there is nothing better to go back to
            self.good = taken
        else:
            self._pending, self._spare = taken, None

    @property
    def room(self) -> int | None:
        """After :meth:`before`: updates until a moment is to be taken again; None where none ever is."""
        if not self.on:
            return None
        return self.interval if self._pending is not None else max(1, self.interval - self.since)

    def view(self) -> GuardView | None:
        """What :meth:`verdict` decides by, for updates that are made elsewhere; None where the guard is off."""
        return GuardView(self.spike, self.mean, self.seen, DECAY, SETTLED) if self.on else None

    def verdict(self, nats: float, norm: float) -> str | None:
        """What is wrong with an update's loss (nats per unit) and gradient norm; None where nothing is."""
        if not self.on:
            return None
        if not math.isfinite(nats):
            return f"the loss became {nats}"
        if not math.isfinite(norm):
            return f"the gradient's norm became {norm}"
        if self.mean is not None and self.seen >= SETTLED and nats > self.mean + self.spike:
            return f"the loss jumped from about {self.mean:.2f} to {nats:.2f} nats"
        self._passed(nats)
        return None

    def _passed(self, nats: float) -> None:
        self.seen += 1
        decay = min(DECAY, 1.0 - 1.0 / self.seen)
        self.mean = nats if self.mean is None else decay * self.mean + (1.0 - decay) * nats
        self.since += 1
        if self._pending is not None:
            self._spare, self.good, self._pending = self.good, self._pending, None
            self.since, self.trips = 1, 0

    def trip(self, step: int, reason: str) -> tuple[dict[str, Any], str]:
        """Go back: the moment to restore (a copy, free to be used) and the message.

        Raises:
            UserError: at the third time in a row. The moment is in :attr:`good` all the same.
        """
        assert self.good is not None
        self.trips += 1
        self._spare, self._pending = self._pending, None
        self.scale *= self.factor
        self.since, self.mean, self.seen = 0, self.good["mean"], self.good["seen"]
        back = self.good["step"]
        if self.trips >= TRIPS:
            raise UserError(
                f"step {step}: {reason}, for the {TRIPS}rd time in a row since step {back}; training stopped. Start "
                "again with a lower --lr or a lower --clip-norm, or raise --guard-spike if the loss is that uneven"
            )
        message = f"step {step}: {reason}; back to the weights of step {back}, the rate times {self.factor:g}"
        return copy_tree(self.good["live"]), message

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, the good moment among it."""
        names = ("scale", "trips", "since", "mean", "seen", "good")
        return {name: getattr(self, name) for name in names}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        for name, value in state.items():
            setattr(self, name, value)
