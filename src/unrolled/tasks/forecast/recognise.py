"""Which files are clearly series of numbers. No torch here."""

from __future__ import annotations

import csv
from pathlib import Path

from unrolled.tasks.registry import suffix

TIMES = {"time", "date", "datetime", "timestamp", "ds"}
VALUES = {"target", "y", "value", "values"}


def recognise(path: Path) -> str | None:
    """A CSV whose header names a time and a value; anything else is not told from other tasks' data."""
    if suffix(path) not in (".csv", ".tsv") or path.suffix.lower() not in (".csv", ".tsv"):
        return None
    try:
        with open(path, encoding="utf-8", newline="") as file:
            line = file.readline(10_000)
    except (OSError, UnicodeDecodeError):
        return None
    delimiter = "\t" if suffix(path) == ".tsv" else ";" if line.count(";") > line.count(",") else ","
    found = [cell.strip().lower() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    times, values = TIMES & set(found), VALUES & set(found)
    if times and values:
        return f"its header names a time ({min(times)}) and a value ({min(values)})"
    return None
