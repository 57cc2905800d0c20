"""Drawing units on a stepper: those of :func:`unrolled.decoding.sampling.generate`, many samples at once."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from unrolled.decoding.config import SampleConfig
from unrolled.engines.stepper import Stepper

PATIENCE = 0.03
"""Seconds of one call, about: text appears as it is written, and Ctrl-C is heard."""


class Samples:
    """Samples of one prompt, all drawn at once as far as the stepper has slots; each is as if it were alone.

    Args:
        state: the state after the prompt, as the layer's for one row (None: zeros).
        n: how many, numbered from ``first``: each has its own stream of ``config.seed``.
        stop: a unit that ends a sample and is left out. used: units of the prompt, for the repetition penalty.
    """

    def __init__(
        self, stepper: Stepper, state: Any, config: SampleConfig, *, n: int = 1, first: int = 0,
        stop: int | None = None, used: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self._stepper, self._state, self._config, self._stop, self._used = stepper, state, config, stop, used
        self._next, self._end = first, first + n
        self._writing: dict[int, _Row] = {}
        self._seconds: float | None = None

    def __iter__(self) -> Iterator[Iterator[int]]:
        """The samples, an iterator of ids each, to be read one after another.

        One that is left before its end is written no further. An iterator raises UserError where scores are not finite.
        """
        return (self._read(index) for index in range(self._next, self._end))

    def _read(self, index: int) -> Iterator[int]:
        if index not in self._writing:
            self._begin()
        row = self._writing[index]
        try:
            while True:
                while row.drawn:
                    yield row.drawn.popleft()
                if row.slot is None:
                    return
                self._advance()
        finally:
            self._finish(row)
            del self._writing[index]

    def _begin(self) -> None:
        """Start the next samples, as many as there are slots."""
        config = self._config
        while self._stepper.free and self._next < self._end:
            slot = self._stepper.join(self._state)
            self._stepper.sampling(
                slot, temperature=config.temperature, top_k=config.top_k, top_p=config.top_p, min_p=config.min_p,
                repetition_penalty=config.repetition_penalty, seed=config.seed, index=self._next, stop=self._stop,
                used=self._used,
            )  # fmt: skip
            row = self._writing[self._next] = _Row(slot, config.length)
            self._next += 1
            if row.left == 0:
                self._finish(row)

    def _advance(self) -> None:
        """One call for all that still write: of one unit at first, then of as many as patience allows."""
        rows = [row for row in self._writing.values() if row.slot is not None]
        units = 1 if self._seconds is None else max(1, int(PATIENCE / self._seconds))
        units = min(units, *(row.left for row in rows))
        begin = time.perf_counter()
        found = self._stepper.run([row.slot for row in rows if row.slot is not None], units)
        self._seconds = max(1e-9, time.perf_counter() - begin) / units
        for row, ids in zip(rows, found, strict=True):
            row.drawn.extend(ids.tolist())
            row.left -= len(ids)
            if row.left == 0 or len(ids) < units:
                self._finish(row)

    def _finish(self, row: _Row) -> None:
        if row.slot is not None:
            self._stepper.leave(row.slot)
            row.slot = None


@dataclasses.dataclass
class _Row:
    """A sample that is being written: its slot, the units left to it, and those drawn and not yet read."""

    slot: int | None
    left: int
    drawn: deque[int] = dataclasses.field(default_factory=deque)
