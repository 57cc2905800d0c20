"""Measuring a text: exact sums, blocks, the interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unrolled.tasks.language import measure
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.measure import BlockSums, reading, unit_nats
from unrolled.tasks.language.model import LanguageModel


def test_unit_nats_in_slices_equals_cross_entropy(monkeypatch):
    torch.manual_seed(1)
    model = LanguageModel(7, LanguageConfig(hidden=5, dropout=0.5))
    rng = np.random.default_rng(1)
    x, y = rng.integers(7, size=(6, 3)), rng.integers(7, size=(6, 3))
    monkeypatch.setattr(measure, "SCORES_AT_ONCE", 28)  # four rows at a time
    seen = []
    model.head.register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape)))
    before = torch.get_rng_state()
    with reading(model):
        nats, _ = unit_nats(model, x, y, None)
        scores, _ = model(torch.from_numpy(x))
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert max(len(s) and s[0] for s in seen[:-1]) == 4
    expected = F.cross_entropy(scores.flatten(0, 1), torch.from_numpy(y).flatten(), reduction="none")
    assert nats.dtype == np.float64
    np.testing.assert_allclose(nats.ravel(), expected.numpy(), rtol=1e-6)


def test_block_sums_equal_a_plain_loop():
    rng = np.random.default_rng(2)
    nats, scored = rng.random((57, 3)), rng.random((57, 3)) < 0.7
    sums = BlockSums(100, 3)
    assert sums.block == 5
    for t in range(0, 57, 10):
        sums.add(nats[t : t + 10], scored[t : t + 10])
    assert sums.units == scored.sum()
    assert sums.mean == pytest.approx(nats[scored].mean(), rel=1e-12)
    blocks = []
    for column in range(3):
        kept = nats[scored[:, column], column]
        blocks += [kept[k : k + 5] for k in range(0, len(kept), 5)]
    residuals = [b.sum() - sums.mean * len(b) for b in blocks]
    n = len(blocks)
    spread = 1.96 * math.sqrt(n / (n - 1) * sum(r * r for r in residuals)) / sums.units
    assert sums.interval() == pytest.approx((sums.mean - spread, sums.mean + spread), rel=1e-4)


def test_interval_covers_the_mean_about_95_times_in_100():
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(300):
        noise = rng.exponential(size=(2_000, 4))
        smooth = (
            noise[:-4] + noise[1:-3] + noise[2:-2] + noise[3:-1] + noise[4:]
        )  # neighbours are correlated; the mean is 5
        sums = BlockSums(smooth.size, 4)
        sums.add(smooth, np.ones(smooth.shape, bool))
        low, high = sums.interval()
        inside += low < 5 < high
    assert 0.9 < inside / 300 < 0.98


def test_one_block_has_no_upper_bound_and_none_no_mean():
    sums = BlockSums(1, 1)
    assert math.isnan(sums.mean)
    sums.add(np.array([[2.0]]), np.array([[True]]))
    assert sums.interval() == (0.0, math.inf)
    assert sums.mean == 2.0
