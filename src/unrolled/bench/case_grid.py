"""Every shape a user may bring: batch x hidden x steps x cells against torch.nn, forward and backward.

Two layers, I = H, both sides at the same thread count. Dear shapes get fewer pairs, never under three. The last row
sums up: the median of all ratios, and how many lie under 0.9.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import SUMMARY, Bar, Row, figure
from unrolled.bench.measure import compare
from unrolled.bench.parity import ParityError
from unrolled.bench.twins import GATES, Shape, twins

BATCHES, HIDDEN, STEPS = (1, 8, 32, 128), (32, 64, 128, 256, 512, 1024), (1, 16, 128)
WORST, MEDIAN = Bar(0.9, 1.0), Bar(0.95, 1.0)


def shapes() -> list[Shape]:
    """All of them, the cheap ones first, so that what is left of the time can go to the dear ones."""
    every = itertools.product(GATES, BATCHES, HIDDEN, STEPS)
    return sorted((Shape(cell, T, B, H, L=2) for cell, B, H, T in every), key=lambda s: s.flops)


def rows(config: BenchConfig) -> Iterator[Row]:
    """One row a shape, and the summary."""
    wanted = [shape for shape in shapes() if config.wants(str(shape))]
    end = time.monotonic() + 60.0 * config.minutes
    ratios: dict[str, float] = {}
    for k, shape in enumerate(wanted):
        # What the last shapes take grows with their flops; half the time is kept for the dearest tenth.
        left = max(0.0, end - time.monotonic())
        row = _row(shape, config, seconds=left / max(1, len(wanted) - k) if k < 0.9 * len(wanted) else 2.0)
        if "ratio" in row.figures:
            ratios[str(shape)] = row.figures["ratio"].median
        yield row
    if len(ratios) > 1:
        worst = min(ratios, key=lambda name: ratios[name])
        low = sum(r < WORST.least for r in ratios.values())
        yield Row(
            SUMMARY,
            {"ratio": figure(list(ratios.values()), "x", MEDIAN), "worst": figure([ratios[worst]], "x", WORST)},
            note=f"{low} of {len(ratios)} under {WORST.least:g}; worst {worst}; "
            f"{sum(r < 1 for r in ratios.values())} under 1",
        )


def _row(shape: Shape, config: BenchConfig, seconds: float) -> Row:
    try:
        ours, peer = twins(shape, config.engine)
    except ParityError as error:
        return Row(str(shape), refused=str(error))
    found = compare(
        ours.side(), peer.side(), pairs=config.pairs, least_seconds=0.005, most_seconds=seconds, least_pairs=3
    )
    ratio = found.ratio(WORST)
    note = "" if WORST.met(ratio.median) else "under 0.9"
    return Row(str(shape), {"ratio": ratio, "ours": found.milliseconds(), "torch": found.milliseconds("peer")}, note)
