"""The search for units on activations with a planted one, its null and its controls."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.errors import UserError
from unrolled.inspect.controls import contexts, linear_probe, local_cue
from unrolled.inspect.features import Feature, make_features
from unrolled.inspect.units import unit_probe

N = 2000


def slow(rng: np.random.Generator, columns: int, pace: float = 0.98) -> np.ndarray:
    """Units that change slowly, (N, columns)."""
    out = np.zeros((N, columns))
    for t in range(1, N):
        out[t] = pace * out[t - 1] + rng.normal(size=columns)
    return out.astype(np.float32)


def runs(rng: np.random.Generator, mean: int = 30) -> np.ndarray:
    """A two-valued feature in runs."""
    flips = rng.random(N) < 1 / mean
    return np.cumsum(flips) % 2 == 1


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_a_planted_unit_is_found_first_and_its_controls_are_not(rng):
    inside, depth = runs(rng), np.cumsum(rng.integers(-1, 2, N)).astype(float)
    states = {"h0": slow(rng, 40), "c0": slow(rng, 40)}
    states["c0"][:, 17] = -1.0 * inside + rng.normal(0, 0.1, N)  # low inside
    states["h0"][:, 3] = np.tanh(depth / 20) + rng.normal(0, 0.01, N)
    features = [Feature("inside", "inside", inside), Feature("depth", "depth", depth)]
    twin = {key: slow(rng, 40) for key in states}
    two, scalar = unit_probe(states, features, untrained=twin)
    assert (two.best[0].unit, two.best[0].sign) == ("c0.17", -1)
    assert two.best[0].score > 0.99
    assert two.p < 0.01
    assert (scalar.best[0].unit, scalar.best[0].sign) == ("h0.3", 1)
    assert scalar.best[0].score > 0.95
    for probe in (two, scalar):
        assert probe.twin is not None
        assert probe.best[1].score < probe.best[0].score - 0.2
        assert probe.twin.score < probe.best[0].score - 0.2
        assert probe.probe is not None
        assert probe.probe > 0.9
        assert probe.cue is None
    assert two.twin.score < two.null[-1]  # a control unit does not stand out


def test_unit_and_sign_are_chosen_on_the_first_half_alone(rng):
    inside = runs(rng)
    states = {"h0": rng.normal(size=(N, 4)).astype(np.float32)}
    states["h0"][: N // 2, 0] += 3.0 * inside[: N // 2]
    states["h0"][N // 2 :, 0] -= 1.0 * inside[N // 2 :]
    states["h0"][N // 2 :, 1] += 3.0 * inside[N // 2 :]
    (probe,) = unit_probe(states, [Feature("f", "f", inside)])
    assert (probe.best[0].unit, probe.best[0].sign) == ("h0.0", 1)
    assert probe.best[0].chosen_on > 0.95
    assert probe.best[0].score < 0.35  # the sign is not turned round, and the better unit is not taken
    assert probe.p == 1


def test_slow_units_without_any_tie_are_no_finding(rng):
    """An i.i.d. shuffle would call nearly every one of these significant."""
    chances = []
    for _ in range(12):
        states = {"h0": slow(rng, 30, 0.99)}
        (probe,) = unit_probe(states, [Feature("f", "f", runs(rng, 100))])
        chances.append(probe.p)
    assert sum(p < 0.05 for p in chances) <= 1


def test_the_last_three_characters_explain_what_they_explain(rng):
    text = "".join(rng.choice(list("ab cd"), N))
    units = list(text)
    after = make_features(["re:a..(?=.)"], units)[0].values  # inside a match of three characters from an a on
    assert local_cue(contexts(units), text_has(text, "a")) == pytest.approx(1.0)
    assert local_cue(contexts(units), after) > 0.9
    assert abs(local_cue(contexts(units), runs(rng))) < 0.15


def text_has(text: str, mark: str) -> np.ndarray:
    return np.array([c == mark for c in text])


def test_contexts_are_of_characters_whatever_the_units():
    assert contexts(["ab", "", "cde", "f"]) == ["ab", "ab", "cde", "def"]


def test_a_rare_context_leans_on_a_shorter_one(rng):
    """Behind 0mq and 1mq three characters are needed; behind other letters, where the feature is noisy, one is best."""
    pieces, feature = [], []
    while len(feature) < 6000:
        if rng.random() < 0.3:
            start = int(rng.integers(2))
            pieces.append(f"{start}mq")
            feature += [False, False, start == 1]
        else:
            letter = int(rng.integers(14))
            pieces.append(chr(ord("a") + letter) if letter < 12 else "YZ"[letter - 12])
            feature.append((letter % 2 == 0) == (rng.random() < 0.8))
    assert local_cue(contexts(list("".join(pieces))), np.array(feature)) > 0.895


def test_the_linear_probe_reads_what_no_single_unit_tells(rng):
    hidden = rng.normal(size=(N, 8))
    mixed = (hidden @ np.linalg.qr(rng.normal(size=(8, 8)))[0]).astype(np.float32)
    two, rank, nothing = linear_probe(mixed, [hidden[:, 2] > 0.3, np.exp(hidden[:, 5]), rng.random(N) < 0.5])
    assert two > 0.98
    assert rank > 0.95
    assert abs(nothing) < 0.15


def test_the_linear_probe_is_ridge_regression(rng):
    X, y = rng.normal(size=(N, 5)), rng.random(N) < 0.4
    X[:, 1] += y
    half = N // 2
    mean, spread = X[:half].mean(0), X[:half].std(0, ddof=1)
    Z = np.c_[(X - mean) / spread]
    w = np.linalg.lstsq(np.c_[Z[:half], np.ones(half)], y[:half].astype(float), rcond=None)[0]
    from unrolled.inspect.ranks import association

    assert linear_probe(X, [y])[0] == pytest.approx(association(Z[half:] @ w[:-1], y[half:]), abs=0.01)


def test_the_linear_probe_is_not_carried_away_by_cells_that_count(rng):
    inside = runs(rng)
    states = {"c0": np.cumsum(rng.normal(0, 3, (N, 60)), 0).astype(np.float32)}
    since = np.arange(N) - np.maximum.accumulate(np.where(inside, np.arange(N), 0))
    states["c0"][:, 5] = np.where(inside, -2.0, 2.0 + since)  # low inside, and counting up outside
    (probe,) = unit_probe(states, [Feature("f", "f", inside)])
    assert probe.best[0].unit == "c0.5"
    assert probe.probe is not None
    assert probe.probe > 0.95


def test_texts_too_short_and_features_that_do_not_vary_are_refused(rng):
    states = {"h0": rng.normal(size=(N, 4)).astype(np.float32)}
    with pytest.raises(UserError, match=r"a text of 400 units is too short.*at least 500"):
        unit_probe({"h0": states["h0"][:400]}, [Feature("f", "f", runs(rng)[:400])])
    with pytest.raises(UserError, match="f: it never holds in the second half"):
        unit_probe(states, [Feature("f", "f", runs(rng) & (np.arange(N) < N // 2))])
    with pytest.raises(ValueError, match="different lengths"):
        unit_probe(states, [Feature("f", "f", runs(rng)[:-1])])
