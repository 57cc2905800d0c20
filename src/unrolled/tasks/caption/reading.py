"""From files to a corpus: pictures or features, captions in units, parts; every problem told before training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from unrolled.data.caption_units import caption_units
from unrolled.data.captioned import Captioned, CaptionFile, Columns
from unrolled.data.captions import read_captions
from unrolled.data.examples import Ints, split_by_key
from unrolled.data.image_sets import Features, Pictures
from unrolled.data.shapes import generate_shapes
from unrolled.data.wording import counted
from unrolled.errors import UserError
from unrolled.tasks.caption.config import CaptionData
from unrolled.tasks.caption.finding import find_features, find_pictures

PARTS = ("train", "dev", "test")
Progress = Callable[[str, float], None]
"""Called with a stage's name and the share of it that is done."""


@dataclasses.dataclass
class CaptionCorpus:
    """Pictures with captions.

    Attributes:
        pictures: or features; one an image. names: what messages and predictions call each.
        captions: of each image, as written. units: the same in words or characters.
        parts: numbers of the images of "train", "dev" and "test", ascending.
        drawn: whether the parts were drawn here, and not named by the file.
        label: what the data is called. notes: what a user should know.
    """

    pictures: Pictures | Features
    names: list[str]
    captions: list[list[str]]
    units: list[list[list[str]]]
    parts: dict[str, Ints]
    drawn: bool
    label: str
    notes: list[str]

    @property
    def summary(self) -> str:
        """One line: what was read."""
        sizes = ", ".join(f"{len(self.parts[p]):,} {p}" for p in PARTS)
        texts = sum(map(len, self.captions))
        return f"{self.label}: {counted(len(self.names), 'image')}, {counted(texts, 'caption')} ({sizes})"

    def digest(self) -> str:
        """Identifies pictures, captions and parts."""
        found = hashlib.blake2b(self.pictures.digest().encode(), digest_size=16)
        found.update(json.dumps([self.units, [self.parts[p].tolist() for p in PARTS]]).encode())
        return found.hexdigest()


def read_corpus(paths: Sequence[str], data: CaptionData, progress: Progress | None = None) -> CaptionCorpus:
    """Read captions and their images; without paths, generate shapes.

    Raises:
        UserError: nothing there, bad files or images (unless ``--bad skip``), or parts that are empty.
    """
    if not paths:
        return _generated(data)
    columns = Columns(data.image_column, data.caption_column, data.part_column, data.bad)
    files = [read_captions(path, columns) for path in paths]
    entries, notes = _entries(files, data)
    found = find_features(entries, data) if data.features is not None else find_pictures(entries, data, progress)
    entries = [entries[k] for k in found.rows]
    units = [[caption_units(c, data.units, data.lower) for c in e.captions] for e in entries]
    kept, more = _fitting(entries, units, data)
    rows = [k for k, texts in enumerate(kept) if texts]
    if not rows:
        raise UserError(f"{paths[0]}: no image with a caption is left; see --longest {data.longest} and --bad")
    pictures = found.pictures if len(rows) == len(entries) else found.pictures.take(rows)
    parts, drawn, told = _parts([entries[k] for k in rows], data)
    corpus = CaptionCorpus(
        pictures, [entries[k].image or f"image {entries[k].where}" for k in rows],
        [[t for t, _ in kept[k]] for k in rows], [[u for _, u in kept[k]] for k in rows],
        parts, drawn, Path(paths[0]).name + (f" and {len(paths) - 1} more" if len(paths) > 1 else ""),
        [*notes, *found.notes, *more, *told],
    )  # fmt: skip
    if not len(parts["train"]):
        raise UserError(f"{corpus.summary}: nothing is left to train on; lower --heldout and --dev")
    return corpus


def _generated(data: CaptionData) -> CaptionCorpus:
    made = generate_shapes(data.shapes, data.image_size, heldout=data.heldout, dev=data.dev, seed=data.split_seed)
    units = [[caption_units(c, data.units, data.lower) for c in said] for said in made.captions]
    parts = {p: np.array([k for k, part in enumerate(made.parts) if part == p], np.int64) for p in PARTS}
    held = [f"only in {part}: {', '.join(pairs)}" for part, pairs in made.heldout.items()]
    names = [f"shapes {k}" for k in range(len(units))]
    return CaptionCorpus(Pictures(made.images), names, made.captions, units, parts, False, "generated shapes", held)


