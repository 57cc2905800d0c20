"""Sequences of numbers with a target at each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled.data.step_arrays import StepArrays, read_arrays
from unrolled.errors import UserError


def read(tmp_path: Path, options: dict[str, Any] | None = None, **arrays: Any) -> StepArrays:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    return read_arrays([str(path)], **(options or {}))


X = np.arange(24.0).reshape(2, 3, 4)


def test_padded_with_and_without_lengths(tmp_path: Path) -> None:
    y = np.array([[1, 0, 1], [0, 0, 2]])
    found = read(tmp_path, x=X, y=y)
    assert found.x.lengths.tolist() == [3, 3]
    assert found.y.values.tolist() == ["1", "0", "1", "0", "0", "2"]
    found = read(tmp_path, x=X, y=y, lengths=[2, 0])  # a sequence of no step is left out
    assert (found.x[0] == X[0, :2]).all()
    assert found.x.lengths.tolist() == [2]


def test_steps_in_a_row_are_the_same(tmp_path: Path) -> None:
    y = np.array(["a", "b", "a", "c"])
    found = read(tmp_path, x=np.arange(8.0).reshape(4, 2), y=y, lengths=[1, 3])
    assert found.x[1].tolist() == [[2, 3], [4, 5], [6, 7]]
    assert found.y[1].tolist() == ["b", "a", "c"]


def test_values(tmp_path: Path) -> None:
    found = read(tmp_path, x=X[:, :, 0], y=X[:, :, 1])
    assert found.numbers
    assert found.y.values.shape == (6, 1)
    assert read(tmp_path, {"target": "number"}, x=X, y=np.ones((2, 3), int)).numbers
    assert read(tmp_path, x=X, y=X[:, :, :2]).y.values.shape == (6, 2)


def test_keys_are_equal_where_the_inputs_are(tmp_path: Path) -> None:
    found = read(tmp_path, x=np.stack([X[0], X[1], X[0]]), y=np.arange(9).reshape(3, 3))
    a, b, c = found.keys()
    assert a == c != b


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X}, r"no array 'y'; it holds x .--words names the input, --tag the target"),
        ({"x": X, "y": np.zeros((2, 2), int)}, r"'x' is \(2, 3, 4\) and 'y' \(2, 2\)"),
        ({"x": X, "y": np.zeros((2, 3), int), "lengths": [1, 4]}, r"sequence 1 has length 4, and there are 3 steps"),
        ({"x": X, "y": np.zeros((2, 3), int), "lengths": [1]}, r"1 lengths for 2 sequences"),
        ({"x": X, "y": np.zeros((2, 3), int), "lengths": [1.5, 2]}, r"lengths must be one whole number a sequence"),
        (
            {"x": np.where(X == 17, np.nan, X), "y": np.zeros((2, 3), int)},
            r"a.npz\[1\]: not a finite number at step 1 of x",
        ),
        ({"x": X, "y": np.where(X[:, :, 0] == 4, np.inf, 1.0)}, r"a.npz\[0\]: not a finite number at step 1 of y"),
        ({"x": X, "y": np.array([["a", "b", "c"]] * 2, object)}, r"Python objects.*save plain arrays"),
        ({"x": X.astype(str), "y": np.zeros((2, 3), int)}, r"x holds <U32, not numbers"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(tmp_path, **arrays)


def test_a_fraction_is_no_class_and_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fractions, which are no classes"):
        read(tmp_path, {"target": "class"}, x=X, y=X[:, :, 0] / 3)
    with pytest.raises(UserError, match="strings, which are no numbers"):
        read(tmp_path, {"target": "number"}, x=X, y=np.full((2, 3), "a"))
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(UserError, match=r"b\.npz: not a readable"):
        read_arrays([str(tmp_path / "b.npz")])
    np.save(tmp_path / "c.npy", X)
    with pytest.raises(UserError, match="a single array"):
        read_arrays([str(tmp_path / "c.npy")])
