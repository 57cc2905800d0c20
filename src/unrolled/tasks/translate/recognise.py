"""Which files are clearly pairs. No torch here."""

from __future__ import annotations

import json
from pathlib import Path

from unrolled.data.tables import kind_of
from unrolled.data.text import open_source
from unrolled.errors import UserError

NAMES = (("source", "target"), ("src", "tgt"))
LOOK = 1 << 16


def recognise(path: Path) -> str | None:
    """Why a file holds pairs of sequences: CMUdict's ending, or columns of that name; None where it is not clear."""
    name = path.name.lower().removesuffix(".gz").removesuffix(".xz").removesuffix(".zst")
    if name.endswith(".dict"):
        return "a pronouncing dictionary (.dict)"
    kind = kind_of(str(path))
    if kind is None or not path.is_file():
        return None
    try:
        head = next(iter(open_source([str(path)]).blocks(LOOK)), b"")
    except UserError:
        return None
    columns = _columns(head.decode("utf-8", errors="replace").split("\n", 1)[0], kind)
    found = next((pair for pair in NAMES if set(pair) <= columns), None)
    if found is not None:
        return f"columns {found[0]} and {found[1]}"
    return "a column translation" if columns == {"translation"} else None


def _columns(first: str, kind: str) -> set[str]:
    if kind == "jsonl":
        try:
            value = json.loads(first)
        except ValueError:
            return set()
        return {str(key).lower() for key in value} if isinstance(value, dict) else set()
    cells = first.split("\t") if kind == "tsv" else first.replace(";", ",").split(",")
    return {cell.strip().strip('"').lower() for cell in cells}
