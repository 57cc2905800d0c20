"""From wrong numbers to their cause: which slip, or which two, would have given just these."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from unrolled.check.interface import Value
from unrolled.check.slips import Array, Arrays, Slips

MATCH = 1e-6
"""Relative difference up to which two results count as the same; other slips differ by tenths."""


def relative(yours: Array, right: Array) -> float:
    """``‖yours − right‖ / ‖right‖``."""
    return float(np.linalg.norm(yours - right) / max(float(np.linalg.norm(right)), 1e-300))


def causes(run: Callable[[Slips], Arrays], yours: Arrays, right: Arrays, tolerance: float = MATCH) -> list[str]:
    """Phrases of the slips that together give ``yours``; empty where no one and no two do.

    Args:
        run: the computation with its slips; without any it gives ``right``.
        tolerance: as :data:`MATCH`, larger for float32.
    """
    seen = Slips()
    run(seen)
    good = [relative(y, r) <= tolerance for y, r in zip(yours, right, strict=True)]
    candidates = []
    with np.errstate(all="ignore"):
        for phrase in seen.seen:
            made = run(Slips([phrase]))
            if _same(made, yours, tolerance):
                return [phrase]
            # One of two mistakes spoils nothing that is right in the end.
            if all(relative(m, r) <= tolerance for m, r, g in zip(made, right, good, strict=True) if g):
                candidates.append(phrase)
        pairs = itertools.combinations(candidates, 2)
        return next((list(pair) for pair in pairs if _same(run(Slips(pair)), yours, tolerance)), [])


def cause_of_one(
    run: Callable[[Slips], Arrays], k: int, yours: Arrays, right: Arrays, tolerance: float = MATCH
) -> str | None:
    """The first slip that gives result ``k`` as it is, whatever it does to the others."""
    seen = Slips()
    run(seen)
    for phrase in seen.seen:
        with np.errstate(all="ignore"):
            made = run(Slips([phrase]))[k]
        if _same((made,), (yours[k],), tolerance) and relative(made, right[k]) > tolerance:
            return phrase
    return None


def _same(a: Arrays, b: Arrays, tolerance: float) -> bool:
    return all(x.shape == y.shape and relative(y, x) <= tolerance for x, y in zip(a, b, strict=True))


def pattern(value: Value, gates: Sequence[str], yours: Array, right: Array, tolerance: float = MATCH) -> list[str]:
    """What the difference looks like, for people: a factor, a gate's block, the largest element."""
    lines = []
    factor = float(np.vdot(right, yours) / max(float(np.vdot(right, right)), 1e-300))
    if _same((factor * right,), (yours,), tolerance):
        lines.append("it is zero everywhere" if abs(factor) < MATCH else f"it is {factor:.4g} times what is right")
    elif right.ndim == 2 and right.shape[0] == right.shape[1] and _same((right.T,), (yours,), tolerance):
        lines.append("it is transposed")
    if gates and value.shape[0].endswith("H") and value.shape[0] != "H":
        off = [
            g
            for g, y, r in zip(gates, np.split(yours, len(gates)), np.split(right, len(gates)), strict=True)
            if relative(y, r) > tolerance
        ]
        if 0 < len(off) < len(gates):
            lines.append(f"only the block of {' and '.join(off)} differs (blocks are {' '.join(gates)})")
    if value.shape[0] == "T":
        steps = [t for t in range(len(right)) if relative(yours[t], right[t]) > tolerance]
        if 0 < len(steps) < len(right):
            lines.append(f"only t = {', '.join(map(str, steps))} of 0 to {len(right) - 1} differ")
    at = np.unravel_index(int(np.argmax(np.abs(yours - right))), right.shape)
    where = ", ".join(str(int(j)) for j in at)
    lines.append(f"largest difference at [{where}]: yours {yours[at]:.6g}, right {right[at]:.6g}")
    return lines
