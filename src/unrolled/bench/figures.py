"""What a benchmark found: figures with their spread, and the bars they are held against. No torch here."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

SUMMARY = "all of them"
"""Name of a row that sums up those before it."""


@dataclasses.dataclass(frozen=True)
class Bar:
    """What a figure has to reach. ``least`` decides; ``reach`` is what to hope for. ``below``: small is good."""

    least: float
    reach: float | None = None
    below: bool = False

    def met(self, value: float) -> bool:
        """Whether ``value`` is good enough."""
        return value <= self.least if self.below else value >= self.least

    def __str__(self) -> str:
        return f"{'≤' if self.below else '≥'} {self.least:g}"


@dataclasses.dataclass(frozen=True)
class Figure:
    """A median with its quartiles.

    Attributes:
        unit: ``x`` (the peer's time over ours), ``sgemm`` (share of it), ``ms``, ``/s``, ``MB``, ``%`` or ``nats``.
        n: repetitions or pairs behind it.
    """

    median: float
    low: float
    high: float
    unit: str
    n: int = 1
    bar: Bar | None = None

    @property
    def verdict(self) -> str:
        """``ok``, ``BELOW``/``ABOVE`` the bar, or nothing without one."""
        if self.bar is None:
            return ""
        return "ok" if self.bar.met(self.median) else "ABOVE" if self.bar.below else "BELOW"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        found: dict[str, Any] = {"median": self.median, "low": self.low, "high": self.high, "unit": self.unit,
                                 "n": self.n}  # fmt: skip
        if self.bar is not None:
            found |= {"bar": self.bar.least, "reach": self.bar.reach, "met": self.bar.met(self.median)}
        return found

    def __str__(self) -> str:
        digits = {"x": 2, "sgemm": 2, "%": 1, "MB": 0, "nats": 5}.get(self.unit)
        if digits is None:
            digits = 0 if self.median >= 100 else 3 if self.median < 10 else 1
        shown = f"{self.median:,.{digits}f}"
        if self.n > 1:
            shown += f" ({self.low:,.{digits}f}-{self.high:,.{digits}f})"
        return shown if self.unit == "sgemm" else f"{shown}{'' if self.unit in ('x', '%', '/s') else ' '}{self.unit}"


def figure(values: Sequence[float], unit: str, bar: Bar | None = None) -> Figure:
    """Median and quartiles of ``values``."""
    if len(values) == 1:
        return Figure(values[0], values[0], values[0], unit, 1, bar)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Figure(middle, low, high, unit, len(values), bar)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        figures: by the column's name.
        refused: why there is no speed (a result that is wrong has none); ``figures`` is empty then.
        skipped: what is missing here to measure it: no fault.
    """

    name: str
    figures: dict[str, Figure] = dataclasses.field(default_factory=dict)
    note: str = ""
    refused: str = ""
    skipped: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what does not apply is left out."""
        found: dict[str, Any] = {"name": self.name, "figures": {k: f.to_dict() for k, f in self.figures.items()}}
        return found | {k: v for k in ("note", "refused", "skipped") if (v := getattr(self, k))}