def _entries(files: Sequence[CaptionFile], data: CaptionData) -> tuple[list[Captioned], list[str]]:
    """All images of the files, restval settled."""
    entries = [entry for file in files for entry in file.entries]
    notes = [note for file in files for note in file.notes]
    rest = sum(entry.part == "restval" for entry in entries)
    if rest and data.restval is None:
        raise UserError(
            f"{counted(rest, 'image')} in the part restval: say --restval train (what most papers do) or leave-out"
        )
    if rest and data.restval == "leave-out":
        entries = [entry for entry in entries if entry.part != "restval"]
        notes.append(f"restval: {counted(rest, 'image')} left out")
    elif rest:
        entries = [dataclasses.replace(e, part="train") if e.part == "restval" else e for e in entries]
        notes.append(f"restval: {counted(rest, 'image')} trained on")
    for flag, path, part in (("--test-list", data.test_list, "test"), ("--dev-list", data.dev_list, "dev")):
        if path is not None:
            entries = _listed(entries, flag, path, part)
    return entries, notes


def _listed(entries: list[Captioned], flag: str, path: str, part: str) -> list[Captioned]:
    """Put the images that a list names into ``part``."""
    try:
        names = {line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{flag} {path}: cannot be read ({error}); name a file of image names") from None
    unknown = names - {entry.image for entry in entries}
    if len(unknown) == len(names):
        raise UserError(f"{flag} {path}: names no image that has a caption; one file name a line is read")
    return [dataclasses.replace(e, part=part) if e.image in names else e for e in entries]


Kept = list[list[tuple[str, list[str]]]]


def _fitting(
    entries: Sequence[Captioned], units: Sequence[list[list[str]]], data: CaptionData
) -> tuple[Kept, list[str]]:
    """Of each image the captions that are neither empty nor too long, and what was left out."""
    kept: Kept = []
    empty, long = [], []
    for entry, said in zip(entries, units, strict=True):
        fine = []
        places = entry.places or [entry.where] * len(said)
        for text, one, where in zip(entry.captions, said, places, strict=True):
            if not one:
                empty.append(where)
            elif len(one) > data.longest:
                long.append(f"{where} ({len(one)})")
            else:
                fine.append((text, one))
        kept.append(fine)
    if empty and data.bad == "error":
        raise UserError(f"{empty[0]}: an empty caption ({len(empty)} in all); write it, or use --bad skip")
    notes = [f"{counted(len(empty), 'empty caption')} left out, the first: {empty[0]}"] if empty else []
    if long:
        notes.append(
            f"{counted(len(long), 'caption')} of more than {data.longest} units left out, the first: {long[0]}"
        )
    return kept, notes


def _parts(entries: Sequence[Captioned], data: CaptionData) -> tuple[dict[str, Ints], bool, list[str]]:
    """The parts as the file names them; what it does not name is drawn from the training part by a key's hash."""
    named = np.array([entry.part or "train" for entry in entries])
    given = {part: bool((named == part).any()) for part in ("dev", "test")}
    keys = [_key(entry, k, data) for k, entry in enumerate(entries)]
    free = np.flatnonzero(named == "train")
    heldout = 0.0 if given["test"] else data.heldout
    drawn = split_by_key([keys[k] for k in free], heldout, 0.0 if given["dev"] else data.dev, data.split_seed)
    parts = {part: np.sort(np.concatenate((free[drawn[part]], np.flatnonzero(named == part)))) for part in given}
    parts["train"] = free[drawn["train"]]
    notes = []
    for part, share in (("test", heldout), ("dev", data.dev)):
        if share and not given[part] and not len(parts[part]):
            notes.append(f"too few images for a {part} part of {share:g}: it is empty")
    if len({key for key in keys}) < len(keys) and not all(given.values()) and data.group_until is not None:
        notes.append(f"parts drawn by {counted(len(set(keys)), 'group')} of captions up to {data.group_until!r}")
    parts = {part: np.asarray(parts[part], np.int64) for part in PARTS}
    return parts, not all(given.values()), notes


def _key(entry: Captioned, number: int, data: CaptionData) -> str:
    """What decides the part of an image: equal keys stay together."""
    if data.group_until is not None:
        return entry.captions[0].split(data.group_until)[0].strip()
    return entry.image if entry.image is not None else f"{number}"
