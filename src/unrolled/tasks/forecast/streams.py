"""Truncated back-propagation through time over series: each a stream, the state carried from chunk to chunk."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from numpy.typing import NDArray

from unrolled.tasks.forecast.prepared import Frame, Shape

Floats32 = NDArray[np.float32]

PIECES_FROM = 4
"""A series is cut into pieces, which are read side by side, only where each is this many chunks long."""


@dataclasses.dataclass
class Chunk:
    """W steps of B series.

    Attributes:
        x: (W, B, I) inputs. y: (W, B, D) what is predicted. weight: (W, B, D) bool, what counts.
        lengths: (B,) steps of each row; the rest is padding.
        fresh: the chunk begins new series, from a state of zeros.
    """

    x: Floats32
    y: Floats32
    weight: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    fresh: bool


class SeriesStream:
    """Groups of ``batch`` series, shuffled every epoch; each group is read from its beginning to its end.

    Where there are fewer series than ``batch``, long ones are cut into pieces that are read side by side; and with
    ``copies`` the room that is then left holds each of them several times, for a model that drops units or adds noise:
    each copy by its own, which makes the gradient steadier.

    Args:
        bptt: steps of a chunk, at most. seed: of the order.
    """

    def __init__(
        self, frames: list[Frame], shape: Shape, *, batch: int, bptt: int, seed: int, copies: bool = False
    ) -> None:
        self.bptt, self.seed, lead = bptt, seed, shape.lead
        self.x = [shape.inputs(f).astype(np.float32) for f in frames]
        self.y = [f.d.astype(np.float32) for f in frames]
        self.weight = [f.seen for f in frames]
        spare = max(1, batch // len(frames))
        self.spans: list[tuple[int, int, int]] = []
        for k, frame in enumerate(frames):
            n = frame.ends[0] - lead
            pieces = max(1, min(spare, n // (PIECES_FROM * bptt)))
            edges = lead + np.arange(pieces + 1) * n // pieces
            self.spans += [(k, int(a), int(b)) for a, b in itertools.pairwise(edges)]
        self.spans *= max(1, batch // len(self.spans)) if copies else 1
        self.batch = min(batch, len(self.spans))
        self.units = int(sum(self.weight[k][a:b].sum() for k, a, b in self.spans))
        self._epoch = self._group = self._chunk = 0
        self._planned = -1
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)
        # The same groups in every epoch, of neighbours in length: an epoch always has as many chunks.
        order = np.argsort([-(b - a) for _, a, b in self.spans], kind="stable")
        self._groups = [order[k : k + self.batch] for k in range(0, len(order), self.batch)]
        self._chunks = [-(-max(self._length(r) for r in group) // bptt) for group in self._groups]

    def _length(self, row: int) -> int:
        _, a, b = self.spans[row]
        return b - a

    def next(self) -> Chunk:
        """The next chunk."""
        if self._planned != self._epoch:
            rng = np.random.default_rng([self.seed, self._epoch])
            self._order = rng.permutation(len(self._groups))
            self._planned = self._epoch
        group = int(self._order[self._group])
        made = self._make([int(r) for r in self._groups[group]], self._chunk)
        self._chunk += 1
        if self._chunk == self._chunks[group]:
            self._chunk, self._group = 0, self._group + 1
            if self._group == len(self._groups):
                self._group, self._epoch = 0, self._epoch + 1
        return made

    def _make(self, rows: list[int], chunk: int) -> Chunk:
        lengths = np.array([min(max(self._length(r) - chunk * self.bptt, 0), self.bptt) for r in rows], np.int64)
        W = int(lengths.max())
        x = np.zeros((W, len(rows), self.x[0].shape[1]), np.float32)
        y = np.zeros((W, len(rows), self.y[0].shape[1]), np.float32)
        weight = np.zeros(y.shape, np.bool_)
        for b, (row, n) in enumerate(zip(rows, lengths, strict=True)):
            k, first, _ = self.spans[row]
            at = slice(first + chunk * self.bptt, first + chunk * self.bptt + int(n))
            x[:n, b], y[:n, b], weight[:n, b] = self.x[k][at], self.y[k][at], self.weight[k][at]
        return Chunk(x, y, weight, lengths, fresh=chunk == 0)

    def position(self) -> dict[str, int]:
        """The epoch, the group in it, and the chunk in that."""
        return {"epoch": self._epoch, "group": self._group, "chunk": self._chunk}

    def restore(self, position: dict[str, int]) -> None:
        """Go to a place that :meth:`position` named."""
        self._epoch, self._group, self._chunk = position["epoch"], position["group"], position["chunk"]

    @property
    def epoch(self) -> float:
        if self._planned != self._epoch:
            return float(self._epoch)
        done = sum(self._chunks[int(g)] for g in self._order[: self._group]) + self._chunk
        return self._epoch + done / self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        return sum(self._chunks)

    @property
    def units_per_epoch(self) -> int:
        return self.units
