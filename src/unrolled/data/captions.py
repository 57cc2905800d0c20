"""Files that say what is on pictures, in the forms people have, as one list of images with their captions.

====================  ==============================================================================================
COCO captions         JSON with ``images`` (id, file_name) and ``annotations`` (image_id, caption)
Karpathy's split      JSON ``dataset_*.json``: ``images`` with ``sentences`` and ``split``, which may be ``restval``
list                  JSON list, or JSON lines, of ``{"file_name": ..., "captions": [...]}`` (or ``"caption": "..."``)
Flickr8k              lines of ``name.jpg#0<tab>caption``
table                 CSV or TSV, a caption a row
folder                images, and one of the above; or beside each image a text file of its name, a caption a line
====================  ==============================================================================================
"""

from __future__ import annotations

import re
from pathlib import Path

from unrolled.data.caption_json import read_json
from unrolled.data.captioned import (
    CAPTION_COLUMNS,
    IMAGE_COLUMNS,
    PART_COLUMNS,
    Captioned,
    CaptionFile,
    Columns,
    gather,
    part_name,
)
from unrolled.data.images import SUFFIXES
from unrolled.data.tables import guess_column, kind_of, read_table
from unrolled.data.wording import counted
from unrolled.errors import UserError

_FLICKR = re.compile(r"([^\t#]+)#\w+\t(.*)")
_READABLE = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".tab", ".token", ".txt")


def read_captions(path: str, columns: Columns) -> CaptionFile:
    """Read one file or folder of captions.

    Raises:
        UserError: nothing there, an unknown form, or a bad record (unless ``columns.bad`` is "skip").
    """
    place = Path(path)
    if place.is_dir():
        return _folder(place, columns)
    if not place.is_file():
        raise UserError(f"{path}: no such file or folder; name the captions")
    if place.suffix.lower() == ".json":
        return read_json(place, columns)
    if kind_of(path) is not None:
        return _table(place, columns)
    return _text(place, columns)


def _table(path: Path, columns: Columns) -> CaptionFile:
    known = (*IMAGE_COLUMNS, *CAPTION_COLUMNS, *PART_COLUMNS)
    table = read_table(str(path), known=known, bad=columns.bad)
    image = table.column(columns.image, "--image-column") if columns.image else guess_column(table, IMAGE_COLUMNS)
    if columns.caption:
        caption = table.column(columns.caption, "--caption-column")
    else:
        guessed = guess_column(table, CAPTION_COLUMNS)
        if guessed is None and not table.header and len(table.columns) == 2:
            image, guessed = (0 if image is None else image), 1
        if guessed is None:
            raise UserError(
                f"{path}: which column is the caption? --caption-column: one of {', '.join(map(str, table.columns))}"
            )
        caption = guessed
    part = table.column(columns.part, "--part-column") if columns.part else guess_column(table, PART_COLUMNS)
    found: list[tuple[str | None, str, str | None, str]] = []
    for k, row in enumerate(table.rows):
        where, name = table.where(k), None if image is None else row[image]
        said = row[caption] if isinstance(row[caption], list) else [row[caption]]
        word = None if part is None else part_name(row[part], where)
        found += [(None if name is None else str(name).strip(), "" if c is None else str(c), word, where) for c in said]
    return CaptionFile(gather(found, path.parent), table.notes, "table")


def _text(path: Path, columns: Columns) -> CaptionFile:
    """Flickr8k's token text; or ``name<tab>caption``, or ``name,caption`` under a header, as its later copies have."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 (byte {error.start}); convert the file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    first = next((line for line in lines if line.strip()), "")
    if not _FLICKR.match(first) and "\t" not in first and "," in first:
        return _table_as_csv(path, columns)
    found: list[tuple[str | None, str, str | None, str]] = []
    skipped: list[str] = []
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        where = f"{path}:{number}"
        match = _FLICKR.match(line)
        name, _, caption = (match[1], "\t", match[2]) if match else line.partition("\t")
        if not name.strip() or "\t" not in line:
            problem = f"{where}: no image name and caption with a tab between them"
            if columns.bad == "error":
                raise UserError(f"{problem}; correct the line, or leave such lines out with --bad skip")
            skipped.append(problem)
            continue
        found.append((name.strip(), caption, None, where))
    notes = [f"{counted(len(skipped), 'line')} skipped, the first: {skipped[0]}"] if skipped else []
    return CaptionFile(gather(found, path.parent), notes, "Flickr8k")


def _table_as_csv(path: Path, columns: Columns) -> CaptionFile:
    table = read_table(str(path), known=(*IMAGE_COLUMNS, *CAPTION_COLUMNS), bad=columns.bad, kind="csv")
    image = guess_column(table, IMAGE_COLUMNS) or 0
    caption = guess_column(table, CAPTION_COLUMNS)
    caption = 1 if caption is None or caption == image else caption
    if len(table.columns) < 2:
        raise UserError(f"{path}: one column; lines of image name and caption are read")
    found = [(str(r[image]).strip(), str(r[caption]), None, table.where(k)) for k, r in enumerate(table.rows)]
    return CaptionFile(gather(found, path.parent), table.notes, "table")


def _folder(place: Path, columns: Columns) -> CaptionFile:
    files = sorted(p for p in place.iterdir() if p.is_file() and not p.name.startswith("."))
    images = [p for p in files if p.suffix.lower() in SUFFIXES]
    stems = {p.stem for p in images}
    texts = [p for p in files if p.suffix.lower() in _READABLE and not _about(p)]
    beside = [p for p in texts if p.suffix.lower() == ".txt" and p.stem in stems]
    others = [p for p in texts if p not in beside]
    if len(others) == 1 and not beside:
        return read_captions(str(others[0]), columns)
    if beside and not others:
        return _beside(images, {p.stem: p for p in beside}, columns)
    if not texts:
        raise UserError(f"{place}: no file of captions in it (JSON, CSV, TSV, or text); name one")
    shown = ", ".join(p.name for p in texts[:5])
    raise UserError(f"{place}: which file holds the captions? {shown}{' ...' if len(texts) > 5 else ''}; name it")


def _about(path: Path) -> bool:
    return path.stem.lower().startswith(("readme", "licence", "license", "copying", "about"))


def _beside(images: list[Path], texts: dict[str, Path], columns: Columns) -> CaptionFile:
    entries, bare = [], []
    for image in images:
        text = texts.get(image.stem)
        said = [] if text is None else [x for x in text.read_text(encoding="utf-8-sig").splitlines() if x.strip()]
        if said:
            entries.append(Captioned(image.name, said, None, str(text), image.parent))
        else:
            bare.append(image.name)
    if bare and columns.bad == "error":
        raise UserError(
            f"{images[0].parent}: {counted(len(bare), 'image')} without a caption ({', '.join(bare[:5])}); write "
            "them, or leave such images out with --bad skip"
        )
    notes = [f"{counted(len(bare), 'image')} without a caption left out: {', '.join(bare[:5])}"] if bare else []
    return CaptionFile(entries, notes, "folder of images and texts")
