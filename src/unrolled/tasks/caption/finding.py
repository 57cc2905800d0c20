"""Where the images of captions lie, and what becomes of those that cannot be used."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from unrolled.data.captioned import Captioned
from unrolled.data.image_arrays import IMAGE_SUFFIXES, FeatureArrays, ImageArrays
from unrolled.data.image_sets import Features, Pictures
from unrolled.data.images import SHRUNK, ImageError, Pixels, fit, read_image
from unrolled.data.wording import counted
from unrolled.errors import UserError
from unrolled.tasks.caption.config import CaptionData

SHOWN = 5
"""Bad images that are named."""

S = TypeVar("S", Pictures, Features)


@dataclasses.dataclass
class Found(Generic[S]):
    """Pictures or features, and of which entries they are."""

    pictures: S
    rows: list[int]
    notes: list[str]


def find_pictures(
    entries: Sequence[Captioned], data: CaptionData, progress: Callable[[str, float], None] | None = None
) -> Found[Pictures]:
    """The pictures of all entries, read and made the size that the network takes.

    Raises:
        UserError: no such folder or file; an array file that does not fit the captions; bad images, unless they are
            to be skipped.
    """
    if data.images is not None and Path(data.images).suffix.lower() in IMAGE_SUFFIXES:
        return _from_arrays(entries, data)
    folders = _folders(entries, data)
    pictures: list[Pixels] = []
    rows: list[int] = []
    bad: list[str] = []
    done: Counter[str] = Counter()
    for k, entry in enumerate(entries):
        try:
            pixels, remarks = _read(entry, folders, data)
        except ImageError as error:
            bad.append(f"{error} (named at {entry.where})")
            continue
        pictures.append(pixels)
        rows.append(k)
        done.update(remarks)
        if progress is not None:
            progress("reading images", (k + 1) / len(entries))
    notes = _judge(bad, len(entries), data.bad)
    notes += [f"{counted(count, 'image')}: {what}" for what, count in sorted(done.items())]
    return Found(Pictures(pictures), rows, notes)


def prepare(path: Path, name: str, data: CaptionData) -> tuple[Pixels, list[str]]:
    """One image file as the network takes it, and what was done to it.

    Raises:
        ImageError: it cannot be used.
    """
    wanted = None if data.fit == "keep" else data.image_size
    pixels, remarks = read_image(path, name=name, megapixels=data.megapixels, size=wanted)
    return _fitted(pixels, data, remarks), remarks


def _fitted(pixels: Pixels, data: CaptionData, remarks: list[str]) -> Pixels:
    if data.fit == "keep" and max(pixels.shape[:2]) > data.image_size:
        remarks.append(SHRUNK)
    return fit(pixels, data.image_size, data.fit)


def _folders(entries: Sequence[Captioned], data: CaptionData) -> list[Path]:
    if data.images is not None:
        if not Path(data.images).is_dir():
            raise UserError(f"--images {data.images}: no such folder, nor a .npz or .npy file")
        return [Path(data.images)]
    if any(entry.image is None for entry in entries):
        first = next(entry.where for entry in entries if entry.image is None)
        raise UserError(f"{first}: names no image; give the images in order with --images FILE.npz, or --image-column")
    homes = dict.fromkeys(entry.folder for entry in entries)
    return [place for home in homes for place in (home, home / "images", home / "Images")]


def _read(entry: Captioned, folders: Iterable[Path], data: CaptionData) -> tuple[Pixels, list[str]]:
    name = entry.image
    if name is None:
        raise ImageError("names no image")
    tried = [name, name.rsplit("/", 1)[-1]]  # Karpathy's names carry a folder that need not be there
    path = next((f / n for f in folders for n in tried if (f / n).is_file()), None)
    if path is None:
        raise ImageError(f"{name}: missing")
    return prepare(path, name, data)


def _from_arrays(entries: Sequence[Captioned], data: CaptionData) -> Found[Pictures]:
    arrays = ImageArrays(Path(str(data.images)))
    places = _places(entries, arrays.names, len(arrays), f"--images {data.images}")
    pictures: list[Pixels] = []
    rows: list[int] = []
    bad: list[str] = []
    done: Counter[str] = Counter()
    for k, place in enumerate(places):
        remarks: list[str] = []
        try:
            if place is None:
                raise ImageError(f"{entries[k].image}: missing in {data.images}")
            pictures.append(_fitted(arrays[place], data, remarks))
        except ImageError as error:
            bad.append(f"{error} (named at {entries[k].where})")
            continue
        rows.append(k)
        done.update(remarks)
    notes = _judge(bad, len(entries), data.bad)
    notes += [f"{counted(count, 'image')}: {what}" for what, count in sorted(done.items())]
    if isinstance(pictures, list) and pictures and all(p.shape == pictures[0].shape for p in pictures):
        return Found(Pictures(np.stack(pictures)), rows, notes)
    return Found(Pictures(pictures), rows, notes)


def find_features(entries: Sequence[Captioned], data: CaptionData) -> Found[Features]:
    """The precomputed features of all entries.

    Raises:
        UserError: a file that is none or does not fit the captions; missing ones, unless they are to be skipped.
    """
    arrays = FeatureArrays(Path(str(data.features)))
    places = _places(entries, arrays.names, len(arrays), f"--features {data.features}")
    bad = [f"{e.image}: missing in {data.features}" for e, p in zip(entries, places, strict=True) if p is None]
    notes = _judge(bad, len(entries), data.bad)
    rows = [k for k, place in enumerate(places) if place is not None]
    return Found(Features([arrays[p] for p in places if p is not None], arrays.grid), rows, notes)


def _places(entries: Sequence[Captioned], names: list[str] | None, count: int, flag: str) -> list[int | None]:
    """Which array is of which entry: by name where both have names that meet, else by order."""
    if names is not None and all(entry.image is not None for entry in entries):
        index = {name: k for k, name in enumerate(names)}
        index |= {Path(name).stem.lstrip("0"): k for name, k in index.items() if Path(name).stem.lstrip("0")}
        tried = [(str(e.image), Path(str(e.image)).name, Path(str(e.image)).stem.lstrip("0")) for e in entries]
        found = [next((index[n] for n in some if n in index), None) for some in tried]
        if any(place is not None for place in found):
            return found
    if len(entries) != count:
        raise UserError(
            f"{flag}: {count:,} images, and the captions are of {len(entries):,}; they go by order and must be as "
            "many, or be named (names in the .npz, and a column of names)"
        )
    return list(range(count))


def _judge(bad: Sequence[str], count: int, rule: str) -> list[str]:
    """Refuse bad images, or a note where they may be left out and some are left."""
    if not bad:
        return []
    shown = "; ".join(bad[:SHOWN]) + (" ..." if len(bad) > SHOWN else "")
    told = f"{counted(len(bad), 'image')} of {count:,} cannot be used: {shown}"
    if rule == "error":
        raise UserError(f"{told}; put them right, or leave them out with --bad skip")
    if len(bad) == count:
        raise UserError(f"{told}; none is left: is --images the right folder?")
    return [f"left out: {told}"]
