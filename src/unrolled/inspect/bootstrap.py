"""Intervals of means by resampling."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RESAMPLES = 2000


def mean_interval(
    values: NDArray[Any], *, valid: NDArray[np.bool_] | None = None, seed: int = 1, resamples: int = RESAMPLES
) -> tuple[Floats, Floats, Floats]:
    """Means of columns with their 95 % percentile bootstrap intervals (Efron 1979), rows resampled together.

    Args:
        values: (P, K), a row a position. valid: (P, K) bool, what counts; None is all.
    Returns:
        mean, low, high, each (K,); NaN in a column where nothing counts.
    """
    counts = np.ones(values.shape) if valid is None else valid.astype(np.float64)
    sums = np.where(counts > 0, values, 0.0)
    P = len(values)
    times = np.random.default_rng(seed).multinomial(P, np.full(P, 1 / P), size=resamples).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (times @ sums) / (times @ counts)
        mean = sums.sum(0) / counts.sum(0)
    low, high = np.full(mean.shape, np.nan), np.full(mean.shape, np.nan)
    there = counts.sum(0) > 0
    low[there], high[there] = np.nanpercentile(means[:, there], (2.5, 97.5), axis=0)
    return mean, low, high


def in_blocks(values: Floats, mask: NDArray[np.bool_], blocks: int = 50) -> tuple[float, float, float]:
    """The mean of ``values`` (N,) where ``mask`` holds, with a 95 % interval from resampling consecutive blocks.

    Neighbouring steps are alike, so single steps are no independent draws; blocks nearly are.
    """
    edges = np.linspace(0, len(values), min(blocks, len(values)) + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.where(mask, values, 0.0), edges)
    counts = np.add.reduceat(mask.astype(np.float64), edges)
    used = counts > 0
    if not used.any():
        return np.nan, np.nan, np.nan
    sums, counts = sums[used], counts[used]
    rng = np.random.default_rng(1)
    picked = rng.integers(0, len(sums), (RESAMPLES, len(sums)))
    low, high = np.percentile(sums[picked].sum(1) / counts[picked].sum(1), (2.5, 97.5))
    return float(sums.sum() / counts.sum()), float(low), float(high)
