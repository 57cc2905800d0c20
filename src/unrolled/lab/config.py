"""Which experiments there are, and what can be set. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.errors import UserError
from unrolled.settings import check, option

EXPERIMENTS = {
    "adding": "Trained: add two marked numbers among T. Which cell solves which length?",
    "copy": "Trained: repeat ten symbols after T blanks.",
    "brackets": "Trained: how deep are the brackets at each of T steps?",
    "digits": "Trained: drawn digits (or MNIST: --data), read in T pieces, row by row or pixel by pixel.",
    "starts": "Trained: what forget bias, chrono, orthogonal and identity starts and clipping change.",
    "showpiece": "Trained: a vanilla network that solves adding at T=400, and the one that fails without its start.",
    "gradients": "Products of Jacobians against theory: when gradients vanish and explode.",
    "clipping": "Loss curves without clipping, by value, by norm, and by the lecture's snippet.",
    "truncation": "Memory, time and loss of truncated back-propagation through time against the whole.",
    "embedding": "One-hot input against an embedding; W_xh times one-hot is a lookup.",
    "tradeoffs": "The lecture's four advantages and two disadvantages, each with a measured verdict.",
}
"""Name to what it asks; ``unrolled lab`` prints this."""

TRAINED = ("adding", "copy", "brackets", "digits")
GRIDS = (*TRAINED, "starts", "showpiece")
CELLS = ("rnn-tanh", "rnn-relu", "lstm", "gru")
QUICK_SECONDS = 285.0
"""``--quick`` begins nothing new after this; what is left then goes on at the next call."""

_TAKES = {
    "seeds": GRIDS,
    "lengths": (*TRAINED, "truncation", "tradeoffs"),
    "cells": TRAINED,
    "data": ("digits",),
    "steps": (*GRIDS, "clipping", "truncation", "embedding", "tradeoffs"),
    "parameters": TRAINED,
}
"""Settings that not every experiment takes."""


@dataclasses.dataclass(frozen=True)
class LabConfig:
    """One experiment's settings; None is the experiment's own default, which its report states."""

    quick: bool = option(False, "a small version that ends within five minutes on two cores")
    out: str | None = option(None, "folder for results and pictures (default: lab/NAME, lab/NAME-quick)")
    seeds: int | None = option(None, "seeds of each trial (default: 3)", min=1, max=1000)
    lengths: str | None = option(None, "lengths T with commas: 100,200,400")
    cells: str | None = option(None, "cells with commas, of " + ", ".join(CELLS))
    data: str | None = option(None, "digits: folder of MNIST's four idx files, packed or not (default: drawn digits)")
    steps: int | None = option(None, "updates of each training", min=1)
    parameters: int | None = option(None, "parameters of each network (default: 70000; quick: 20000)", min=200)
    threads: int | None = option(None, "threads (default: torch's choice)", min=1, max=4096)

    def __post_init__(self) -> None:
        check(self)
        self.numbers()
        self.cell_names()

    def numbers(self) -> tuple[int, ...] | None:
        """``--lengths`` as numbers."""
        if self.lengths is None:
            return None
        found = []
        for part in self.lengths.split(","):
            digits = part.strip()
            if not (digits.isdecimal() and len(digits) <= 7 and int(digits) > 0):
                raise UserError(f"--lengths {self.lengths}: {digits!r} is no length; give numbers with commas: 100,200")
            found.append(int(digits))
        return tuple(dict.fromkeys(found))

    def cell_names(self) -> tuple[str, ...] | None:
        """``--cells`` as names."""
        if self.cells is None:
            return None
        names = tuple(dict.fromkeys(part.strip() for part in self.cells.split(",")))
        for name in names:
            if name not in CELLS:
                raise UserError(f"--cells {self.cells}: {name!r} is none of {', '.join(CELLS)}")
        return names

    def check_for(self, name: str) -> None:
        """Refuse what the experiment ``name`` has no use for.

        Raises:
            UserError: names the experiment or the flag, and those that there are.
        """
        if name not in EXPERIMENTS:
            raise UserError(f"{name}: no experiment; there are {', '.join(EXPERIMENTS)}")
        for field, takers in _TAKES.items():
            if getattr(self, field) is not None and name not in takers:
                raise UserError(f"--{field}: {name} does not take it, only {', '.join(takers)}")
