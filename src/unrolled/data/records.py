"""Texts made of independent records: where each lies, and a seeded order of them that takes no memory."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Wide = NDArray[np.uint64]
ROUNDS = 6


class Permutation:
    """A seeded permutation of 0 .. n-1 that is computed, not stored.

    A balanced Feistel network over the next power of four, walked along its cycle until it lands below ``n`` (Black and
    Rogaway 2002). A shuffled list of a hundred million lines would take a gigabyte; this takes six numbers, and any
    place in the order can be asked for directly, which is what resuming needs.
    """

    def __init__(self, n: int, seed: int) -> None:
        self.n = n
        self._half = max(1, (max(1, n - 1).bit_length() + 1) // 2)
        self._mask = np.uint64((1 << self._half) - 1)
        self._keys = np.random.default_rng([seed, n]).integers(1, 1 << 63, ROUNDS, dtype=np.uint64)

    def __call__(self, places: ArrayLike) -> Ints:
        """The records at ``places`` of the order."""
        return self._walk(places, self._keys, forward=True)

    def inverse(self, records: ArrayLike) -> Ints:
        """The places of ``records`` in the order."""
        return self._walk(records, self._keys[::-1], forward=False)

    def _walk(self, values: ArrayLike, keys: Wide, *, forward: bool) -> Ints:
        given = np.asarray(values, dtype=np.int64)
        if given.size and (given.min() < 0 or given.max() >= self.n):
            raise IndexError(f"not in 0 .. {self.n - 1}")
        out = self._rounds(np.atleast_1d(given).astype(np.uint64), keys, forward)
        while (outside := out >= self.n).any():
            out[outside] = self._rounds(out[outside], keys, forward)
        return out.astype(np.int64).reshape(given.shape)

    def _rounds(self, values: Wide, keys: Wide, forward: bool) -> Wide:
        half = np.uint64(self._half)
        left: Wide = values >> half
        right: Wide = values & self._mask
        if not forward:
            left, right = right, left
        for key in keys:
            left, right = right, left ^ (_mix(right + key) & self._mask)
        if not forward:
            left, right = right, left
        out: Wide = (left << half) | right
        return out


def _mix(x: Wide) -> Wide:
    """splitmix64's finaliser: every bit of the result depends on every bit of ``x``."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: Wide = x ^ (x >> np.uint64(31))
    return out


class RecordIds:
    """The numbers of a part's records: places ``start`` to ``stop`` of a seeded order. Indexed like an array."""

    def __init__(self, order: Permutation, start: int, stop: int) -> None:
        self.order, self.start, self.stop = order, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: Any) -> Any:
        """An int for an int, an int64 array for a slice or an array of places."""
        if isinstance(index, slice):
            places = np.arange(*index.indices(len(self)), dtype=np.int64)
        else:
            places = np.asarray(index, dtype=np.int64)
            places = np.where(places < 0, places + len(self), places)
            if places.size and (places.min() < 0 or places.max() >= len(self)):
                raise IndexError(f"not in 0 .. {len(self) - 1}")
        found = self.order(places + self.start)
        return int(found) if found.ndim == 0 else found


class Ids(Protocol):
    """Record numbers: an int64 array, or :class:`RecordIds`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class Records:
    """Where each record lies in the token file.

    Attributes:
        rows: (N, 4) int64, memory-mapped: first token, token after the last, and the characters and bytes of the
            original file that it is, delimiter included. The delimiter's token is in none of them.
        end: id of the unit that ends a record.
    """

    def __init__(self, rows: Ints, end: int) -> None:
        self.rows, self.end = rows, end

    def __len__(self) -> int:
        return len(self.rows)

    def span(self, record: int) -> tuple[int, int]:
        """First token and the token after the last."""
        start, stop = self.rows[record, :2].tolist()
        return int(start), int(stop)

    def totals(self, ids: Ids, block: int = 1 << 16) -> tuple[int, int, int]:
        """Targets (each record's units and its end), characters and bytes of the records ``ids``."""
        targets = chars = size = 0
        for first in range(0, len(ids), block):
            rows = self.rows[np.sort(ids[first : first + block])]
            targets += int((rows[:, 1] - rows[:, 0]).sum()) + len(rows)
            chars += int(rows[:, 2].sum())
            size += int(rows[:, 3].sum())
        return targets, chars, size
