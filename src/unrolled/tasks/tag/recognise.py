"""Files that are clearly there to learn tagging from. No torch here."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

from unrolled.data.conll import looks_like_conllu

ENDINGS = (".conllu", ".conll", ".conll03", ".iob", ".iob2", ".bio", ".iobes", ".bioes")
LOOK = 200
"""Lines looked at for a CoNLL-U header: its comments may be long."""


def recognise(path: Path) -> str | None:
    """Why this is tagged data: its ending, or ten columns behind CoNLL-U's comments; None where neither is so."""
    name = path.name.lower().removesuffix(".gz").removesuffix(".xz").removesuffix(".zst")
    ending = next((end for end in ENDINGS if name.endswith(end)), None)
    if ending is not None:
        return f"the name ends in {ending}"
    if not path.is_file() or name != path.name.lower().removesuffix(".gz"):
        return None
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            head = [line.decode("utf-8") for line in itertools.islice(file, LOOK)]
    except (OSError, EOFError, UnicodeDecodeError):
        return None
    return "its lines are CoNLL-U" if looks_like_conllu(head) else None
