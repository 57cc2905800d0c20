"""Counts in messages."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """``1 record``, ``3,000 records``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def unknowns_note(met: int, unknown: str) -> list[str]:
    """What to say of units that the vocabulary lacks: nothing where there were none, else a line."""
    were = "was" if met == 1 else "were"
    done = "left out" if unknown == "skip" else "replaced"
    return [f"{counted(met, 'unit')} that the vocabulary lacks {were} {done} (--unknown {unknown})"] if met else []
