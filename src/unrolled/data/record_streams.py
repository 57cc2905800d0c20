"""Streams over independent records: each begins afresh, in a new shuffled order every epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.records import Ids, Permutation, Records
from unrolled.data.streams import Chunk
from unrolled.data.units import TokenArray
from unrolled.errors import UserError

AHEAD = 1024  # places of the order computed at once


class Shuffle:
    """The records in the order they are read: place n of an endless run, a fresh permutation each epoch."""

    def __init__(self, ids: Ids, seed: int) -> None:
        self.ids, self.seed = ids, seed
        self._block = -1
        self._numbers: list[int] = []

    def record(self, counter: int) -> int:
        """The record at place ``counter``; epoch and place within it follow from the number alone."""
        block, place = divmod(counter, AHEAD)
        if block != self._block:
            self._numbers = self._compute(block * AHEAD)
            self._block = block
        return self._numbers[place]

    def _compute(self, first: int) -> list[int]:
        places = np.arange(first, first + AHEAD, dtype=np.int64)
        epochs, within = np.divmod(places, len(self.ids))
        out = np.empty(AHEAD, dtype=np.int64)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            seed = int(np.random.SeedSequence([self.seed, int(epoch)]).generate_state(1, np.uint64)[0])
            out[chosen] = self.ids[Permutation(len(self.ids), seed)(within[chosen])]
        numbers: list[int] = out.tolist()
        return numbers


class RecordStream:
    """B cursors, each reading one shuffled record after another; never a padded step.

    A record's first input is the record end and its last target is the record end, so a record of n units is n + 1
    steps. ``resets`` marks its first step. Every record is read exactly once an epoch.
    """

    def __init__(self, tokens: TokenArray, records: Records, ids: Ids, *, batch: int, bptt: int, seed: int) -> None:
        """Raises:
        UserError: fewer records than rows; see :func:`unrolled.data.streams.fit_batch`.
        """
        _check(len(ids), batch)
        self.tokens, self.records, self.batch, self.bptt = tokens, records, batch, bptt
        self._order = Shuffle(ids, seed)
        self.units_per_epoch = records.totals(ids)[0]
        self._steps = 0
        self._counter = batch  # places handed out so far
        self._places = list(range(batch))  # the place each cursor reads
        self._done = [0] * batch  # steps it has read of that record
        self._spans = [self._span(place) for place in self._places]

    @property
    def steps_per_epoch(self) -> int:
        """Updates in which as many units are read as an epoch has."""
        return -(-self.units_per_epoch // (self.batch * self.bptt))

    @property
    def epoch(self) -> float:
        """Units read over units an epoch."""
        return self._steps * self.batch * self.bptt / self.units_per_epoch

    def position(self) -> dict[str, Any]:
        """Where the stream stands, as plain JSON: B places in the order and B offsets."""
        return {"steps": self._steps, "counter": self._counter, "places": list(self._places), "done": list(self._done)}

    def restore(self, position: Mapping[str, Any]) -> None:
        """Stand where :meth:`position` was taken; the next chunk is the same.

        Raises:
            UserError: the position is of another batch.
        """
        if len(position["places"]) != self.batch or len(position["done"]) != self.batch:
            raise UserError(
                f"position of {len(position['places'])} rows, not {self.batch}; resume with the same --batch"
            )
        self._steps, self._counter = int(position["steps"]), int(position["counter"])
        self._places, self._done = list(map(int, position["places"])), list(map(int, position["done"]))
        self._spans = [self._span(place) for place in self._places]

    def _span(self, place: int) -> tuple[int, int]:
        return self.records.span(self._order.record(place))

    def next(self) -> Chunk:
        """The next ``bptt`` steps of every cursor; ``fresh`` only at the very start."""
        W, B = self.bptt, self.batch
        x = np.empty((W, B), dtype=np.int64)
        y = np.empty((W, B), dtype=np.int64)
        resets = np.zeros((W, B), dtype=np.bool_)
        for row in range(B):
            self._fill(row, x[:, row], y[:, row], resets[:, row])
        fresh = self._steps == 0
        self._steps += 1
        return Chunk(x, y, score=W, advance=W, fresh=fresh, resets=resets)

    def _fill(self, row: int, x: NDArray[np.int64], y: NDArray[np.int64], resets: NDArray[np.bool_]) -> None:
        at, end = 0, self.records.end
        while at < len(x):
            start, stop = self._spans[row]
            done = self._done[row]
            take = min(stop - start + 1 - done, len(x) - at)
            # Step s of a record reads unit s - 1 and is to predict unit s; the record end stands on both sides.
            copy(self.tokens, start + done - 1, start, stop, end, x[at : at + take])
            copy(self.tokens, start + done, start, stop, end, y[at : at + take])
            resets[at] |= done == 0
            at += take
            self._done[row] += take
            if self._done[row] == stop - start + 1:
                self._places[row], self._done[row] = self._counter, 0
                self._spans[row] = self._span(self._counter)
                self._counter += 1


def copy(tokens: TokenArray, first: int, start: int, stop: int, end: int, out: NDArray[np.int64]) -> None:
    """Units ``first`` and on of the record [start, stop) into ``out``, with the record end before and after it."""
    low, high = max(first, start), min(first + len(out), stop)
    if high > low:
        out[low - first : high - first] = tokens[low:high]
    out[: low - first] = end
    out[max(high, low) - first :] = end


class WholeRecordStream:
    """Batches of whole records, padded to the longest of the batch: back-propagation through all of each.

    ``lengths`` gives the steps of each row; padded inputs and targets are 0. The last batch of an epoch may have fewer
    rows, so that every record is read exactly once an epoch. Every chunk is fresh.
    """

    def __init__(self, tokens: TokenArray, records: Records, ids: Ids, *, batch: int, seed: int) -> None:
        """Raises:
        UserError: fewer records than rows.
        """
        _check(len(ids), batch)
        self.tokens, self.records, self.ids, self.batch = tokens, records, ids, batch
        self._order = Shuffle(ids, seed)
        self.units_per_epoch = records.totals(ids)[0]
        self._counter = 0

    @property
    def steps_per_epoch(self) -> int:
        """Updates an epoch takes."""
        return -(-len(self.ids) // self.batch)

    @property
    def epoch(self) -> float:
        """Records read over records an epoch."""
        return self._counter / len(self.ids)

    @property
    def longest(self) -> int:
        """Steps of the longest record: what the memory of an update grows with."""
        block = 1 << 16
        best = 0
        for first in range(0, len(self.ids), block):
            rows = self.records.rows[np.sort(self.ids[first : first + block])]
            best = max(best, int((rows[:, 1] - rows[:, 0]).max()) + 1)
        return best

    def position(self) -> dict[str, Any]:
        """Where the stream stands, as plain JSON."""
        return {"counter": self._counter}

    def restore(self, position: Mapping[str, Any]) -> None:
        """Stand where :meth:`position` was taken; the next chunk is the same."""
        self._counter = int(position["counter"])

    def next(self) -> Chunk:
        """The next batch of records."""
        left = len(self.ids) - self._counter % len(self.ids)
        B = min(self.batch, left)
        spans = [self.records.span(self._order.record(self._counter + row)) for row in range(B)]
        self._counter += B
        return whole(self.tokens, spans, self.records.end)


def whole(tokens: TokenArray, spans: Sequence[tuple[int, int]], end: int) -> Chunk:
    """One chunk of the records at ``spans``, each from the zero state to its end."""
    lengths = np.array([stop - start + 1 for start, stop in spans], dtype=np.int64)
    W, B = int(lengths.max()), len(spans)
    x = np.zeros((W, B), dtype=np.int64)
    y = np.zeros((W, B), dtype=np.int64)
    for row, (start, stop) in enumerate(spans):
        copy(tokens, start - 1, start, stop, end, x[: lengths[row], row])
        copy(tokens, start, start, stop, end, y[: lengths[row], row])
    return Chunk(x, y, score=W, advance=W, fresh=True, lengths=lengths)


def _check(records: int, batch: int) -> None:
    if records < batch:
        raise UserError(f"{records} records are too few for --batch {batch}; use --batch {max(1, records)} or less")
