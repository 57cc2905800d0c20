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


def sequences(x: Array, lengths: Array | None, name: str, what: str = "x") -> tuple[Ragged, NDArray[np.bool_] | None]:
    """Numbers (N, T, I), or (N, T) for I = 1, as sequences; or all steps in a row, (S, I), with lengths that sum to S.

    Args:
        lengths: (N,); None where all are T long.
        name, what: the file and the array, for messages.
    Returns:
        The sequences, float32 (steps, I), and which of the (N, T) steps they are; None for steps in a row.
    Raises:
        UserError: other shapes, or a step that is not finite.
    """
    if x.dtype.kind not in "biuf":
        raise UserError(f"{name}: {what} holds {x.dtype}, not numbers; save plain numbers")
    if lengths is not None and (lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any()):
        raise UserError(f"{name}: lengths must be one whole number a sequence")
    inside = None
    if lengths is not None and x.ndim <= 2 and len(lengths) != len(x) and lengths.sum() == len(x):
        ragged = Ragged(np.ascontiguousarray(x.reshape(len(x), -1), np.float32), lengths)
    elif x.ndim in (2, 3):
        N, T = x.shape[:2]
        own = np.full(N, T) if lengths is None else lengths.astype(np.int64)
        if len(own) != N:
            raise UserError(f"{name}: {len(own)} lengths for {N} sequences; they must be as many")
        if (own > T).any():
            row = int(np.argmax(own > T))
            raise UserError(f"{name}: sequence {row} has length {own[row]}, and there are {T} steps")
        inside = np.arange(T) < own[:, None]
        ragged = Ragged(x.reshape(N, T, -1)[inside].astype(np.float32), own)
    else:
        raise UserError(f"{name}: {what} has shape {x.shape}; sequences are (N, T, I) or (N, T)")
    refuse_infinite(ragged, name, what)
    return ragged, inside


def refuse_infinite(found: Ragged, name: str, what: str) -> None:
    """Raises UserError where a step is not finite, with its sequence."""
    bad = ~np.isfinite(found.values).reshape(len(found.values), -1).all(1)
    if bad.any():
        step = int(np.argmax(bad))
        row = int(np.searchsorted(found.offsets, step, "right")) - 1
        at = f"{name}[{row}]: not a finite number at step {step - found.offsets[row]} of {what}"
        raise UserError(f"{at} (such steps: {int(bad.sum()):,}); fill it in first")


def _read_file(path: str, x: str, y: str | None, target: str) -> StepArrays:
    arrays = _load(path, (x,) if y is None else (x, y))
    inputs, inside = sequences(arrays[x], arrays.get("lengths"), path, x)
    if y is None:
        labels = np.zeros(len(inputs.values), np.int64)
    else:
        labels = arrays[y]
        wanted = (len(inputs.values),) if inside is None else inside.shape
        if labels.shape[: len(wanted)] != wanted or labels.ndim > len(wanted) + 1:
            sizes = f"{x!r} is {arrays[x].shape} and {y!r} {labels.shape}"
            raise UserError(f"{path}: {sizes}; give a target for each step, (N, T), or {wanted} here")
        labels = labels if inside is None else labels[inside]
    values, numbers = _targets(path, y or "y", labels, target)
    targets = Ragged(values, inputs.lengths)
    if numbers:
        refuse_infinite(targets, path, y or "y")
    kept = np.flatnonzero(inputs.lengths > 0)
    return StepArrays(inputs.take(kept), targets.take(kept), numbers, path)


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
    return found


def _width(one: StepArrays) -> str:
    return f"{one.x.values.shape[1]} inputs and {'numbers' if one.numbers else 'a class'} a step"
