"""Sequences of numbers with labels: ``.npz``, pairs of ``.npy``, and the idx files of MNIST. Nothing is unpickled."""

from __future__ import annotations

import gzip
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.examples import Ragged
from unrolled.data.step_arrays import sequences
from unrolled.errors import UserError
from unrolled.tasks.classify.recognise import is_idx

X_NAMES = ("x", "inputs", "data", "sequences", "series", "images")
Y_NAMES = ("y", "labels", "label", "targets", "target", "classes")
Read = tuple[Ragged, list[Any], list[str], str, int]
"""Sequences (T, I) of float32, their labels, where each stands, a name for people, and the size of an own test part."""
IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def are_arrays(paths: Sequence[str]) -> bool:
    """Whether all of them are read here."""
    found = [Path(p) for p in paths]
    return all(p.suffix.lower() in (".npz", ".npy") or is_idx(p) or (p.is_dir() and _idx_files(p)) for p in found)


def read(paths: Sequence[str]) -> Read:
    """Labelled sequences.

    ``.npz``: an array named x (N, T, I) or (N, T), one named y (N,), and, for sequences of different lengths,
    either ``lengths`` (N,) of the padded x, or x (steps of all, I) with ``lengths`` that sum to its steps. ``.npy``: x
    and y, two files in this order. A folder or files of idx: images as sequences of their pixels in [0, 1], row by row;
    ``t10k-*`` is their own test part.

    Raises:
        UserError: names the file and the array that does not fit.
    """
    first = Path(paths[0])
    if first.is_dir() or is_idx(first):
        files = sorted(f for p in paths for f in (_idx_files(Path(p)) if Path(p).is_dir() else [Path(p)]))
        return _idx(files, first)
    if first.suffix.lower() == ".npz":
        if len(paths) > 1:
            raise UserError(f"{paths[1]}: one .npz at a time; join them, or give --test-file")
        return _npz(first)
    if len(paths) != 2:
        raise UserError(f"{first}: sequences and labels are two .npy files: give X.npy Y.npy, or one .npz with x and y")
    x, y = (_load(Path(p)) for p in paths)
    return _pair(x, y, None, first.name)


def load_sequences(path: Path) -> Ragged:
    """The sequences of a file without labels, for prediction: ``.npy`` (T, I), (N, T, I), ``.npz``, or idx images."""
    if is_idx(path):
        return _pixels(_idx_array(path), path.name)
    if path.suffix.lower() == ".npz":
        held = _archive(path)
        return sequences(_named(held, X_NAMES, path), held.get("lengths"), path.name)[0]
    array = _load(path)
    return sequences(array[None] if array.ndim == 2 else array, None, path.name)[0]


def _load(path: Path) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read as .npy ({error}); save plain numbers with numpy.save") from None
    return found


def _archive(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as held:
            return {name.lower(): held[name] for name in held.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read as .npz ({error}); save plain arrays with numpy.savez") from None


def _named(held: dict[str, NDArray[Any]], names: Sequence[str], path: Path) -> NDArray[Any]:
    found = next((held[name] for name in names if name in held), None)
    if found is None:
        raise UserError(f"{path}: no array named {names[0]} (or {', '.join(names[1:])}); it has {', '.join(held)}")
    return found


def _npz(path: Path) -> Read:
    held = _archive(path)
    return _pair(_named(held, X_NAMES, path), _named(held, Y_NAMES, path), held.get("lengths"), path.name)


def _pair(x: NDArray[Any], y: NDArray[Any], lengths: NDArray[Any] | None, name: str) -> Read:
    found = sequences(x, lengths, name)[0]
    if y.ndim == 2 and y.shape[1] > 1:  # one column a label
        labels: list[Any] = [[str(k) for k in np.flatnonzero(row)] for row in y]
    elif y.ndim == 1 or y.ndim == 2:
        labels = [int(v) if isinstance(v, np.bool_) else v.item() for v in y.reshape(-1)]
    else:
        raise UserError(f"{name}: y has shape {y.shape}; one label a sequence, (N,), or (N, K) of 0 and 1")
    if len(labels) != len(found):
        raise UserError(f"{name}: {len(found)} sequences and {len(labels)} labels; give one for each")
    return found, labels, [f"{name}[{k}]" for k in range(len(labels))], name, 0


# -- idx ---------------------------------------------------------------------------------------------------------------


def _idx_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if is_idx(p))


def _idx_array(path: Path) -> NDArray[Any]:
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}); fetch it again") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES or len(data) < 4 + 4 * data[3]:
        raise UserError(f"{path}: no idx file; fetch it again")
    shape = struct.unpack(f">{data[3]}I", data[4 : 4 + 4 * data[3]])
    kind = np.dtype(IDX_TYPES[data[2]])
    if len(data) - 4 - 4 * data[3] != int(np.prod(shape, dtype=np.int64)) * kind.itemsize:
        raise UserError(f"{path}: truncated: its head promises {' x '.join(map(str, shape))} values; fetch it again")
    return np.frombuffer(data, kind, offset=4 + 4 * data[3]).reshape(shape)


def _pixels(images: NDArray[Any], name: str) -> Ragged:
    if images.ndim < 2:
        raise UserError(f"{name}: labels, no images; give the images too")
    N = len(images)
    scale = np.float32(1 / 255 if images.dtype == np.uint8 else 1)
    steps = images.reshape(N, -1)
    return Ragged((steps.reshape(-1, 1) * scale).astype(np.float32), np.full(N, steps.shape[1]))


def _idx(files: list[Path], named: Path) -> Read:
    images = [f for f in files if "images" in f.name]
    if not images:
        raise UserError(f"{named}: no idx images (…-images-idx3-ubyte); give images and labels")
    images.sort(key=lambda f: f.name.startswith("t10k"))  # their own test part at the end
    values, labels, where, test = [], [], [], 0
    for path in images:
        wanted = path.name.replace("images-idx3", "labels-idx1").removesuffix(".gz")
        beside = [path.with_name(wanted), path.with_name(f"{wanted}.gz")]
        partner = next((f for f in [*files, *beside] if f.name.removesuffix(".gz") == wanted and f.is_file()), None)
        if partner is None:
            raise UserError(f"{path}: its labels {wanted} are not there; put them beside it")
        x, y = _pixels(_idx_array(path), path.name), _idx_array(partner)
        if len(x) != len(y):
            raise UserError(f"{path}: {len(x)} images and {len(y)} labels in {partner.name}; fetch them again")
        values.append(x)
        labels += [str(int(v)) for v in y]
        where += [f"{path.name}[{k}]" for k in range(len(y))]
        test += len(y) if path.name.startswith("t10k") and len(images) > 1 else 0
    joined = Ragged(np.concatenate([v.values for v in values]), np.concatenate([v.lengths for v in values]))
    return joined, labels, where, named.name, test
