"""Streams for truncated back-propagation through time over one unbroken text.

``B`` rows read their own slices of the text side by side, chunk after chunk: row b of chunk k+1 continues row b of
chunk k, so that the state carried between them is the right one. A stream says where it stands and can be put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.units import TokenArray
from unrolled.errors import UserError


@dataclass
class Chunk:
    """What one update reads. W steps, B rows.

    Attributes:
        x: inputs, int64, (W, B).
        y: targets, int64, (W, B); the unit that follows each input.
        resets: bool, (W, B): the step is a record's first. None for unbroken text.
        score: only the last ``score`` steps count in the loss; the earlier ones are the window that a gradient may
            reach back through.
        advance: the state that the next chunk starts from is the one after the first ``advance`` steps of this one.
        fresh: nothing goes before: start from the zero state.
        lengths: int64, (B,): steps of each row that are not padding. None where no row is padded.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    score: int
    advance: int
    fresh: bool
    resets: NDArray[np.bool_] | None = None
    lengths: NDArray[np.int64] | None = None

    @property
    def scored(self) -> int:
        """Number of targets that count."""
        B = self.x.shape[1]
        return self.score * B if self.lengths is None else int(self.lengths.sum())


class ChunkStream:
    """B rows over tokens [start, stop), forever.

    Row b reads ``rows`` = (stop - start - 1) // B units, and the last target of a row is the first input of the next:
    but for the very first unit and a rest shorter than B, every unit is a target exactly once an epoch.

    With ``stride`` k1 < ``bptt`` k2, an update comes every k1 units, over a window that grows k1, 2 k1, ... up to k2;
    each unit's loss counts once, and its gradient reaches up to k2 steps back. Without it k1 = k2.
    """

    def __init__(
        self,
        tokens: TokenArray,
        start: int,
        stop: int,
        *,
        batch: int,
        bptt: int,
        stride: int | None = None,
        drop_last: bool = False,
    ) -> None:
        """``drop_last``: an epoch ends before a chunk that would be shorter than the others (none is longer).

        Raises:
            UserError: fewer than two units a row; see :func:`fit_batch`.
        """
        self.tokens, self.start, self.batch = tokens, start, batch
        self.k1, self.k2 = stride or bptt, bptt
        if not 1 <= self.k1 <= self.k2:
            raise UserError(f"--stride {stride}: must be between 1 and --bptt {bptt}")
        self.rows = (stop - start - 1) // batch
        if self.rows < 1:
            raise UserError(f"{stop - start} units are too few for --batch {batch}; use a smaller --batch")
        if drop_last and self.rows >= self.k1:
            self.rows -= self.rows % self.k1
        # Rows lie where they would lie without drop_last: the dropped units are each row's last.
        step = (stop - start - 1) // batch
        self._offsets = start + np.arange(batch, dtype=np.int64) * step
        self._columns = np.asarray(tokens[start : start + batch * step]).reshape(batch, step).T  # (step, B), a view
        self._epoch = 0
        self._offset = 0

    @property
    def steps_per_epoch(self) -> int:
        """Updates an epoch takes."""
        return -(-self.rows // self.k1)

    @property
    def units_per_epoch(self) -> int:
        """Targets scored in an epoch."""
        return self.rows * self.batch

    @property
    def epoch(self) -> float:
        """Passes over the text so far, the fraction included."""
        return self._epoch + self._offset / self.rows

    def position(self) -> dict[str, Any]:
        """Where the stream stands, as plain JSON."""
        return {"epoch": self._epoch, "offset": self._offset}

    def restore(self, position: Mapping[str, Any]) -> None:
        """Stand where :meth:`position` was taken; the next chunk is the same.

        Raises:
            UserError: the position is of another text or another batch.
        """
        epoch, offset = int(position["epoch"]), int(position["offset"])
        if epoch < 0 or not 0 <= offset < self.rows or offset % self.k1:
            raise UserError(f"position {offset} does not fit a row of {self.rows} units; resume with the same settings")
        self._epoch, self._offset = epoch, offset

    def next(self) -> Chunk:
        """The next chunk; ``fresh`` marks the first of an epoch."""
        p = self._offset
        low, high = self._low(p), min(p + self.k1, self.rows)
        if high < len(self._columns):
            both = self._columns[low : high + 1].astype(np.int64, order="C")
        else:  # a row's last target is the next row's first unit
            both = self.tokens[self._offsets + np.arange(low, high + 1, dtype=np.int64)[:, None]].astype(np.int64)
        chunk = Chunk(
            x=both[:-1],
            y=both[1:],
            score=high - p,
            advance=min(self._low(p + self.k1) - low, high - low),
            fresh=p == 0,
        )
        self._offset = high
        if high == self.rows:
            self._epoch, self._offset = self._epoch + 1, 0
        return chunk

    def _low(self, p: int) -> int:
        """Where the window begins whose scored part begins at ``p``."""
        return max(0, p + self.k1 - self.k2)


def fit_batch(units: int, batch: int, bptt: int, *, what: str = "the training part") -> tuple[int, str | None]:
    """The batch, halved until each row holds a chunk of ``bptt`` units, and a note where it was.

    Args:
        units: of the part that is read.
    Raises:
        UserError: fewer than two units.
    """
    if units < 2:
        raise UserError(f"{what} has {units} units, too few to learn from; name a longer text or hold out less")
    fitting = batch
    while fitting > 1 and (units - 1) // fitting < bptt:
        fitting //= 2
    if fitting == batch:
        return batch, None
    return fitting, f"--batch {batch} is too large for {units:,} units with --bptt {bptt}; {fitting} is used"
