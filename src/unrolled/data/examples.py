"""Independent examples of different lengths: kept in a row, padded together, shuffled into batches, split by key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Batch = TypeVar("Batch")

POOL = 50
"""Batches that are sorted by length together: enough for hardly any padding, few enough that batches stay mixed."""


class Ragged:
    """Arrays of different lengths in one: n sequences of ids, or of vectors.

    Attributes:
        values: (steps of all sequences, ...).
        offsets: (n + 1,) where each sequence begins, and where the last ends.
    """

    def __init__(self, values: NDArray[Any], lengths: ArrayLike) -> None:
        self.values = values
        self.offsets: Ints = np.concatenate(([0], np.cumsum(np.asarray(lengths, dtype=np.int64))))
        if self.offsets[-1] != len(values):
            raise ValueError(f"lengths sum to {self.offsets[-1]}, and there are {len(values)} steps")

    @classmethod
    def of(cls, sequences: Sequence[ArrayLike], dtype: Any = np.int64) -> Ragged:
        """From a list of sequences; an empty list gives no steps of no width."""
        arrays = [np.asarray(s, dtype=dtype) for s in sequences]
        values = np.concatenate(arrays) if arrays else np.zeros(0, dtype)
        return cls(values, [len(a) for a in arrays])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> NDArray[Any]:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Ints:
        """(n,)"""
        return np.diff(self.offsets)

    def take(self, rows: ArrayLike) -> Ragged:
        """The sequences ``rows``, in that order."""
        chosen = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[chosen]
        starts = np.repeat(self.offsets[chosen] - (np.cumsum(lengths) - lengths), lengths)
        return Ragged(self.values[starts + np.arange(int(lengths.sum()))], lengths)

    def padded(self, rows: ArrayLike, fill: float = 0, least: int = 1) -> tuple[NDArray[Any], Ints]:
        """Side by side, time first.

        Args:
            rows: (B,) which sequences.
            fill: what stands past a sequence's end.
            least: the fewest steps T.
        Returns:
            (T, B, ...) with T the longest of them, and their lengths (B,).
        """
        chosen = np.asarray(rows, dtype=np.int64)
        starts, lengths = self.offsets[chosen], self.offsets[chosen + 1] - self.offsets[chosen]
        T = max(least, int(lengths.max(initial=0)))
        if not len(self.values):
            return np.full((T, len(chosen), *self.values.shape[1:]), fill, self.values.dtype), lengths
        steps = np.arange(T)[:, None]
        inside = steps < lengths
        out = self.values[np.where(inside, starts + steps, 0)]
        out[~inside] = fill
        return out, lengths


class ExampleStream(Generic[Batch]):
    """Shuffled minibatches of independent examples, of about one length each; every example once an epoch.

    An epoch's order comes from the seed and the epoch's number alone, so two numbers say where the stream stands. The
    last batch of an epoch may be smaller.

    Args:
        lengths: (n,) steps of each example.
        batch: examples in a batch.
        seed: of the order.
        make: a batch from the numbers of its examples (B,).
        units: (n,) scored units of each example; 1 by default.
    """

    def __init__(
        self, lengths: ArrayLike, batch: int, seed: int, make: Callable[[Ints], Batch], units: ArrayLike | None = None
    ) -> None:
        self._lengths, self._batch, self._seed, self._make = np.asarray(lengths), batch, seed, make
        n = len(self._lengths)
        if n < 1 or batch < 1:
            raise ValueError(f"{n} examples in batches of {batch}: at least one of each")
        self._units = n if units is None else int(np.sum(np.asarray(units, dtype=np.int64)))
        self._epoch = self._at = 0
        self._plan: list[Ints] = []
        self._planned = -1

    def next(self) -> Batch:
        """The next batch."""
        if self._planned != self._epoch:
            self._plan, self._planned = self._order(self._epoch), self._epoch
        rows = self._plan[self._at]
        self._at += 1
        if self._at == len(self._plan):
            self._epoch, self._at = self._epoch + 1, 0
        return self._make(rows)

    def _order(self, epoch: int) -> list[Ints]:
        rng = np.random.default_rng([self._seed, epoch])
        order = rng.permutation(len(self._lengths))
        batches: list[Ints] = []
        for first in range(0, len(order), POOL * self._batch):
            pool = order[first : first + POOL * self._batch]
            pool = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches += [pool[k : k + self._batch] for k in range(0, len(pool), self._batch)]
        return [batches[k] for k in rng.permutation(len(batches))]

    def position(self) -> dict[str, int]:
        """The epoch and the batch in it."""
        return {"epoch": self._epoch, "batch": self._at}

    def restore(self, position: dict[str, int]) -> None:
        """Go to a place that :meth:`position` named."""
        self._epoch, self._at = position["epoch"], position["batch"]

    @property
    def epoch(self) -> float:
        return self._epoch + self._at / self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self._lengths) // self._batch)

    @property
    def units_per_epoch(self) -> int:
        return self._units


def batches_by_length(lengths: ArrayLike, batch: int) -> list[Ints]:
    """All examples once, the longest first, in batches of about one length: for reading a held-out part."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    return [order[k : k + batch] for k in range(0, len(order), batch)]


def share_of(key: str, seed: int) -> float:
    """A number in [0, 1) that hangs on the key and the seed alone: blake2b of ``seed:key``."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def split_by_key(keys: Sequence[str], heldout: float, dev: float, seed: int, fold: int = 0) -> dict[str, Ints]:
    """Examples into train, dev and test by a hash of their keys: equal keys are never in two parts.

    Args:
        heldout: the test part's share of all distinct keys, about. dev: the dev part's share of what is left.
        seed: another one gives other parts.
        fold: from 0 to 1/heldout - 1, of the same seed: their test parts have no key in common, and all keys together.
    Returns:
        ``{"train", "dev", "test"}`` to the numbers of the examples, ascending.
    """
    place = {key: share_of(key, seed) for key in set(keys)}
    shares = np.fromiter((place[key] for key in keys), np.float64, len(keys))
    shares = (shares - fold * heldout) % 1.0
    test = shares < heldout
    watched = ~test & (shares < heldout + dev * (1.0 - heldout))
    return {"train": np.flatnonzero(~test & ~watched), "dev": np.flatnonzero(watched), "test": np.flatnonzero(test)}
