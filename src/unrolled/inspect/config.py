"""What ``unrolled inspect`` may be asked. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.data.config import UNKNOWN
from unrolled.errors import UserError
from unrolled.settings import check, option

INSTRUMENTS = {
    "flow": "how far the gradient reaches back",
    "jacobian": "singular values, Lyapunov exponents and eigenvalues of one step",
    "gates": "saturation and time constants",
    "memory": "how far back a changed input changes what is said",
    "units": "the text coloured by units, and units that follow quotes, indentation, your pattern",
    "weights": "histograms, norms, clipping, and whether truncation hurts",
}
"""Name and what it tells, in the page's order."""
TEXT_ONLY = ("memory", "units")
"""Instruments for networks that predict at every step of a text."""


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """How a network is looked into."""

    only: str | None = option(None, f"instruments, with commas between: {', '.join(INSTRUMENTS)} (default: all that "
                              "fit the task)")  # fmt: skip
    steps: int = option(100, "steps that the gradient is followed back", min=2, max=10_000)
    positions: int = option(64, "positions that it is followed from", min=8, max=4096)
    chars: int = option(10_000, "units of a text that are read, from its beginning", min=100, max=1_000_000)
    features: str | None = option(None, "what units are searched for, with commas between (default: what the text has "
                                  "enough of): quotes, brackets, indentation, ...")  # fmt: skip
    pattern: str | None = option(None, "search for units that follow this regular expression, too")
    encoding: str | None = option(None, "encoding of the text (default: that of the training)")
    unknown: str | None = option(None, "units of the text that the vocabulary lacks (default: as in the training)",
                                 choices=UNKNOWN)  # fmt: skip
    seed: int = option(1, "seed of the positions and draws", min=0, max=2**32 - 1)

    def __post_init__(self) -> None:
        check(self)
        for name in self.chosen or ():
            if name not in INSTRUMENTS:
                raise UserError(f"--only {name}: not one of {', '.join(INSTRUMENTS)}")

    @property
    def chosen(self) -> list[str] | None:
        """The instruments asked for, in the page's order; None for all that fit."""
        if self.only is None:
            return None
        asked = [name.strip() for name in self.only.split(",") if name.strip()]
        known = [name for name in INSTRUMENTS if name in asked]
        return known + [name for name in asked if name not in INSTRUMENTS]

    def instruments(self, task: str) -> list[str]:
        """Those that are used for a task.

        Raises:
            UserError: one was asked for that does not fit it.
        """
        if self.chosen is None:
            return [name for name in INSTRUMENTS if task == "language" or name not in TEXT_ONLY]
        for name in self.chosen:
            if name in TEXT_ONLY and task != "language":
                raise UserError(
                    f"--only {name}: reads what is predicted at each step of a text, which a {task} model does not do; "
                    f"use {', '.join(n for n in INSTRUMENTS if n not in TEXT_ONLY)}"
                )
        return self.chosen
