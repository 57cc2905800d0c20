"""All pictures of a data set, or their features, ready to be taken in batches."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from unrolled.data.cache import cache_folder
from unrolled.data.examples import Ragged
from unrolled.data.images import Pixels
from unrolled.errors import UserError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

WHITE = 255


@dataclasses.dataclass
class PictureBatch:
    """Pictures side by side.

    Attributes:
        pixels: uint8 (B, H, W, 3), white past a picture's own size.
        sizes: (B, 2) heights and widths; None where all have the size (H, W).
    """

    pixels: npt.NDArray[np.uint8]
    sizes: Ints | None


@dataclasses.dataclass
class FeatureBatch:
    """Features side by side: (S, B, F), zero past a row's length; lengths (B,), None where all are S long."""

    values: Floats
    lengths: Ints | None


class Pictures:
    """Pictures of one size, in one array; or each of its own size.

    Args:
        pictures: RGB (H, W, 3) each, or all at once (N, H, W, 3).
    """

    def __init__(self, pictures: Sequence[Pixels] | npt.NDArray[np.uint8]) -> None:
        first = pictures[0].shape if len(pictures) else (1, 1, 3)
        self.same = isinstance(pictures, np.ndarray) or all(p.shape == first for p in pictures)
        self._all = np.asarray(pictures) if self.same and len(pictures) else None
        self._each = pictures
        self.largest = (max(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures)) if len(pictures) else None

    def __len__(self) -> int:
        return len(self._each)

    def __getitem__(self, row: int) -> Pixels:
        return self._each[row]

    def take(self, rows: Sequence[int]) -> Pictures:
        """The pictures ``rows``, in that order."""
        return Pictures(self._all[list(rows)] if self._all is not None else [self._each[k] for k in rows])

    def batch(self, rows: npt.ArrayLike) -> PictureBatch:
        """The pictures ``rows`` (B,)."""
        chosen = np.asarray(rows, np.int64)
        if self._all is not None:
            return PictureBatch(self._all[chosen], None)
        each = [self._each[k] for k in chosen]
        sizes = np.array([p.shape[:2] for p in each], np.int64).reshape(-1, 2)
        H, W = sizes.max(0)
        pixels = np.full((len(each), H, W, 3), WHITE, np.uint8)
        for k, picture in enumerate(each):
            pixels[k, : picture.shape[0], : picture.shape[1]] = picture
        return PictureBatch(pixels, sizes)

    def digest(self) -> str:
        """Identifies the pictures and their order."""
        found = hashlib.blake2b(digest_size=16)
        for picture in self._each:
            found.update(picture_hash(picture).encode())
        return found.hexdigest()


class Features:
    """Features of pictures, (S_i, F) each; ``grid`` (h, w) where each is a grid of places, row by row."""

    def __init__(self, each: Sequence[Floats], grid: tuple[int, int] | None = None) -> None:
        self.width = each[0].shape[1] if len(each) else 1
        rows = Ragged.of(list(each), np.float32)
        self._rows, self.grid = rows, grid
        lengths = rows.lengths
        self.same = int(lengths[0]) if len(lengths) and (lengths == lengths[0]).all() else None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Floats:
        return self._rows[row]

    def take(self, rows: Sequence[int]) -> Features:
        """The features of the pictures ``rows``, in that order."""
        return Features([self._rows[k] for k in rows], self.grid)

    def batch(self, rows: npt.ArrayLike) -> FeatureBatch:
        """The features of the pictures ``rows`` (B,)."""
        values, lengths = self._rows.padded(rows)
        return FeatureBatch(values, None if self.same is not None else lengths)

    def digest(self) -> str:
        """Identifies the features and their order."""
        found = hashlib.blake2b(np.ascontiguousarray(self._rows.values).tobytes(), digest_size=16)
        found.update(self._rows.offsets.tobytes())
        return found.hexdigest()


def picture_hash(pixels: Pixels) -> str:
    """Identifies a picture by its pixels and its size."""
    found = hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16)
    found.update(repr(pixels.shape).encode())
    return found.hexdigest()


def cached_features(
    pictures: Pictures, encoder: str, compute: Callable[[list[Pixels]], list[Floats]], *, at_once: int = 32,
    folder: Path | None = None, progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Floats], int]:  # fmt: skip
    """Features of all pictures, computed once for each and kept on disk by the picture's hash and the encoder.

    They lie in the cache folder (``$UNROLLED_CACHE``) under ``features/``, a file for each, which may be deleted at
    any time. A damaged file is computed anew.

    Args:
        encoder: says everything that the features depend on but the picture.
        compute: features (S, F) of some pictures.
        progress: called with how many of how many are done.
    Returns:
        The features (S, F) of each, and how many were computed now.
    Raises:
        UserError: the disk is full or fails.
    """
    base, _ = cache_folder(folder)
    home = base / "features" / hashlib.blake2b(encoder.encode(), digest_size=12).hexdigest()
    names = [picture_hash(pictures[k]) for k in range(len(pictures))]
    found = {name: features for name in set(names) if (features := _kept(home, name)) is not None}
    missing = list({name: k for k, name in reversed(list(enumerate(names))) if name not in found}.items())
    for start in range(0, len(missing), at_once):
        some = missing[start : start + at_once]
        for (name, _), features in zip(some, compute([pictures[k] for _, k in some]), strict=True):
            found[name] = features
            _keep(home, name, features)
        if progress is not None:
            progress(min(start + at_once, len(missing)), len(missing))
    return [found[name] for name in names], len(missing)


def _kept(home: Path, name: str) -> Floats | None:
    path = home / name[:2] / f"{name}.npy"
    try:
        features: Floats = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fine = features.ndim == 2 and features.dtype == np.float32 and bool(np.isfinite(features).all())
    return features if fine else None


def _keep(home: Path, name: str, features: Floats) -> None:
    path = home / name[:2] / f"{name}.npy"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".new")
        with os.fdopen(handle, "wb") as file:
            np.save(file, np.asarray(features, np.float32))
        os.replace(aside, path)  # whole or not at all: another process may read it
    except OSError as error:
        raise UserError(
            f"cache {home}: {error.strerror or error}; make room there, or set UNROLLED_CACHE to another folder"
        ) from None
