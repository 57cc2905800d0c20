"""What is written down about a run: the lines of ``metrics.jsonl`` and the result."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from unrolled.tasks.base import Evaluation

TIME_FIELDS = ("minutes", "units_per_second", "seconds")
"""The fields of a record that depend on the clock; everything else is equal from run to run."""

SMOOTHING = 0.98
"""Decay of ``loss_smoothed``, an exponential mean over updates without bias towards its start."""


@dataclasses.dataclass
class Result:
    """How a run ended.

    Attributes:
        steps: updates made, over all resumed parts.
        units: units trained on.
        minutes: training wall time, without loading and the final evaluation.
        train: smoothed training loss in nats per unit.
        dev: the loss on the dev part with the weights kept; None where there is no dev part or the run was interrupted.
        test: likewise on the test part, read once.
        stopped_by: ``"budget"``, ``"patience"`` or ``"interrupted"``.
        weights: which weights were kept: ``"last"``, ``"average"`` or ``"best"``.
        weights_step: the update that they are from.
    """

    steps: int
    units: int
    minutes: float
    train: float
    dev: Evaluation | None
    test: Evaluation | None
    stopped_by: str
    weights: str
    weights_step: int


def evaluation_fields(part: str, e: Evaluation) -> dict[str, Any]:
    """``dev_loss``, ``dev_low``, ``dev_high`` and ``dev_<figure>`` of an evaluation, in nats per unit."""
    low, high = e.interval
    fields = {f"{part}_loss": e.nats, f"{part}_low": low, f"{part}_high": high}
    return fields | {f"{part}_{name}": value for name, value in e.figures.items()}


class Meter:
    """Sums over the updates since the last record, and the smoothed losses over all of them.

    Args:
        chunk_loss: for a loss summed over the chunk, what ``smooth_loss`` starts from (nats per chunk of one stream,
            as in Karpathy's program: ``ln V`` times the chunk's length); None to leave it out.
        batch: streams, to bring the sum over a batch to one stream.
        clip_norm: what the gradient's norm is clipped to; None for no such clipping.
        clip_value: whether elements are clipped: then the norm that is left is not known.
    """

    NAMES = ("units", "smoothed", "weight", "smooth_loss", "nats", "scored", "updates", "norms", "clipped", "seconds",
             "left", "unknown")  # fmt: skip

    def __init__(
        self, chunk_loss: float | None = None, batch: int = 1, clip_norm: float | None = None, clip_value: bool = False
    ) -> None:
        self.smooth_loss, self.batch = chunk_loss, batch
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.units = 0
        self.smoothed = self.weight = 0.0
        self._clear()

    def _clear(self) -> None:
        self.nats = self.norms = self.left = self.seconds = 0.0
        self.scored = self.updates = self.clipped = self.unknown = 0

    def add(self, nats: float, units: int, norm: float, clipped: bool, seconds: float) -> None:
        """Take in one update: loss in nats per unit, units scored, gradient norm before clipping, time."""
        self.units += units
        self.scored += units
        self.nats += nats * units
        self.norms += norm
        self.left += norm if self.clip_norm is None else min(norm, self.clip_norm)
        self.unknown += clipped and self.clip_value
        self.updates += 1
        self.clipped += clipped
        self.seconds += seconds
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * nats
        self.weight = SMOOTHING * self.weight + (1.0 - SMOOTHING)
        if self.smooth_loss is not None:
            self.smooth_loss = 0.999 * self.smooth_loss + 0.001 * nats * units / self.batch

    @property
    def loss_smoothed(self) -> float:
        """The smoothed training loss in nats per unit; NaN before the first update."""
        return self.smoothed / self.weight if self.weight else math.nan

    def record(self, step: int, epoch: float, lr: float, elapsed: float) -> dict[str, Any]:
        """The line for the updates since the last one; the sums start anew."""
        n = max(self.updates, 1)
        line = {
            "step": step,
            "units": self.units,
            "epoch": round(epoch, 6),
            "loss": self.nats / self.scored if self.scored else math.nan,
            "loss_smoothed": self.loss_smoothed,
            "lr": lr,
            "grad_norm": self.norms / n,
            "clipped": self.clipped / n,
            "units_per_second": self.scored / self.seconds if self.seconds else math.nan,
            "minutes": elapsed / 60.0,
        }
        if not self.unknown:
            line["grad_norm_after"] = self.left / n
        if self.smooth_loss is not None:
            line["smooth_loss"] = self.smooth_loss  # nats per chunk of one stream, not per unit
        self._clear()
        return line

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in self.NAMES}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        for name in self.NAMES:
            if name in state:  # an older version's checkpoint lacks some
                setattr(self, name, state[name])
