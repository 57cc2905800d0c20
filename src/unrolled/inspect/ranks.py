"""How well units follow a feature: AUC and Spearman's rho of many units at once, and of every circular shift of them.

Both are sums over positions of a unit's centred mid-rank times a centred column of the feature. So ranks are made
once, and the correlation theorem gives the sum for all n shifts by a product of Fourier transforms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

FEWEST_SHIFTS = 200
FEWEST_POSITIONS = 250
"""In a half: from there on at least 200 shifts are left."""
_COLUMNS_AT_ONCE = 256


def midranks(values: NDArray[Any]) -> Floats:
    """Ranks 1 .. n along the last axis, equal values sharing the mean of theirs; float64."""
    order = np.argsort(values, -1)
    ordered = np.take_along_axis(values, order, -1)
    n = values.shape[-1]
    new = np.ones(values.shape, np.bool_)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    ends = np.ones(values.shape, np.bool_)
    ends[..., :-1] = new[..., 1:]
    first = np.maximum.accumulate(np.where(new, np.arange(n), 0), -1)
    last = np.minimum.accumulate(np.where(ends, np.arange(n), n)[..., ::-1], -1)[..., ::-1]
    ranks = np.empty(values.shape)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, -1)
    return ranks


def _columns(feature: NDArray[Any]) -> tuple[Tensor, bool]:
    """The feature's column, centred and scaled so that its sum with a unit's centred ranks is 2 AUC - 1, or rho times
    the norm of those ranks."""
    if feature.dtype == np.bool_:
        y = torch.from_numpy(feature.astype(np.float64))
        held = float(y.sum())
        return (y - y.mean()) * (2 / (held * (len(y) - held))), True
    y = torch.from_numpy(midranks(feature.astype(np.float64)))
    y = y - y.mean()
    return y / y.norm(), False


def associations(
    values: NDArray[Any], features: list[NDArray[Any]], *, shifts: bool = False
) -> tuple[Floats, list[Floats]]:
    """How each unit follows each feature: 2 AUC - 1 for a two-valued one, Spearman's rho for a scalar.

    Args:
        values: (n, U), units side by side. features: each (n,), bool or float, and not constant.
        shifts: also the null, see Returns.
    Returns:
        (F, U) in [-1, 1], 0 for a constant unit; and, with ``shifts``, for each feature an array over circular shifts
        of the feature: the *largest absolute* association that any unit reaches with the shifted feature.

    A shift keeps the feature's own runs and each unit's own slowness and breaks only what ties them in time; an i.i.d.
    shuffle would destroy the runs and call every slow unit significant. Shifts of under a twentieth of n either way are
    left out: there a slow feature is still nearly in place.
    """
    n = len(values)
    columns = [_columns(f) for f in features]
    Y = torch.stack([c for c, _ in columns])
    margin = max(1, n // 20)
    Y_hat = torch.fft.rfft(Y).conj() if shifts else None
    found = []
    largest = torch.zeros(len(features), n - 2 * margin + 1, dtype=torch.float64)
    for at in range(0, values.shape[1], _COLUMNS_AT_ONCE):
        r = torch.from_numpy(midranks(np.ascontiguousarray(values[:, at : at + _COLUMNS_AT_ONCE].T)))
        r -= r.mean(1, keepdim=True)
        norm = r.norm(dim=1)
        # a constant unit has no ranks to speak of; what is left of them is rounding
        inverse = torch.where(norm > 1e-9, 1 / norm.clamp_min(1e-9), 0.0)
        scale = torch.stack([(norm > 1e-9).double() if binary else inverse for _, binary in columns])
        found.append((Y @ r.t()) * scale)
        if Y_hat is None:
            continue
        r_hat = torch.fft.rfft(r)
        for k in range(len(features)):
            over = torch.fft.irfft(r_hat * Y_hat[k], n)[:, margin : n - margin + 1].abs() * scale[k][:, None]
            torch.maximum(largest[k], over.max(0).values, out=largest[k])
    return torch.cat(found, 1).numpy(), [row.numpy() for row in largest] if shifts else []


def association(values: NDArray[Any], feature: NDArray[Any]) -> float:
    """2 AUC - 1, or rho, of one column of scores (n,)."""
    return float(associations(np.asarray(values)[:, None], [feature])[0][0, 0])
