"""Images and features that lie in one array file: ``.npy``, ``.npz``, HDF5; of one size or ragged.

Forms of an image file: one array (N, H, W) or (N, H, W, C), in ``.npz`` named ``images`` or the only one; ragged:
``pixels`` (all of them, one after another), ``height`` and ``width`` (N,), perhaps ``offset`` (N,) and ``channels``;
or one array for each image, under its name. ``names`` or ``ids`` (N,) say which image is which.

Forms of a feature file: one array (N, F), (N, S, F) or (N, h, w, F), named ``features`` or the only one; ragged:
``features`` (all S_i, F) with ``lengths`` (N,); or one array (S_i, F) for each image, under its name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.data.images import Pixels, from_array
from unrolled.errors import UserError

Array = npt.NDArray[Any]

IMAGE_SUFFIXES = frozenset((".npy", ".npz"))
FEATURE_SUFFIXES = frozenset((".npy", ".npz", ".h5", ".hdf5"))
_NAMES = ("names", "ids", "file_names")


class ImageArrays:
    """The images of an array file, by number; ``names`` where the file gives them.

    Raises:
        UserError: no such file, a damaged one, or one of none of the forms above.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        arrays = _load(path, IMAGE_SUFFIXES)
        self.names = _names(arrays, path)
        body = {key: value for key, value in arrays.items() if key not in _NAMES}
        self._ragged: tuple[Array, Array, Array, Array, int] | None = None
        self._images: Any = None
        if "pixels" in body:
            self._ragged = _ragged(body, path)
            self._count = len(self._ragged[1])
        elif "images" in body or len(body) == 1:
            self._images = body.get("images", next(iter(body.values())))
            if self._images.ndim not in (3, 4):
                raise UserError(f"{path}: an array of shape {self._images.shape}; images are (N, H, W) or (N, H, W, C)")
            self._count = len(self._images)
        else:
            self.names, self._images = list(body), list(body.values())
            self._count = len(body)
        if self.names is not None and len(self.names) != self._count:
            raise UserError(f"{path}: {len(self.names):,} names for {self._count:,} images; correct the file")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Pixels:
        """RGB (H, W, 3).

        Raises:
            ImageError: of a shape or range that no image has.
        """
        name = f"{self.path}, image {index}"
        if self._ragged is None:
            return from_array(np.asarray(self._images[index]), name)
        pixels, height, width, offset, channels = self._ragged
        h, w, at = int(height[index]), int(width[index]), int(offset[index])
        return from_array(pixels[at : at + h * w * channels].reshape(h, w, channels), name)


def _ragged(body: Mapping[str, Array], path: Path) -> tuple[Array, Array, Array, Array, int]:
    for key in ("height", "width"):
        if key not in body or body[key].ndim != 1 or body[key].dtype.kind not in "iu":
            raise UserError(f"{path}: has pixels but no whole numbers {key} (N,); ragged images need both")
    pixels, height, width = body["pixels"].reshape(-1), body["height"], body["width"]
    channels = int(body["channels"]) if "channels" in body else 1
    if len(height) != len(width):
        raise UserError(f"{path}: {len(height):,} heights and {len(width):,} widths; correct the file")
    sizes = height.astype(np.int64) * width * channels
    offset = body["offset"] if "offset" in body else np.cumsum(sizes) - sizes
    if len(offset) != len(height) or (len(sizes) and (sizes.min() < 1 or offset.min() < 0)):
        raise UserError(f"{path}: heights, widths and offsets do not fit each other; correct the file")
    if len(sizes) and int((offset + sizes).max()) > len(pixels):
        raise UserError(f"{path}: {len(pixels):,} pixels, but heights and widths ask for more; the file is cut short")
    return pixels, height, width, offset, channels


