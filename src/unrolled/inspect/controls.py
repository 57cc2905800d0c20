"""What a unit's score stands beside: the last three characters alone, and a linear probe over the whole layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unrolled.inspect.ranks import association, midranks

Floats = NDArray[np.float64]

REACH = 3
PULL = 2.0
"""A context seen n times is mixed with the next shorter one as n to this."""
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Ridge penalties, times the number of positions; columns have unit variance."""


def contexts(units: Sequence[str]) -> list[str]:
    """For each unit the three characters of the text that end with it."""
    text = "".join(units)
    ends = np.cumsum([len(unit) for unit in units], dtype=np.int64)
    return [text[max(0, end - REACH) : end] for end in ends.tolist()]


def local_cue(near: Sequence[str], feature: NDArray[Any]) -> float:
    """The best score that the last one, two or three characters alone reach on the second half.

    The mean of the feature after each context is learned on the first half, contexts seen rarely mixed with the next
    shorter one. Of the three lengths the best on the second half counts, which favours this control.
    """
    half = len(feature) // 2
    target = feature.astype(np.float64)
    mean = float(target[:half].mean())
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for context, value in zip(near[:half], target[:half].tolist(), strict=True):
        for k in range(1, len(context) + 1):
            sums[context[-k:]] += value
            counts[context[-k:]] += 1
    guesses = np.full((REACH, len(feature) - half), mean)
    for t, context in enumerate(near[half:]):
        guess = mean
        for k in range(1, REACH + 1):
            key = context[-k:]
            if k <= len(context) and key in counts:
                guess = (sums[key] + PULL * guess) / (counts[key] + PULL)
            guesses[k - 1, t] = guess
    return max(association(g, feature[half:]) for g in guesses)


def linear_probe(layer: NDArray[Any], features: Sequence[NDArray[Any]]) -> list[float]:
    """For each feature the score, on the second half, of ridge regression from all units of a layer, (N, U).

    Fitted on the first half, to 0 and 1 for a two-valued feature and to ranks for a scalar; the penalty is chosen on
    the last fifth of it.
    """
    half = len(layer) // 2
    cut = half - half // 5
    X = torch.from_numpy(np.ascontiguousarray(layer, dtype=np.float64))
    mean, spread = X[:half].mean(0), X[:half].std(0)
    X = (X - mean) / torch.where(spread > 1e-9, spread, torch.inf)
    Y = torch.stack([_regressed(f) for f in features], 1)
    trial = _ridge(X[:cut], Y[:cut], X[cut:half])
    final = _ridge(X[:half], Y[:half], X[half:])
    scores = []
    for k, feature in enumerate(features):
        tail = feature[cut:half]
        varied = tail.min() != tail.max()
        held_out = [association(t[:, k].numpy(), tail) if varied else 0.0 for t in trial]
        chosen = int(np.argmax(held_out)) if varied else 2
        scores.append(association(final[chosen][:, k].numpy(), feature[half:]))
    return scores


def _regressed(feature: NDArray[Any]) -> torch.Tensor:
    values = feature.astype(np.float64)
    return torch.from_numpy(values if feature.dtype == np.bool_ else midranks(values) / len(values))


def _ridge(X: torch.Tensor, Y: torch.Tensor, other: torch.Tensor) -> list[torch.Tensor]:
    """What is predicted for ``other`` with each of :data:`PENALTIES`."""
    centre, gram = Y.mean(0), X.t() @ X
    towards = X.t() @ (Y - centre)
    found = []
    for penalty in PENALTIES:
        ridge = gram.clone()
        ridge.diagonal().add_(penalty * len(X))
        found.append(other @ torch.cholesky_solve(towards, torch.linalg.cholesky(ridge)) + centre)
    return found
