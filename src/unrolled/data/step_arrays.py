"""Sequences of numbers with a label or a value at each step, from ``.npz`` files."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.examples import Ragged
from unrolled.data.text import open_source
from unrolled.errors import UserError

Array = NDArray[Any]


@dataclasses.dataclass
class StepArrays:
    """n sequences.

    Attributes:
        x: float32 (steps, I). y: (steps,) labels, strings, or float32 (steps, O) values.
        numbers: whether y holds values and no labels.
        label: a short name for people.
    """

    x: Ragged
    y: Ragged
    numbers: bool
    label: str
    notes: list[str] = dataclasses.field(default_factory=list)

    def keys(self) -> list[str]:
        """What names a sequence: equal inputs have equal keys."""
        return [hashlib.blake2b(self.x[k].tobytes(), digest_size=16).hexdigest() for k in range(len(self.x))]


def read_arrays(paths: Sequence[str], *, x: str = "x", y: str | None = "y", target: str = "auto") -> StepArrays:
    """Read files of the same kind, one after another.

    A file holds ``x`` (N, T, I), or (N, T) for I = 1, its targets ``y`` (N, T) or (N, T, O), and, where the sequences
    differ, ``lengths`` (N,); or all steps of all sequences in a row, ``x`` (S, I) and ``y`` (S,) or (S, O) with lengths
    that sum to S. Sequences of no step are left out.

    Args:
        x, y: names of the arrays; None for y: there are no targets, and zeros stand for them.
        target: "class", "number", or "auto": whole numbers and strings are classes.
    Raises:
        UserError: names the file, the array and the sequence.
    """
    source = open_source(paths)
    found = [_read_file(str(item.path or item.name), x, y, target) for item in source.items]
    first = found[0]
    for one, item in zip(found, source.items, strict=True):
        shapes = (first.x.values.shape[1:], first.y.values.shape[1:], first.numbers)
        if (one.x.values.shape[1:], one.y.values.shape[1:], one.numbers) != shapes:
            raise UserError(f"{item.name}: {_width(one)}, unlike {source.items[0].name}, {_width(first)}; "
                            "name files of one kind")  # fmt: skip
    inputs = Ragged(np.concatenate([one.x.values for one in found]), np.concatenate([one.x.lengths for one in found]))
    targets = Ragged(np.concatenate([one.y.values for one in found]), inputs.lengths)
    if not len(inputs):
        raise UserError(f"{source.label}: no sequences; give a file with some")
    return StepArrays(inputs, targets, first.numbers, source.label, source.notes)


def _read_file(path: str, x: str, y: str | None, target: str) -> StepArrays:
    arrays = _load(path, (x,) if y is None else (x, y))
    xs, lengths = arrays[x], arrays.get("lengths")
    if xs.dtype.kind not in "fiub":
        raise UserError(f"{path}: {x!r} holds {xs.dtype}; numbers are read")
    flat = lengths is not None and xs.ndim <= 2 and int(lengths.sum()) == len(xs)
    ys = np.zeros(xs.shape[: 1 if flat else 2], np.int64) if y is None else arrays[y]
    if flat and len(ys) != len(xs):
        raise UserError(f"{path}: {x!r} has {len(xs)} steps and {y!r} {len(ys)}; they must be as many")
    if not flat:
        if xs.ndim not in (2, 3) or ys.shape[:2] != xs.shape[:2] or ys.ndim > 3:
            raise UserError(f"{path}: {x!r} is {xs.shape} and {y!r} {ys.shape}; (N, T, I) and (N, T) go together, or "
                            "all steps in a row with 'lengths' that sum to their number")  # fmt: skip
        N, T = xs.shape[:2]
        lengths = np.full(N, T) if lengths is None else lengths
        _check_lengths(path, lengths, N, T)
        inside = np.arange(T) < lengths[:, None]
        xs, ys = xs.reshape(N, T, -1)[inside], ys[inside]
    assert lengths is not None
    inputs = Ragged(np.ascontiguousarray(xs.reshape(len(xs), -1), dtype=np.float32), lengths)
    _refuse_infinite(path, x, inputs.values, inputs)
    targets, numbers = _targets(path, y or "y", ys, target)
    if numbers:
        _refuse_infinite(path, y or "y", targets, inputs)
    kept = np.flatnonzero(inputs.lengths > 0)
    return StepArrays(inputs.take(kept), Ragged(targets, inputs.lengths).take(kept), numbers, path)


def _targets(path: str, y: str, ys: Array, target: str) -> tuple[Array, bool]:
    """Labels (steps,) as strings, or values (steps, O); and whether they are values."""
    if ys.dtype.kind not in "fiubSU":
        raise UserError(f"{path}: {y!r} holds {ys.dtype}; numbers or strings are read")
    if target == "number" or (target == "auto" and ys.dtype.kind == "f"):
        if ys.dtype.kind in "SU":
            raise UserError(f"{path}: {y!r} holds strings, which are no numbers; leave --target number out")
        return ys.reshape(len(ys), -1).astype(np.float32), True
    if ys.ndim > 1 and ys.shape[1:] != (1,):
        raise UserError(f"{path}: {y!r} has {ys.shape[1]} labels a step; one is learnt, or numbers (--target number)")
    if ys.dtype.kind == "f" and not (ys == np.round(ys)).all():
        raise UserError(f"{path}: {y!r} holds fractions, which are no classes; leave --target class out")
    labels = ys.reshape(len(ys))
    return (labels.astype(np.int64) if labels.dtype.kind in "fb" else labels).astype(str), False


def _load(path: str, wanted: Sequence[str]) -> dict[str, Array]:
    try:
        with open(path, "rb") as raw:  # numpy leaves a damaged file open
            file = np.load(raw, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise UserError(f"{path}: a single array; give an .npz with {wanted[0]!r} and {wanted[-1]!r}")
            missing = next((name for name in wanted if name not in file.files), None)
            if missing is not None:
                raise UserError(f"{path}: no array {missing!r}; it holds {', '.join(file.files)} (--words names the "
                                "input, --tag the target)")  # fmt: skip
            found = {name: np.asarray(file[name]) for name in (*wanted, "lengths") if name in file.files}
    except UserError:
        raise
    except ValueError:
        raise UserError(f"{path}: holds Python objects, which are not read; save plain arrays, padded to (N, T, I), "
                        "and 'lengths'") from None  # fmt: skip
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz file ({error}); save it again with numpy.savez") from None
    lengths = found.get("lengths")
    if lengths is not None and (lengths.ndim != 1 or lengths.dtype.kind not in "iu"):
        raise UserError(f"{path}: 'lengths' is {lengths.dtype} {lengths.shape}; whole numbers (N,) are read")
    return found


def _check_lengths(path: str, lengths: Array, N: int, T: int) -> None:
    if len(lengths) != N:
        raise UserError(f"{path}: {len(lengths)} lengths for {N} sequences; they must be as many")
    wrong = np.flatnonzero((lengths < 0) | (lengths > T))
    if len(wrong):
        raise UserError(f"{path}: sequence {wrong[0]} has length {lengths[wrong[0]]}, and there are {T} steps")


def _refuse_infinite(path: str, name: str, values: Array, of: Ragged) -> None:
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
    if len(bad):
        row = int(np.searchsorted(of.offsets, bad[0], side="right")) - 1
        step = int(bad[0] - of.offsets[row])
        raise UserError(f"{path}: {name!r} is not finite in {len(bad)} steps, the first: sequence {row}, step {step}; "
                        "fill or leave out what is missing")  # fmt: skip


def _width(one: StepArrays) -> str:
    return f"{one.x.values.shape[1]} inputs and {'numbers' if one.numbers else 'a class'} a step"
