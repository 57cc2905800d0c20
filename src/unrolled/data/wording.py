"""Counts in messages."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """``1 record``, ``3,000 records``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
