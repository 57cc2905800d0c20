"""Figures that several tasks share: intervals, F1, confusion, distances, and tests of a difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Z = 1.959963984540054
"""The normal distribution's 97.5 % point."""


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, ``right`` of ``n`` (Wilson 1927): inside [0, 1], and sound for 0 and for all."""
    if n == 0:
        return (0.0, 1.0)
    share, spread = right / n, Z * Z / n
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return (max(0.0, middle - half), min(1.0, middle + half))


def mean_interval(values: ArrayLike) -> tuple[float, tuple[float, float]]:
    """The mean of independent values and its 95 % interval by the normal approximation; unbounded below two values."""
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2:
        return (float(found.mean()) if len(found) else math.nan), (-math.inf, math.inf)
    half = Z * float(found.std(ddof=1)) / math.sqrt(len(found))
    mean = float(found.mean())
    return mean, (mean - half, mean + half)


def ratio_interval(sums: ArrayLike, counts: ArrayLike) -> tuple[float, float]:
    """95 % interval of ``sums.sum() / counts.sum()`` where the pairs are independent draws and what is summed within
    one is not: figures a word over sentences. Unbounded for fewer than two."""
    above, below = np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    used = below > 0
    above, below = above[used], below[used]
    if len(below) < 2:
        return (-math.inf, math.inf)
    ratio = float(above.sum() / below.sum())
    residuals = above - ratio * below
    half = Z * math.sqrt(len(below) / (len(below) - 1) * float(residuals @ residuals)) / float(below.sum())
    return (ratio - half, ratio + half)


def confusion(targets: ArrayLike, predicted: ArrayLike, K: int) -> Ints:
    """(K, K): how many of each target, by row, were taken for each class, by column."""
    pairs = np.asarray(targets, dtype=np.int64) * K + np.asarray(predicted, dtype=np.int64)
    return np.bincount(pairs, minlength=K * K).reshape(K, K)


def class_scores(matrix: ArrayLike) -> dict[str, Floats]:
    """``precision``, ``recall``, ``f1`` and ``support`` of each class (K,) of a confusion matrix; 0 for 0/0."""
    counts = np.asarray(matrix, dtype=np.float64)
    right, support, claimed = np.diag(counts), counts.sum(1), counts.sum(0)

    def ratio(above: Floats, below: Floats) -> Floats:
        return np.divide(above, below, out=np.zeros_like(above), where=below > 0)

    return {
        "precision": ratio(right, claimed), "recall": ratio(right, support),
        "f1": ratio(2 * right, support + claimed), "support": support,
    }  # fmt: skip


def macro_f1(matrix: ArrayLike) -> float:
    """The mean F1 over the classes that occur, as a target or as a prediction; NaN where none does."""
    counts = np.asarray(matrix)
    occurs = (counts.sum(0) + counts.sum(1)) > 0
    return float(class_scores(counts)["f1"][occurs].mean()) if occurs.any() else math.nan


def f1(right: float, claimed: float, wanted: float) -> float:
    """2 right / (claimed + wanted): the harmonic mean of precision and recall; 0 for 0/0."""
    return 2.0 * right / (claimed + wanted) if claimed + wanted else 0.0


def edit_distance(a: Sequence[Any], b: Sequence[Any]) -> int:
    """Levenshtein: the fewest insertions, deletions and replacements of one item that turn ``a`` into ``b``."""
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        now = [i]
        for j, y in enumerate(b, 1):
            now.append(min(before[j] + 1, now[j - 1] + 1, before[j - 1] + (x != y)))
        before = now
    return before[-1]


def bootstrap_interval(
    statistic: Callable[[Ints], float], n: int, samples: int = 1000, seed: int = 1
) -> tuple[float, float]:
    """95 % interval of a figure of ``n`` examples, by drawing the examples anew (Efron's percentiles).

    Args:
        statistic: the figure of the examples with these numbers (n,), some of which come more than once.
    """
    if n < 2:
        return (-math.inf, math.inf)
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(0, n, n)) for _ in range(samples)]
    low, high = np.percentile(np.asarray(drawn, dtype=np.float64), [2.5, 97.5])
    return float(low), float(high)


def paired_bootstrap(
    better: Callable[[Ints], float], worse: Callable[[Ints], float], n: int, samples: int = 1000, seed: int = 1
) -> float:
    """How often one system does not beat the other when the test examples are drawn anew (Koehn 2004): the p of a
    one-sided test. Both figures are of the same examples; higher is better."""
    rng = np.random.default_rng(seed)
    lost = 0
    for _ in range(samples):
        rows = rng.integers(0, n, n)
        lost += better(rows) <= worse(rows)
    return lost / samples


def confusion_text(matrix: ArrayLike, names: Sequence[str], most: int = 20) -> str:
    """A confusion matrix as plain text: rows are the targets, columns what they were taken for.

    Args:
        most: of more classes than this, those with the most errors are shown.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    chosen = np.arange(len(counts))
    if len(counts) > most:
        wrong = counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)
        chosen = np.sort(np.argsort(-wrong, kind="stable")[:most])
    short = [names[int(k)][:12] for k in chosen]
    numbers = [[str(counts[i, j]) if counts[i, j] else "." for j in chosen] for i in chosen]
    left = max(map(len, short))
    widths = [max(len(row[j]) for row in [[s[:6] for s in short], *numbers]) for j in range(len(chosen))]
    lines = [" " * left + "  " + " ".join(s[:6].rjust(w) for s, w in zip(short, widths, strict=True))]
    for name, row in zip(short, numbers, strict=True):
        lines.append(name.ljust(left) + "  " + " ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)))
    return "\n".join(lines)
