"""Reading text that is held out: every unit once with the right memory before it, or random windows on request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unrolled.data.record_streams import copy
from unrolled.data.records import Ids, Records
from unrolled.data.units import TokenArray

WARMUP = 512


@dataclass
class HeldoutChunk:
    """A chunk to evaluate. W steps, B rows.

    Attributes:
        x, y: inputs and targets, int64, (W, B).
        weight: bool, (W, B): the target counts. False in the warm-up and past the end of a row.
        fresh: start from the zero state; otherwise from the state after the chunk before.
        resets: bool, (W, B): the step is a record's first. None for unbroken text.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    weight: NDArray[np.bool_]
    fresh: bool
    resets: NDArray[np.bool_] | None = None


def heldout_streams(
    tokens: TokenArray, start: int, stop: int, *, streams: int = 16, warmup: int = WARMUP, bptt: int = 256
) -> Iterator[HeldoutChunk]:
    """Read [start, stop) in ``streams`` rows; each target in it counts exactly once.

    A row begins with up to ``warmup`` units from before its share, which fill its memory and do not count; they may lie
    before ``start``. The very first unit of ``tokens`` has nothing before it and cannot be a target. One stream is the
    exact reading, the memory carried from beginning to end.
    """
    first = max(start, 1)
    streams = max(1, min(streams, stop - first))
    edges = first + np.arange(streams + 1, dtype=np.int64) * (stop - first) // streams
    begins = np.maximum(edges[:-1] - 1 - warmup, 0)  # the first input of each row
    lengths = edges[1:] - 1 - begins
    warm = edges[:-1] - 1 - begins
    longest = int(lengths.max())
    for at in range(0, longest, bptt) if stop > first else ():
        steps = np.arange(at, min(at + bptt, longest) + 1, dtype=np.int64)[:, None]
        both = tokens[np.minimum(begins + steps, stop - 1)].astype(np.int64)
        weight = (steps[:-1] >= warm) & (steps[:-1] < lengths)
        yield HeldoutChunk(both[:-1], both[1:], weight, fresh=at == 0)


def heldout_records(
    tokens: TokenArray, records: Records, ids: Ids, *, streams: int = 16, bptt: int = 256
) -> Iterator[HeldoutChunk]:
    """Read the records ``ids`` once, each from the zero state; ``streams`` cursors take the next one as they come free.

    When no record is left, a row's remaining steps read the record end and do not count.
    """
    B, end = max(1, min(streams, len(ids))), records.end
    # Spans wait here in runs, since a part may hold more records than memory should.
    waiting: list[tuple[int, int]] = []
    taken = 0
    rows: list[tuple[int, int, int] | None] = [None] * B  # start, stop, steps done
    fresh = True
    while True:
        x = np.full((bptt, B), end, dtype=np.int64)
        y = np.full((bptt, B), end, dtype=np.int64)
        weight = np.zeros((bptt, B), dtype=np.bool_)
        resets = np.zeros((bptt, B), dtype=np.bool_)
        for row in range(B):
            at = 0
            while at < bptt:
                if rows[row] is None:
                    if not waiting:
                        block = records.rows[ids[taken : taken + 1024], :2].tolist()
                        waiting, taken = [(a, b) for a, b in reversed(block)], taken + len(block)
                    if not waiting:
                        break
                    rows[row] = (*waiting.pop(), 0)
                start, stop, done = rows[row] or (0, 0, 0)
                take = min(stop - start + 1 - done, bptt - at)
                copy(tokens, start + done - 1, start, stop, end, x[at : at + take, row])
                copy(tokens, start + done, start, stop, end, y[at : at + take, row])
                weight[at : at + take, row] = True
                resets[at, row] |= done == 0
                at += take
                rows[row] = None if done + take == stop - start + 1 else (start, stop, done + take)
        if not weight.any():
            return
        used = int(np.flatnonzero(weight.any(axis=1))[-1]) + 1
        yield HeldoutChunk(x[:used], y[:used], weight[:used], fresh, resets[:used])
        fresh = False


def random_windows(
    tokens: TokenArray, start: int, stop: int, *, windows: int, length: int, batch: int = 16, seed: int = 0
) -> Iterator[HeldoutChunk]:
    """``windows`` windows of ``length`` targets at seeded random places of [start, stop), each from the zero state.

    What several projects report. It is pessimistic for a network with a memory, and not every unit is read. A text
    shorter than a window is read whole.
    """
    length = min(length, stop - start - 1)
    if length < 1:
        return
    places = np.random.default_rng(seed).integers(start, stop - length, windows)
    for first in range(0, windows, batch):
        both = tokens[places[first : first + batch] + np.arange(length + 1)[:, None]].astype(np.int64)
        yield HeldoutChunk(both[:-1], both[1:], np.ones((length, both.shape[1]), dtype=np.bool_), fresh=True)