class FeatureArrays:
    """Precomputed features of an array file: of each image (S, F) float32; ``grid`` (h, w) where all have one.

    Raises:
        UserError: no such file, a damaged one, of none of the forms above, or HDF5 without ``h5py``.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.grid = path, None
        arrays = _load(path, FEATURE_SUFFIXES)
        self.names = _names(arrays, path)
        body = {key: value for key, value in arrays.items() if key not in (*_NAMES, "lengths")}
        if not ("features" in body or len(body) == 1):
            self.names, self._each = list(body), [self._flat(value, key) for key, value in body.items()]
        else:
            whole = body.get("features", next(iter(body.values()), np.zeros(0)))
            if "lengths" in arrays:
                lengths = arrays["lengths"].astype(np.int64)
                if whole.ndim != 2 or lengths.ndim != 1 or lengths.min(initial=1) < 1 or lengths.sum() != len(whole):
                    raise UserError(f"{path}: lengths do not add up to the {len(whole):,} rows of its features")
                self._each = np.split(self._flat(whole, "features"), np.cumsum(lengths)[:-1])
            else:
                if whole.ndim not in (2, 3, 4) or 0 in whole.shape:
                    raise UserError(f"{path}: features of shape {whole.shape}; (N, F), (N, S, F) or (N, h, w, F) is")
                self.grid = (whole.shape[1], whole.shape[2]) if whole.ndim == 4 else None
                flat = self._flat(whole.reshape(-1, whole.shape[-1]), "features")
                self._each = list(flat.reshape(len(whole), -1, whole.shape[-1]))
        if not self._each:
            raise UserError(f"{path}: holds no features")
        if self.names is not None and len(self.names) != len(self._each):
            raise UserError(f"{path}: {len(self.names):,} names for {len(self._each):,} features; correct the file")
        widths = {one.shape[1] for one in self._each}
        if len(widths) > 1:
            raise UserError(f"{path}: features of {len(widths)} different widths; all must have one")
        self.width = widths.pop()

    def _flat(self, array: Array, key: str) -> npt.NDArray[np.float32]:
        flat = np.asarray(array, np.float32) if array.dtype.kind in "iuf" else None
        if flat is None or flat.ndim == 0 or flat.size == 0:
            raise UserError(f"{self.path}: {key!r} is {array.dtype} of shape {array.shape}, not features")
        flat = flat.reshape(-1, flat.shape[-1])
        if not np.isfinite(flat).all():
            raise UserError(f"{self.path}: {key!r} holds NaN or infinity; correct the features")
        return flat

    def __len__(self) -> int:
        return len(self._each)

    def __getitem__(self, index: int) -> npt.NDArray[np.float32]:
        return self._each[index]


def _names(arrays: Mapping[str, Array], path: Path) -> list[str] | None:
    for key in _NAMES:
        if key in arrays and len(arrays) > 1:
            values = arrays[key].reshape(-1).tolist()
            return [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values]
    return None


def _load(path: Path, suffixes: frozenset[str]) -> dict[str, Array]:
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise UserError(f"{path}: not one of {', '.join(sorted(suffixes))}")
    if not path.is_file():
        raise UserError(f"{path}: no such file; name another")
    try:
        if suffix == ".npy":
            return {"images": np.load(path, mmap_mode="r", allow_pickle=False)}
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as found:
                return {key: found[key] for key in found.files}
        with _hdf5(path) as found:
            return _datasets(found)
    except UserError:
        raise
    except ValueError as error:
        if "pickle" in str(error):
            raise UserError(
                f"{path}: holds Python objects, which are not read; save ragged images as pixels, height and width"
            ) from None
        raise UserError(f"{path}: damaged ({error})") from None
    except Exception as error:  # zip, zlib and HDF5 have errors of their own
        raise UserError(f"{path}: cannot be read ({error or type(error).__name__})") from None


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    try:
        import h5py  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise UserError(f"{path}: HDF5 needs h5py; pip install h5py, or save the features as .npy") from None
    with h5py.File(path, "r") as found:
        yield found


def _datasets(group: Any, prefix: str = "") -> dict[str, Array]:
    """All datasets of an HDF5 file by their path."""
    found: dict[str, Array] = {}
    for key, value in group.items():
        found |= _datasets(value, f"{prefix}{key}/") if hasattr(value, "items") else {prefix + key: np.asarray(value)}
    return found
