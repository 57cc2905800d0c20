"""Figures against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.tasks.metrics import (
    bootstrap_interval,
    class_scores,
    confusion,
    confusion_text,
    edit_distance,
    f1,
    macro_f1,
    mean_interval,
    paired_bootstrap,
    ratio_interval,
    wilson,
)


def test_wilson() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    assert wilson(0, 0) == (0.0, 1.0)


def test_mean_interval() -> None:
    mean, (low, high) = mean_interval([1.0, 2.0, 3.0])
    assert (mean, high - mean) == pytest.approx((2.0, 1.95996 / 3**0.5), abs=1e-4)
    assert mean - low == pytest.approx(high - mean)
    assert mean_interval([4.0]) == (4.0, (-np.inf, np.inf))


def test_ratio_interval() -> None:
    values = [1.0, 2.0, 3.0]
    assert ratio_interval(values, [1, 1, 1]) == pytest.approx(mean_interval(values)[1])  # equal counts: the mean's
    low, high = ratio_interval([2.0, 9.0, 0.0], [2, 6, 0])  # what has no units counts nowhere
    residuals = np.array([2 - 2 * 11 / 8, 9 - 6 * 11 / 8])
    half = 1.959964 * np.sqrt(2 * (residuals**2).sum()) / 8
    assert (low, high) == pytest.approx((11 / 8 - half, 11 / 8 + half))
    assert ratio_interval([3.0], [2]) == (-np.inf, np.inf)


def test_confusion_and_f1() -> None:
    matrix = confusion([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 1], 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    scores = class_scores(matrix)
    assert scores["precision"].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert scores["recall"].tolist() == pytest.approx([2 / 3, 1 / 2, 0, 0])
    assert scores["f1"].tolist() == pytest.approx([2 / 3, 0.4, 0, 0])
    assert macro_f1(matrix) == pytest.approx((2 / 3 + 0.4 + 0) / 3)  # the fourth class does not occur
    assert f1(2, 3, 4) == pytest.approx(4 / 7)
    assert f1(0, 0, 0) == 0.0


def test_edit_distance() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance([], [1, 2]) == edit_distance([1, 2], []) == 2
    assert edit_distance([1, 2, 3], [1, 2, 3]) == 0


def test_the_bootstrap_finds_a_difference_and_none() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.random(500) < 0.7, rng.random(500) < 0.5
    assert paired_bootstrap(lambda r: good[r].mean(), lambda r: bad[r].mean(), 500) < 0.01
    assert paired_bootstrap(lambda r: bad[r].mean(), lambda r: bad[r].mean(), 500) == 1.0
    low, high = bootstrap_interval(lambda r: float(good[r].mean()), 500)
    assert (low, high) == pytest.approx(wilson(int(good.sum()), 500), abs=0.01)


def test_the_confusion_matrix_as_text() -> None:
    text = confusion_text([[3, 1], [0, 22]], ["cat", "elephantine"])
    assert text.splitlines() == ["             cat elepha", "cat            3      1", "elephantine    .     22"]
    assert len(confusion_text(np.eye(30, dtype=int), [str(k) for k in range(30)], most=5).splitlines()) == 6
