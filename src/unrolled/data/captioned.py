"""An image and what is said of it; a file of them; and the words that such files use for their columns and parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrolled.errors import UserError

IMAGE_COLUMNS = ("file_name", "filename", "image", "image_name", "image_path", "path", "file", "img", "picture")
CAPTION_COLUMNS = ("caption", "captions", "caption_text", "text", "sentence", "comment", "description", "title", "name",
                   "formula", "label")  # fmt: skip
PART_COLUMNS = ("split", "part", "set")
PARTS = {
    "train": "train", "training": "train", "dev": "dev", "val": "dev", "valid": "dev", "validate": "dev",
    "validation": "dev", "test": "test", "testing": "test", "restval": "restval",
}  # fmt: skip


@dataclasses.dataclass
class Captioned:
    """One image and what is said of it.

    Attributes:
        image: its file name as the captions give it; None where they go by the order of an array file.
        captions: as written.
        part: "train", "dev", "test" or "restval" where the file says so, else None.
        where: file and line or record, for messages.
        folder: the folder that a relative name may be meant from.
        places: where each caption stands; empty where that is ``where``.
    """

    image: str | None
    captions: list[str]
    part: str | None
    where: str
    folder: Path
    places: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class CaptionFile:
    """All images of a file, in its order, and what a user should know."""

    entries: list[Captioned]
    notes: list[str]
    form: str


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of columns, where the user gave them; and what becomes of bad lines ("error" or "skip")."""

    image: str | None = None
    caption: str | None = None
    part: str | None = None
    bad: str = "error"


def gather(found: Sequence[tuple[str | None, str, str | None, str]], folder: Path) -> list[Captioned]:
    """Captions one by one (image, caption, part, where) into images: lines of one name belong together."""
    entries: list[Captioned] = []
    known: dict[str, Captioned] = {}
    for image, caption, part, where in found:
        if image is not None and image in known:
            entry = known[image]
            if part != entry.part:
                raise UserError(f"{where}: {image} is in part {part!r} here and {entry.part!r} at {entry.where}")
            entry.captions.append(caption)
            entry.places.append(where)
            continue
        entry = Captioned(image, [caption], part, where, folder, [where])
        entries.append(entry)
        if image is not None:
            known[image] = entry
    return entries


def part_name(value: Any, where: str) -> str | None:
    """The part that a word in a file means; None for an empty one.

    Raises:
        UserError: a word that means none.
    """
    text = "" if value is None else str(value).strip().lower()
    if not text:
        return None
    if text not in PARTS:
        raise UserError(f"{where}: part {value!r}; known: {', '.join(PARTS)}")
    return PARTS[text]
