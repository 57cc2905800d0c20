"""Intervals stretched by what the forecasts before them missed: conformal prediction over a rolling window.

A network's own spread is that of the years it has learnt from. At an origin the outcomes of earlier forecasts are
known: of each the score ``|y - median| / (quantile - median)`` says how far out the outcome lay, in widths of the side
that it lay on. The interval that is to hold a share p is stretched by the conformal p-quantile of the scores of the
last ``window`` forecasts, of its own step ahead and the steps near it (Romano, Patterson & Candès 2019,
arXiv:1905.03222, for scores of quantiles; Xu & Xie 2021, arXiv:2010.09107, for the sliding window over a series).
Nothing that happens at the origin or later enters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unrolled.data.series_columns import Floats
from unrolled.tasks.forecast import rolling
from unrolled.tasks.forecast.model import ForecastModel
from unrolled.tasks.forecast.prepared import Frame, Shape
from unrolled.tasks.forecast.rolling import Forecasts, Origin

FEWEST = 10
"""Earlier forecasts with a known outcome from which on an interval is stretched."""
MOST = 4096
"""Earlier forecasts that are made for it, over all series; of many series the window is shorter."""
NEAR = 4
"""The scores of an H-step forecast are pooled over H / 4 steps to both sides."""


def forecast(
    model: ForecastModel, frames: Sequence[Frame], shape: Shape, origins: list[Origin], steps: int, *,
    levels: Sequence[float], paths: int, seed: int, window: int,
) -> Forecasts:  # fmt: skip
    """As :func:`rolling.forecast`, with quantiles stretched by what ``window`` earlier forecasts missed.

    Args:
        levels: each with its mirror image, as 0.1 and 0.9; a level without one is left as it is.
        paths: none: nothing is stretched, since the quantiles are then not those of a whole path.
        window: 0: nothing is stretched.
    Returns:
        The forecasts from ``origins``; ``plain`` are the quantiles before the stretching, where there was any.
    """
    if not window or not paths:
        return rolling.forecast(model, frames, shape, origins, steps, levels=levels, paths=paths, seed=seed)
    series = len({o.frame for o in origins})
    window = max(FEWEST, min(window, MOST // max(1, series)))
    whole = [*origins, *_earlier(frames, shape, origins, steps, window)]
    asked = (*levels, 0.5)
    made = rolling.forecast(model, frames, shape, whole, steps, levels=asked, paths=paths, seed=seed)
    assert made.quantiles is not None
    R, quantiles = len(origins), shape.forward(made.quantiles)
    middle = quantiles[..., -1]
    truth = shape.forward(_known(frames, whole, steps))
    stretched = quantiles[:R].copy()
    for low, high in _pairs(levels):
        below, above = middle - quantiles[..., low], quantiles[..., high] - middle
        width = np.where(truth < middle, below, above)
        scores = np.divide(np.abs(truth - middle), width, out=np.full_like(width, np.nan), where=width > 0)
        factor = _factors(whole, R, scores, levels[high] - levels[low], window)
        stretched[..., low] = middle[:R] - factor * below[:R]
        stretched[..., high] = middle[:R] + factor * above[:R]
    order = np.argsort(asked)  # pairs have factors of their own: they may cross
    stretched[..., order] = np.sort(stretched, -1)
    plain = made.quantiles[:R, ..., :-1]
    return Forecasts(origins, made.center[:R], tuple(levels), shape.back(stretched)[..., :-1], plain=plain)


def _pairs(levels: Sequence[float]) -> list[tuple[int, int]]:
    """The places of each level below 0.5 and of its mirror image."""
    found = []
    for k, level in enumerate(levels):
        mirrored = [j for j, other in enumerate(levels) if abs(other - (1 - level)) < 1e-9]
        if level < 0.5 and mirrored:
            found.append((k, mirrored[-1]))
    return found


def _earlier(frames: Sequence[Frame], shape: Shape, origins: Sequence[Origin], steps: int, window: int) -> list[Origin]:
    """Origins before each series' first, as far apart as those are, enough for a window of known outcomes."""
    made = []
    for k in sorted({o.frame for o in origins}):
        at = sorted(o.at for o in origins if o.frame == k)
        gap = int(np.median(np.diff(at))) if len(at) > 1 else 1
        found = at[0] - max(1, gap) * np.arange(1, window + -(-steps // max(1, gap)) + 1)
        found = found[found >= max(1, shape.lead)]
        if shape.data.missing == "interpolate":  # a line through a gap would know what follows
            found = found[frames[k].seen[found - 1].all(1)]
        made += [Origin(k, int(a)) for a in found]
    return made


def _known(frames: Sequence[Frame], origins: Sequence[Origin], steps: int) -> Floats:
    """(N, H, D): what came; NaN where nothing was seen, or the series is at its end."""
    found = np.full((len(origins), steps, frames[0].y.shape[1]), np.nan)
    for r, o in enumerate(origins):
        y, seen = (part[o.at : o.at + steps] for part in (frames[o.frame].y, frames[o.frame].seen))
        found[r, : len(y)] = np.where(seen, y, np.nan)
    return found


def _factors(origins: Sequence[Origin], R: int, scores: Floats, share: float, window: int) -> Floats:
    """(R, H, D): what the quantiles of the first R origins are stretched by, from scores (N, H, D)."""
    H, D = scores.shape[1:]
    near, factor = H // NEAR, np.ones((R, H, D))
    for k in {o.frame for o in origins[:R]}:
        rows = sorted((r for r, o in enumerate(origins) if o.frame == k), key=lambda r: origins[r].at)
        at = np.array([origins[r].at for r in rows])
        sorted_scores = scores[rows]
        for r in (r for r in rows if r < R):
            # Of step h the outcome at a + h is known at the origin where a + h lies before it.
            ends = np.searchsorted(at, origins[r].at - np.arange(H))
            recent = [sorted_scores[max(0, end - window) : end, h] for h, end in enumerate(ends)]
            for h in range(H):
                pooled = np.concatenate(recent[max(0, h - near) : h + near + 1])
                for d in range(D):
                    factor[r, h, d] = _conformal(pooled[:, d], len(recent[h]), share)
    return factor


def _conformal(scores: Floats, origins: int, share: float) -> float:
    """The conformal quantile of scores, those of several steps of so many origins; 1 for too few."""
    known = scores[np.isfinite(scores)]
    if origins < FEWEST or len(known) < FEWEST:
        return 1.0
    return float(np.quantile(known, min(1.0, share * (origins + 1) / origins)))
