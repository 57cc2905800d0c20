"""Whether a file is clearly one of captions. No torch here."""

from __future__ import annotations

import os
import re
from pathlib import Path

LOOK = 4096
"""Bytes at the head of a file by which it is told."""
IMAGE = r"[^\s\"',]+\.(?:jpe?g|png|gif|bmp|webp|tiff?)"


def recognise(path: Path) -> str | None:
    """Why ``path`` holds captions of images; None where that is not clear."""
    name = path.name.lower()
    if path.is_dir():
        return _folder(path)
    try:
        with path.open("rb") as file:
            head = file.read(LOOK).decode("utf-8", "replace")
    except OSError:
        return None
    if name.endswith(".json"):
        if ('"annotations"' in head and '"caption' in head) or re.search(r'"coco_url"|"image_id"', head):
            return "COCO captions"
        if '"sentences"' in head and '"filename"' in head:
            return "Karpathy's split"
        if re.search(r'"file_?name"', head) and re.search(r'"captions?"', head):
            return "a list of images and captions"
        return None
    if re.match(IMAGE + r"#\d+\t", head, re.IGNORECASE):
        return "Flickr8k's token text"
    if name.endswith((".csv", ".tsv", ".txt")) and re.match(r"(?:image|file_?name)[,\t]caption\b", head, re.IGNORECASE):
        return "columns of images and captions"
    return None


def _folder(path: Path) -> str | None:
    """A folder of images with text beside them; only its first names are looked at."""
    endings = set()
    try:
        with os.scandir(path) as found:
            for k, entry in enumerate(found):
                if k == 1000:
                    break
                endings.add(Path(entry.name).suffix.lower())
    except OSError:
        return None
    images = endings & {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"}
    texts = endings & {".txt", ".json", ".csv", ".tsv", ".jsonl", ".token"}
    return "a folder of images and texts" if images and texts else None
