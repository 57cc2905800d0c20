"""Gradient flow: how much of the gradient of one loss reaches the states before it (Bengio et al. 1994; Pascanu,
Mikolov & Bengio 2013, arXiv:1211.5063)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.inspect.recording import Track, record
from unrolled.inspect.subject import Losses

Array = NDArray[Any]

QUANTILES = (0.1, 0.5, 0.9, 0.99, 1.0)
HALF, THOUSANDTH = 0.5, 1e-3
"""Shares of g_0 under which the gradient is said to reach no further."""

LOG_LINEAR = 0.98
"""R² of ln(median ratio) against k from which on a single decay rate describes the curve."""

FEWEST = 8
"""Lags that a decay rate is fitted to at least."""


@dataclasses.dataclass(frozen=True)
class Decay:
    """``median ratio ~ rate^k``, fitted by least squares to its logarithm over lags ``first`` to ``last``."""

    rate: float
    r2: float
    first: int
    last: int

    @property
    def log_linear(self) -> bool:
        """Whether one rate describes the curve."""
        return self.r2 >= LOG_LINEAR


@dataclasses.dataclass(frozen=True)
class Path:
    """The gradient along one state of one layer in one direction.

    Attributes:
        layer: ``rnn.l0``, ``rnn.l0_reverse``. state: ``h`` or ``c``.
        norms: (P, K+1) float64: g_k of every row; NaN before a row's first step. Rows without any gradient (they do
            not enter the loss) are left out.
        dropped: how many those were.
        epsilon: the relative rounding error of the arithmetic it was computed in.
    """

    layer: str
    state: str
    norms: Array
    dropped: int
    epsilon: float

    @property
    def lags(self) -> int:
        """K: the largest lag that any row has."""
        return int(self.norms.shape[1]) - 1

    @property
    def reached(self) -> bool:
        """Whether the loss depends on the last state of any row at all."""
        return bool(self.norms.size and (self.norms[:, 0] > 0).any())

    @property
    def ratio(self) -> Array:
        """(P', K+1): g_k / g_0, of the rows with g_0 > 0."""
        rows = self.norms[self.norms[:, 0] > 0]
        return rows / rows[:, :1]

    @property
    def floor(self) -> float:
        """Median g_0 times the rounding error: what lies below it is lost where it is added to a gradient of the size
        of g_0. (The backward pass multiplies: short of underflow a small g_k itself is as precise as a large one.)"""
        return float(np.median(self.norms[:, 0])) * self.epsilon if self.norms.size else 0.0

    def quantiles(self, of: str = "ratio") -> Array:
        """(5, K+1): 10 %, median, 90 %, 99 % and maximum over the rows, of ``ratio`` or of ``norms``."""
        values = self.ratio if of == "ratio" else self.norms
        return np.stack([_quantiles(values[:, k]) for k in range(values.shape[1])], 1)

    def reach(self, share: float = HALF) -> int | None:
        """The first k at which the median of g_k / g_0 is under ``share``; None where none is."""
        under = np.flatnonzero(self.quantiles()[1] < share)
        return int(under[0]) if under.size else None

    def top(self) -> tuple[float, int]:
        """The largest 99 % quantile of g_k / g_0 over k >= 1, and its k."""
        line = self.quantiles()[3]
        if len(line) < 2:
            return math.nan, 0
        k = 1 + int(np.nanargmax(line[1:]))
        return float(line[k]), k

    @property
    def grows(self) -> bool:
        """Whether the 99 % quantile of g_k / g_0 is above 1 over the last quarter of the lags, and above the quarter
        before (geometric means)."""
        line = self.quantiles()[3][1:]
        quarter = len(line) // 4
        if quarter < 1 or (line <= 0).any():
            return False
        late, before = np.log(line[-quarter:]).mean(), np.log(line[-2 * quarter : -quarter]).mean()
        return bool(late > 0 and late > before)

    def decay(self) -> Decay | None:
        """One rate a step; None where fewer than eight lags lie above the rounding error."""
        median = self.quantiles()[1]
        low = np.flatnonzero(~(median > 10 * self.epsilon))
        last = (int(low[0]) if low.size else len(median)) - 1
        if last < FEWEST:
            return None
        k, y = np.arange(1, last + 1), np.log(median[1 : last + 1])
        slope, intercept = np.polyfit(k, y, 1)
        spread = float(((y - y.mean()) ** 2).sum())
        rest = float(((y - slope * k - intercept) ** 2).sum())
        # A curve that stays where it is up to rounding is a line, though it has no spread to explain.
        r2 = 1.0 if rest < len(y) * 1e-20 else 1.0 - rest / spread
        return Decay(math.exp(slope), r2, 1, last)


@dataclasses.dataclass(frozen=True)
class Flow:
    """What :func:`gradient_flow` measured.

    Attributes:
        loss: (P,) nats at the last step of each row.
        paths: one for each state of each layer and direction.
    """

    loss: Array
    paths: list[Path]

    def path(self, layer: str, state: str) -> Path:
        """The one of that name."""
        return next(p for p in self.paths if (p.layer, p.state) == (layer, state))


def gradient_flow(model: nn.Module, loss: Losses) -> Flow:
    """``g_k = ||d loss / d s_{t-k}||`` for every lag k, row, layer and state, from one backward pass.

    ``s_t`` is the state after the last step of a row and lag 0. Each gradient is total: through every later step and,
    in a stack, through the layers above. For an LSTM that of c is the total derivative, through h_{t-k} as well, which
    is computed from it; that of h holds c_{t-k} fixed. (With zoneout h is computed from c before zoneout: then the
    total derivative of c has no such path.) A layer that reads from the end counts its lags in the order in which it
    reads.

    Args:
        model: holds RNN, LSTM or GRU layers of ours; give a float64 copy (:func:`unrolled.inspect.double`) where small
            gradients matter.
        loss: runs the model once on a batch and gives the loss of each row at its last step alone, (P,). With losses of
            earlier steps in it, g_k would be a sum over later losses: another quantity.
    Raises:
        ValueError: nothing to record, or ``loss`` gives no tensor (P,).
    """
    with torch.enable_grad(), record(model) as tracks:
        losses = loss()
        if not isinstance(losses, Tensor) or losses.dim() != 1:
            shape = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(f"loss() gave {shape}, expected a tensor (P,): the loss of each row at its last step")
    states = [track.states() for track in tracks]
    flat = [s for track in states for state in track for s in state]
    grads = iter(torch.autograd.grad(losses, flat, torch.ones_like(losses), allow_unused=True))
    paths = []
    for track, steps in zip(tracks, states, strict=True):
        norms = [[_norm(next(grads), s) for s in state] for state in steps]
        paths += [_path(track, name, [n[k] for n in norms]) for k, name in enumerate(track.cell.states)]
    return Flow(losses.detach().double().cpu().numpy(), paths)


def gradient_by_step(model: nn.Module, loss: Losses, weight: str) -> Tensor:
    """The summands of a shared weight's gradient: ``sum over t of d loss / d W_t = d loss / d W``.

    Every step, its input product too, is given an alias of its own of the weight; one backward pass differentiates the
    sum of the losses by each.

    Args:
        loss: as for :func:`gradient_flow`, though any shape will do here.
        weight: a parameter of a recurrent layer as ``model.named_parameters()`` calls it: ``rnn.weight_hh_l0``.
    Returns:
        (T, *shape of the weight), in the order of time: what each step adds.
    Raises:
        ValueError: no recurrent layer has a parameter of that name; those there are are listed.
    """
    with torch.enable_grad(), record(model, own_weights=True) as tracks:
        total = loss().sum()
    for track in tracks:
        for own, full in track.parameter.items():
            if full == weight:
                used = [w[own] for made in track.calls for w in made.weights]
                grads = torch.autograd.grad(total, used, allow_unused=True)
                return torch.stack([torch.zeros_like(w) if g is None else g for g, w in zip(grads, used, strict=True)])
    names = ", ".join(name for track in tracks for name in track.parameter.values())
    raise ValueError(f"{weight!r} is no parameter of a recurrent layer that ran; there are {names}")


def _norm(grad: Tensor | None, state: Tensor) -> Tensor:
    if grad is None:
        return torch.zeros(len(state), dtype=state.dtype)
    norm: Tensor = torch.linalg.vector_norm(grad, dim=-1)
    return norm.detach().cpu()


def _path(track: Track, state: str, norms: list[Tensor]) -> Path:
    by_place, ends, counts = torch.stack(norms, 1), track.ends(), track.counts()  # (B, T+1)
    epsilon = torch.finfo(by_place.dtype).eps
    lags = torch.arange(int(counts.max()) + 1)
    places = torch.where(lags < counts[:, None], ends[:, None] - lags, 0)  # the last lag is the initial state
    found = torch.where(lags <= counts[:, None], by_place.double().gather(1, places), math.nan).numpy()
    kept = found[np.nansum(found, 1) > 0]
    return Path(track.name, state, kept, len(found) - len(kept), epsilon)


def _quantiles(values: Array) -> Array:
    values = values[~np.isnan(values)]
    return np.quantile(values, QUANTILES) if values.size else np.full(len(QUANTILES), math.nan)
