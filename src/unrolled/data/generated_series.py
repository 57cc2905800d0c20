"""Series made here, so that forecasting works with nothing else on the machine: Mackey-Glass and seasonal sums."""

from __future__ import annotations

import math

import numpy as np

from unrolled.data.series import SeriesSet
from unrolled.data.series_columns import Floats, Series
from unrolled.data.timeline import ROWS

PERIOD = 24
"""The season of the seasonal sums, in steps."""


def mackey_glass(steps: int, seed: int, *, tau: float = 17.0, every: int = 2, dt: float = 0.1) -> Floats:
    """``dx/dt = 0.2 x(t-tau) / (1 + x(t-tau)^10) - 0.1 x(t)``, chaotic for tau of 17 (Mackey & Glass 1977).

    Runge-Kutta's fourth order with the delayed value held at its two ends and their mean, from a constant past drawn
    by ``seed``; the first 500 units of time are thrown away.

    Args:
        steps: T. every: units of time between two steps. dt: the solver's step.
    Returns:
        (T,)
    """
    delay, skip, stride = round(tau / dt), round(500 / dt), round(every / dt)
    x = np.empty(skip + steps * stride + delay + 1)
    x[: delay + 1] = np.random.default_rng(seed).uniform(0.5, 1.2)

    def slope(now: float, then: float) -> float:
        return 0.2 * then / (1.0 + then**10) - 0.1 * now

    for k in range(delay, len(x) - 1):
        now, then, after = float(x[k]), float(x[k - delay]), float(x[k - delay + 1])
        middle = 0.5 * (then + after)
        a = slope(now, then)
        b = slope(now + 0.5 * dt * a, middle)
        c = slope(now + 0.5 * dt * b, middle)
        d = slope(now + dt * c, after)
        x[k + 1] = now + dt * (a + 2 * b + 2 * c + d) / 6.0
    made: Floats = x[delay + skip + 1 :: stride][:steps].copy()
    return made


def seasonal_sum(steps: int, seed: int) -> Floats:
    """A level that wanders, a wave of period 24 with two overtones whose strength drifts, and noise: (T,)."""
    rng = np.random.default_rng(seed)
    t = np.arange(steps)
    level = np.cumsum(rng.normal(0.0, 0.05, steps))
    strength = 1.0 + 0.5 * np.sin(2 * math.pi * t / rng.uniform(200, 500) + rng.uniform(0, 6))
    waves = sum(
        size * np.sin(2 * math.pi * k * t / PERIOD + rng.uniform(0, 2 * math.pi))
        for k, size in ((1, 2.0), (2, 0.7), (3, 0.4))
    )
    noise = rng.normal(0.0, 0.2, steps)
    made: Floats = rng.uniform(5, 50) + rng.uniform(1, 10) * (level + strength * waves + noise)
    return made


def generated_series(steps: int = 600, each: int = 6, seed: int = 1) -> SeriesSet:
    """``each`` Mackey-Glass series and as many seasonal sums, of ``steps`` steps."""
    made = [(f"mackey-glass-{k + 1}", mackey_glass(steps, 100 * seed + k)) for k in range(each)]
    made += [(f"seasonal-{k + 1}", seasonal_sum(steps, 100 * seed + k)) for k in range(each)]
    label = "generated series"
    series = [Series(name, 0, values[:, None], np.zeros((steps, 0)), label) for name, values in made]
    note = f"{each} Mackey-Glass series (chaotic, without a season) and {each} seasonal sums of period {PERIOD}"
    return SeriesSet(series, ["value"], [], ROWS, label, [note])
