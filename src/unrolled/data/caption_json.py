"""Captions in JSON: COCO's, Karpathy's split of several sets, and lists of ``{file_name, captions}``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unrolled.data.captioned import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    PART_COLUMNS,
    Captioned,
    CaptionFile,
    Columns,
    part_name,
)
from unrolled.data.wording import counted
from unrolled.errors import UserError


def read_json(path: Path, columns: Columns) -> CaptionFile:
    """Read one file.

    Raises:
        UserError: not JSON, of none of these forms, or a bad record.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); convert the file") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); correct the file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    if isinstance(found, dict) and isinstance(found.get("images"), list):
        if isinstance(found.get("annotations"), list):
            return _coco(found, path, columns)
        return CaptionFile(_records(found["images"], path, columns, "image"), [], "Karpathy's split")
    if isinstance(found, list):
        return CaptionFile(_records(found, path, columns, "record"), [], "list")
    raise UserError(
        f"{path}: neither COCO captions (images, annotations), nor Karpathy's split (images with sentences), nor a "
        "list of {file_name, captions}"
    )


def _coco(found: dict[str, Any], path: Path, columns: Columns) -> CaptionFile:
    entries: dict[Any, Captioned] = {}
    for k, image in enumerate(found["images"]):
        if not isinstance(image, dict) or "id" not in image or not isinstance(image.get("file_name"), str):
            raise UserError(f"{path}, image {k}: has no id and file_name; correct the file")
        entries[image["id"]] = Captioned(image["file_name"], [], None, f"{path}, image {image['id']}", path.parent)
    astray: list[str] = []
    for k, said in enumerate(found["annotations"]):
        if (
            not isinstance(said, dict)
            or said.get("image_id") not in entries
            or not isinstance(said.get("caption"), str)
        ):
            problem = f"{path}, annotation {k}: has no caption, or no image of its image_id"
            if columns.bad == "error":
                raise UserError(f"{problem}; correct it, or leave such ones out with --bad skip")
            astray.append(problem)
            continue
        entries[said["image_id"]].captions.append(said["caption"])
    notes = [f"{counted(len(astray), 'annotation')} skipped, the first: {astray[0]}"] if astray else []
    bare = [e for e in entries.values() if not e.captions]
    if bare:
        notes.append(f"{counted(len(bare), 'image')} without a caption left out")
    return CaptionFile([e for e in entries.values() if e.captions], notes, "COCO captions")


def _records(found: list[Any], path: Path, columns: Columns, noun: str) -> list[Captioned]:
    """Entries of a list of objects: Karpathy's, or ``{file_name, captions}``."""
    entries = []
    for k, record in enumerate(found):
        where = f"{path}, {noun} {k}"
        if not isinstance(record, dict):
            raise UserError(f"{where}: not an object with a file name and captions")
        keys = ((columns.image,) if columns.image else ()) + IMAGE_COLUMNS
        name = next((record[key] for key in keys if isinstance(record.get(key), str)), None)
        said = _said(record, columns)
        if name is None or said is None:
            raise UserError(f"{where}: needs a file name (file_name) and captions (captions, or sentences)")
        if isinstance(record.get("filepath"), str):  # of COCO in Karpathy's split: train2014 or val2014
            name = f"{record['filepath']}/{name}"
        word = next((record[key] for key in (columns.part, *PART_COLUMNS) if key in record), None)
        entries.append(Captioned(name, said, part_name(word, where), where, path.parent))
    return entries


def _said(record: dict[str, Any], columns: Columns) -> list[str] | None:
    keys = (columns.caption,) if columns.caption else ("sentences", *CAPTION_COLUMNS[:-2])
    for key in keys:
        value = record.get(key)
        value = [value] if isinstance(value, str) else value
        if isinstance(value, list) and value:
            texts = [v.get("raw", v.get("caption")) if isinstance(v, dict) else v for v in value]
            known = [text for text in texts if isinstance(text, str)]
            if len(known) == len(texts):
                return known
    return None
