"""The learning rate over a run.

The rate of an update depends on the total number of updates only after ``max(warmup, CALIBRATION)`` of them. A budget
in minutes learns its total on the way; since the rule is the same in every run, a run of M minutes that settled on N
updates is the same run, bit for bit, as one asked for N updates.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

CALIBRATION = 20
"""Updates on which a budget in minutes measures the machine."""


def held_until(warmup: int) -> int:
    """The number of updates during which the rate must not depend on the total."""
    return max(warmup, CALIBRATION)


@dataclasses.dataclass
class Schedule:
    """Linear warm-up, then ``constant``, ``cosine`` or ``plateau``.

    ``cosine`` goes from the peak to ``final_lr`` (a share of the peak) as half a cosine over what is left of the
    budget after the warm-up. Where the total is fitted anew because the machine's pace changed, the progress made so
    far is kept and the rest is spread over the new total, so the rate has no jump (:meth:`refit`). Where the user
    raises the budget of a run on resuming, the rate from that update on is the one that a run planned for the new total
    from the start would have there: it jumps up (:meth:`replan`).

    ``plateau`` leaves the rate alone here; the cuts come from :class:`unrolled.training.selection.Selection`.
    """

    kind: str
    warmup: int
    final_lr: float
    anchor_step: int = -1
    anchor_progress: float = 0.0

    def __post_init__(self) -> None:
        if self.anchor_step < 0:
            self.anchor_step = held_until(self.warmup)

    def progress(self, done: int, total: int | None) -> float:
        """How much of the budget's falling part is over after ``done`` updates, from 0 to 1."""
        if total is None or done <= self.anchor_step:
            return self.anchor_progress
        left = max(total - self.anchor_step, 1)
        return min(1.0, self.anchor_progress + (1.0 - self.anchor_progress) * (done - self.anchor_step) / left)

    def factor(self, done: int, total: int | None) -> float:
        """The rate of update number ``done + 1`` as a share of the peak. ``total`` is None until it is known."""
        if done < self.warmup:
            return (done + 1) / self.warmup
        if self.kind != "cosine":
            return 1.0
        fall = 0.5 * (1.0 + math.cos(math.pi * self.progress(done, total)))
        return self.final_lr + (1.0 - self.final_lr) * fall

    def refit(self, done: int, total: int | None) -> None:
        """Call before the total changes on the way: the progress made under the old ``total`` is kept."""
        if done > self.anchor_step:
            self.anchor_progress = self.progress(done, total)
            self.anchor_step = done

    def replan(self) -> None:
        """Call when the user changes the budget: progress counts as if the new total had been known from the start."""
        self.anchor_step, self.anchor_progress = held_until(self.warmup), 0.0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"anchor_step": self.anchor_step, "anchor_progress": self.anchor_progress}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.anchor_step, self.anchor_progress = state["anchor_step"], state["anchor_progress"]
