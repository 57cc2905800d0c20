"""Intervals that are stretched by what earlier forecasts missed: nothing of the future enters, and they hold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.tasks.test_forecast_task import headless, of, task
from unrolled.tasks.forecast import calibration, metrics, rolling
from unrolled.tasks.forecast.config import ForecastPredict
from unrolled.tasks.forecast.rolling import Origin

ASKED = {"levels": (0.2, 0.8, 0.1, 0.9), "paths": 100, "seed": 1}


def walk(steps: int, wild: float = 1.0, seed: int = 1) -> np.ndarray:
    """A random walk whose last third moves ``wild`` times as far."""
    moves = np.random.default_rng(seed).normal(0, 1, steps)
    moves[-steps // 3 :] *= wild
    return moves.cumsum()


def plain_walk(wild: float, **data):
    t = task(of(walk(300, wild)), data={"season": 1, "steps_ahead": 6, "heldout": 0.33, "dev": 0.0, **data})
    return t, headless(t)


def test_an_interval_holds_what_it_says_after_the_series_has_become_wilder():
    t, net = plain_walk(3.0, origins=1000)
    found = t.report(net, "test", ForecastPredict())
    assert found.figures["coverage_plain"].value < 50
    assert 72 < found.figures["coverage"].value < 92
    same = t.report(net, "test", ForecastPredict(calibrate=0))
    assert same.figures["coverage"].value == found.figures["coverage_plain"].value
    assert "coverage_plain" not in same.figures
    assert same.figures["mase"] == found.figures["mase"]
    assert same.figures["pinball"].value > found.figures["pinball"].value


@pytest.mark.parametrize("model", [{}, {"transform": "sqrt"}, {"output": "quantile"}])
def test_the_stretching_by_hand(model):
    y = np.abs(walk(160, 2.0)) + 20
    y[120:123] = np.nan
    t = task(of(y), data={"season": 1, "steps_ahead": 6, "heldout": 0.3, "dev": 0.0, "missing": "mask"}, model=model)
    torch.manual_seed(1)
    net, H, window = t.build().double(), 6, 12
    places = [Origin(0, at) for at in range(125, 140)]
    found = calibration.forecast(net, t.frames, t.shape, places, H, **ASKED, window=window)
    every = [Origin(0, at) for at in range(60, 140)]
    own = rolling.forecast(net, t.frames, t.shape, every, H, levels=(*ASKED["levels"], 0.5), paths=100, seed=1)
    q, truth = t.shape.forward(own.quantiles[:, :, 0]), t.shape.forward(metrics.truths(t.frames, every, H)[..., 0])
    assert np.array_equal(found.plain[:, :, 0], own.quantiles[65:, :, 0, :4])
    for r, place in enumerate(places):
        for h in range(H):
            wanted = np.array([0, 0, 0, 0, q[65 + r, h, 4]])
            for low, high, share in ((0, 1, 0.6), (2, 3, 0.8)):
                scores, count = [], 0
                for g in range(max(0, h - 1), min(H, h + 2)):
                    known = [k for k, e in enumerate(every) if e.at + g < place.at][-window:]
                    count = len(known) if g == h else count
                    for k in known:
                        side = q[k, g, 4] - q[k, g, low] if truth[k, g] < q[k, g, 4] else q[k, g, high] - q[k, g, 4]
                        scores.append(abs(truth[k, g] - q[k, g, 4]) / side)
                scores = [s for s in scores if np.isfinite(s)]
                factor = np.quantile(scores, min(1.0, share * (count + 1) / count))
                wanted[[low, high]] = wanted[4] + factor * (q[65 + r, h, [low, high]] - wanted[4])
            wanted[[2, 0, 4, 1, 3]] = np.sort(wanted)  # the pairs' factors differ: they may have crossed
            assert np.allclose(found.quantiles[r, h, 0], t.shape.back(wanted[:4]), rtol=1e-9)


def test_nothing_of_the_future_enters():
    t, net = plain_walk(2.0)
    frame, at = t.frames[0], 250
    cut = {n: getattr(frame, n).copy() for n in ("y", "z", "d")}
    for array in cut.values():
        array[at:] = 1e6
    results = [
        calibration.forecast(net, [f], t.shape, [Origin(0, at)], 6, **ASKED, window=24)
        for f in (frame, dataclasses.replace(frame, **cut))
    ]
    assert np.array_equal(results[0].quantiles, results[1].quantiles)
    changed = dict(cut) | {"y": frame.y.copy()}
    changed["y"][at - 1] += 50  # the last value that is known
    other = calibration.forecast(
        net, [dataclasses.replace(frame, **changed)], t.shape, [Origin(0, at)], 6, **ASKED, window=24
    )
    assert not np.array_equal(results[0].quantiles, other.quantiles)


def test_where_little_is_known_the_interval_is_the_networks_own():
    t, net = plain_walk(1.0)
    early = [Origin(0, 8)]
    found = calibration.forecast(net, t.frames, t.shape, early, 6, **ASKED, window=24)
    assert np.allclose(found.quantiles, found.plain, rtol=1e-12)
    past_the_end = [Origin(0, len(t.frames[0].y))]
    assert np.isfinite(
        calibration.forecast(net, t.frames, t.shape, past_the_end, 6, **ASKED, window=24).quantiles
    ).all()
    without = calibration.forecast(net, t.frames, t.shape, early, 6, levels=(0.1, 0.9), paths=0, seed=1, window=24)
    assert without.plain is None


def test_quantiles_never_cross():
    t, net = plain_walk(3.0)
    places = [Origin(0, at) for at in range(220, 280, 3)]
    levels = (*metrics.LEVELS, 0.1, 0.9)
    found = calibration.forecast(net, t.frames, t.shape, places, 6, levels=levels, paths=60, seed=1, window=12)
    assert (np.diff(found.quantiles[..., :9], axis=-1) >= 0).all()
