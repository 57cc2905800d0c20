"""Whether a file is clearly labelled examples: by the names of its columns, or as an idx file. No torch here."""

from __future__ import annotations

import json
from pathlib import Path

from unrolled.data.tables import kind_of
from unrolled.errors import UserError

TEXTS = ("text", "sentence", "review", "name", "document", "content", "message", "body", "comment", "tweet", "title",
         "phrase", "question", "input", "string", "sequence")  # fmt: skip
"""Names of a column that holds the text, the likelier first."""
LABELS = ("label", "labels", "class", "category", "target", "sentiment", "polarity", "language", "nationality",
          "intent", "topic", "stars", "rating", "score", "y")  # fmt: skip
CLEAR = ("label", "labels", "class", "category", "sentiment", "polarity", "nationality", "intent", "topic")
"""Names that only a classifier's target has."""


def recognise(path: Path) -> str | None:
    """Why ``path`` is clearly a classifier's data; None where it is not clear."""
    if path.is_dir():
        found = next((p for p in sorted(path.iterdir()) if is_idx(p)), None)
        return None if found is None else f"it holds idx files ({found.name})"
    if is_idx(path):
        return "it is an idx file"
    kind = kind_of(str(path))
    names = [] if kind is None else _names(path, kind)
    text = next((name for name in names if name in TEXTS), None)
    label = next((name for name in names if name in CLEAR), None)
    return f"it has columns {text} and {label}" if text and label else None


def is_idx(path: Path) -> bool:
    """Whether a file is called as those of MNIST are: ``train-images-idx3-ubyte``, packed or not."""
    return "-idx" in path.name and path.name.removesuffix(".gz").endswith("ubyte")


def _names(path: Path, kind: str) -> list[str]:
    """The first row's cells, or the first object's keys, in lower case."""
    from unrolled.data.text import open_source

    try:
        head = next(iter(open_source([str(path)]).blocks(1 << 16)), b"")
    except UserError:  # what is wrong with the file is said where it is read
        return []
    line = head.decode("utf-8-sig", "replace").split("\n", 1)[0].strip()
    if kind == "jsonl":
        try:
            value = json.loads(line)
        except ValueError:
            return []
        return [str(key).lower() for key in value] if isinstance(value, dict) else []
    delimiter = "\t" if kind == "tsv" else ";" if line.count(";") > line.count(",") else ","
    return [cell.strip().strip('"').lower() for cell in line.split(delimiter)]
