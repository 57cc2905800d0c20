"""Weights, tensor by tensor, and what the log of a run says about their gradient."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.bundle.metrics import MetricsLog
from unrolled.inspect.checks import check_finite

Array = NDArray[Any]

BINS = 40
SPECTRAL = 1024
"""The smaller side of a matrix up to which its spectral norm is computed."""


@dataclasses.dataclass(frozen=True)
class Weight:
    """One tensor.

    Attributes:
        name, shape: as in ``model.named_parameters()``.
        mean, std, largest: of its elements; the last in absolute value.
        norm: Euclidean (Frobenius). spectral: largest singular value of a matrix, NaN for others and where the smaller
            side is above 1024.
        change: norm of the difference from the initialisation over the norm there; NaN without one, infinite from 0.
        edges, counts: a histogram, (41,) and (40,).
    """

    name: str
    shape: tuple[int, ...]
    mean: float
    std: float
    largest: float
    norm: float
    spectral: float
    change: float
    edges: Array
    counts: Array


def weights(model: nn.Module, untrained: nn.Module | None = None) -> list[Weight]:
    """Every parameter of a model, in its own order.

    Args:
        untrained: the same network at its initialisation.
    Raises:
        UserError: a weight is NaN or infinite; the tensor is named.
    """
    check_finite(model)
    before = {} if untrained is None or untrained is model else dict(untrained.named_parameters())
    return [_weight(name, p.detach(), before.get(name)) for name, p in model.named_parameters() if p.numel()]


def _weight(name: str, tensor: Tensor, before: Tensor | None) -> Weight:
    w = tensor.double().cpu()
    change, norm = math.nan, float(torch.linalg.vector_norm(w))
    if before is not None and before.shape == w.shape:
        old = before.detach().double().cpu()
        start, moved = float(torch.linalg.vector_norm(old)), float(torch.linalg.vector_norm(w - old))
        change = moved / start if start else math.inf if moved else 0.0
    matrix = w.dim() == 2 and min(w.shape) <= SPECTRAL
    spectral = math.sqrt(max(0.0, float(torch.linalg.eigvalsh(_gram(w))[-1]))) if matrix else math.nan
    counts, edges = np.histogram(w.numpy(), BINS)
    return Weight(
        name, tuple(w.shape), float(w.mean()), float(w.std(correction=0)), float(w.abs().max()), norm, spectral, change,
        edges, counts,
    )  # fmt: skip


def _gram(w: Tensor) -> Tensor:
    """The smaller of WW' and W'W, whose largest eigenvalue is sigma_max squared."""
    return w @ w.t() if w.shape[0] <= w.shape[1] else w.t() @ w


@dataclasses.dataclass(frozen=True)
class History:
    """What ``metrics.jsonl`` says, one entry a record (the updates since the last one).

    Attributes:
        step: (n,) the update of each record. before: (n,) mean norm of the gradient before clipping.
        after: (n,) and after; NaN where it is not recorded (clipping by value changed it, or an older run).
        clipped: (n,) share of updates that were clipped.
        share: of all updates.
    """

    step: Array
    before: Array
    after: Array
    clipped: Array
    share: float


def history(run: Path | str) -> History | None:
    """The gradient over a run; None where nothing is recorded."""
    records = [r for r in MetricsLog(Path(run) / "metrics.jsonl").records() if r.get("grad_norm") is not None]
    if not records:
        return None
    columns = [
        np.array([_number(r.get(k)) for r in records]) for k in ("step", "grad_norm", "grad_norm_after", "clipped")
    ]
    step, before, after, clipped = columns
    updates = np.diff(step, prepend=0.0)
    known = np.isfinite(clipped) & (updates > 0)
    share = float((clipped * updates)[known].sum() / updates[known].sum()) if known.any() else math.nan
    return History(step, before, after, clipped, share)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
