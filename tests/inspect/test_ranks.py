"""AUC, Spearman's rho and their circular shifts, against the definitions counted out pair by pair."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.inspect.ranks import FEWEST_POSITIONS, FEWEST_SHIFTS, association, associations, midranks


def naive_auc(score: np.ndarray, feature: np.ndarray) -> float:
    wins = [(a > b) + 0.5 * (a == b) for a in score[feature] for b in score[~feature]]
    return float(np.mean(wins))


def naive_ranks(values: np.ndarray) -> np.ndarray:
    return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])


def naive_rho(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(naive_ranks(a), naive_ranks(b))[0, 1])


@pytest.fixture
def units() -> np.ndarray:
    """Some with many ties, some without."""
    rng = np.random.default_rng(0)
    return np.concatenate((rng.integers(0, 4, (50, 3)).astype(float), rng.normal(size=(50, 3))), 1)


def test_ranks_share_the_mean_where_values_are_equal(units):
    for column in units.T:
        np.testing.assert_array_equal(midranks(column), naive_ranks(column))


def test_auc_is_the_share_of_pairs_in_the_right_order(units):
    feature = np.random.default_rng(1).random(50) < 0.3
    found, _ = associations(units, [feature])
    expected = [2 * naive_auc(column, feature) - 1 for column in units.T]
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-12)


def test_rho_is_the_correlation_of_ranks(units):
    feature = np.random.default_rng(2).integers(0, 6, 50).astype(float)
    found, _ = associations(units, [feature])
    np.testing.assert_allclose(found[0], [naive_rho(column, feature) for column in units.T], rtol=0, atol=1e-12)


def test_the_null_is_the_largest_score_of_any_unit_at_each_shift(units):
    binary = np.random.default_rng(1).random(50) < 0.3
    scalar = np.random.default_rng(2).integers(0, 6, 50).astype(float)
    _, null = associations(units, [binary, scalar], shifts=True)
    shifts = range(50 // 20, 50 - 50 // 20 + 1)
    assert [len(row) for row in null] == [len(shifts)] * 2
    for row, feature, score in ((null[0], binary, lambda u, f: 2 * naive_auc(u, f) - 1), (null[1], scalar, naive_rho)):
        expected = [max(abs(score(u, np.roll(feature, s))) for u in units.T) for s in shifts]
        np.testing.assert_allclose(row, expected, rtol=0, atol=1e-10)


def test_units_are_searched_in_blocks(monkeypatch, units):
    feature = np.random.default_rng(1).random(50) < 0.3
    whole = associations(units, [feature], shifts=True)
    monkeypatch.setattr("unrolled.inspect.ranks._COLUMNS_AT_ONCE", 4)
    parts = associations(units, [feature], shifts=True)
    np.testing.assert_allclose(parts[0], whole[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(parts[1][0], whole[1][0], rtol=0, atol=1e-12)


def test_a_constant_unit_follows_nothing():
    feature = np.arange(60) % 3 == 0
    assert association(np.full(60, 0.1), feature) == 0
    assert association(np.full(60, 0.1), np.arange(60.0)) == 0


@pytest.mark.parametrize("n", [FEWEST_POSITIONS, FEWEST_POSITIONS + 1, 1000])
def test_there_are_always_enough_shifts(n):
    _, null = associations(np.random.default_rng(0).normal(size=(n, 1)), [np.arange(n) % 2 == 0], shifts=True)
    assert len(null[0]) >= FEWEST_SHIFTS
