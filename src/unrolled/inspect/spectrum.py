"""Spectra of a network's step Jacobians along the text that it reads, one step and products of many.

Products are orthogonalised again and again (Benettin et al. 1980; Geist, Parlitz & Lauterborn 1990): the plain product
of many Jacobians keeps its largest direction and loses the others to rounding.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.inspect.jacobian import RecurrentMatrix, recurrent_matrix, step_jacobian
from unrolled.inspect.recording import Moment, Track, record
from unrolled.inspect.subject import Losses

Array = NDArray[Any]

LARGEST = 1536
"""N up to which a whole spectrum is computed: that of one Jacobian of this size takes some ten seconds of a core."""

SAMPLES, PRODUCT = 32, 64
SHORTEST = 8
"""Steps in a row, free of resets and padding, that products are made of at least."""


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """One layer in one direction.

    Attributes:
        layer: ``rnn.l0``. cell: ``lstm``. states: ``("h", "c")``. size: N, of the state.
        sampled: (S, 2) int: place in reading order and row of every sampled step.
        singular: (S, N) singular values of J_t, falling; (S, 1), the largest alone, where N is above ``LARGEST``.
        eigenvalues: (E, N) complex, those of J_t at the first E sampled steps.
        exponents: (q,) Lyapunov exponents in nats a step, the q leading ones, falling; a mean over the rows. Empty
            where no row has enough steps.
        growth: (K, q) ln of what the q leading directions have grown by after k = 1 ... K steps, a mean over the rows.
        warmup: steps that turn the directions first and are not counted in ``exponents``.
        rows: sequences that ``growth`` is a mean over.
        lags: (m,) numbers of steps k of ``norms``.
        norms: spectral norm of the product of k Jacobians, ``s``, and of its blocks, ``hh`` and ``cc``: how much of c
            reaches c, on every path.
        recurrent: of W_hh itself, for a vanilla cell.
        notes: what was left out because of the layer's size.
    """

    layer: str
    cell: str
    states: tuple[str, ...]
    size: int
    sampled: Array
    singular: Array
    eigenvalues: Array
    exponents: Array
    growth: Array
    warmup: int
    rows: int
    lags: Array
    norms: dict[str, Array]
    recurrent: RecurrentMatrix | None
    notes: list[str]


def jacobian_spectrum(model: nn.Module, loss: Losses, *, samples: int = SAMPLES, seed: int = 0) -> list[Spectrum]:
    """Spectra of the step Jacobians of every recurrent layer on the batch that ``loss`` runs.

    Args:
        model: float64 (:func:`unrolled.inspect.double`), in evaluation mode.
        loss: runs the model once; its value is not used.
        samples: steps whose singular values are computed; fewer for large layers (see ``notes``).
        seed: of the draw of those steps.
    Raises:
        ValueError: nothing to record.
    """
    with torch.no_grad(), record(model) as tracks:
        loss()
    return [_spectrum(track, len(tracks), samples, seed) for track in tracks]


def _spectrum(track: Track, shares: int, samples: int, seed: int) -> Spectrum:
    moments, N = track.moments(), sum(track.cell.state_sizes())
    whole, cube = N <= LARGEST, float(N) ** 3 * shares
    S = min(samples, max(3, int(4e9 / cube)))
    E = min(4, max(1, int(1.3e9 / cube))) if whole else 0
    drawn = _draw(moments, S, seed)
    singular, eigenvalues, notes = [], [], []
    for k, (place, row) in enumerate(drawn):
        J = step_jacobian(moments[place], row)
        singular.append(torch.linalg.svdvals(J) if whole else _largest(J))
        if k < E:
            eigenvalues.append(torch.linalg.eigvals(J))
    if len(drawn) < samples:
        why = f"for a state of {N} numbers" if samples > S else "that continue a state"
        notes.append(f"{track.name}: singular values at {len(drawn)} steps {why}, instead of {samples}.")
    if not whole:
        notes.append(
            f"{track.name}: a state of {N} numbers is above {LARGEST}: of each Jacobian the largest singular value "
            "alone, and no eigenvalues."
        )
    run = _Products(track, moments, N, shares, whole)
    recurrent = recurrent_matrix(track.cell, track.calls[0].call.w) if whole else None
    return Spectrum(
        track.name, track.cell.name, track.cell.states, N, np.array(drawn, dtype=np.int64).reshape(-1, 2),
        _stack(singular), _stack(eigenvalues), run.exponents, run.growth, run.warmup, run.rows, run.lags, run.norms,
        recurrent, notes + run.notes,
    )  # fmt: skip


def _stack(found: list[Tensor]) -> Array:
    made: Array = torch.stack(found).numpy() if found else np.zeros((0, 0))
    return made


def _draw(moments: list[Moment], samples: int, seed: int) -> list[tuple[int, int]]:
    free = torch.stack([m.free() for m in moments]).nonzero()
    order = torch.randperm(len(free), generator=torch.Generator().manual_seed(seed))[:samples]
    return [(int(place), int(row)) for place, row in free[order]]


def _largest(J: Tensor, rounds: int = 60) -> Tensor:
    """sigma_max by power iteration on J'J, from below."""
    v = torch.randn(J.shape[1], dtype=J.dtype, generator=torch.Generator().manual_seed(0))
    for _ in range(rounds):
        v = J.t() @ (J @ v)
        v = v / torch.linalg.vector_norm(v).clamp(min=torch.finfo(J.dtype).tiny)
    norm: Tensor = torch.linalg.vector_norm(J @ v)
    return norm[None]


class _Products:
    """Products of the Jacobians along the longest stretches without resets."""

    def __init__(self, track: Track, moments: list[Moment], N: int, shares: int, whole: bool) -> None:
        free = torch.stack([m.free() for m in moments])
        start, stop, rows = _stretch(free, 4 if N <= 256 else 1)
        self.rows, K = len(rows), stop - start
        self.q, self.warmup, self.notes = min(N, max(16, 2**24 // N**2)), K // 4, list[str]()
        self.exponents, self.growth = np.zeros(0), np.zeros((0, self.q))
        most = min(PRODUCT, K, max(8, int(1.8e10 / (float(N) ** 3 * shares)))) if whole else 0
        self.lags = np.array([2**k for k in range(int(math.log2(most)) + 1)] if most else [], dtype=np.int64)
        self.norms: dict[str, Array] = {}
        if K < SHORTEST:
            self.rows, self.lags = 0, self.lags[:0]
            self.notes.append(
                f"{track.name}: no sequence of {SHORTEST} steps without a reset: no products of Jacobians."
            )
            return
        if self.q < N:
            self.notes.append(f"{track.name}: the {self.q} leading of {N} Lyapunov exponents.")
        self.H = track.cell.state_sizes()[0] if len(track.cell.states) > 1 else 0
        parts = [self._along(moments[start:stop], row, N) for row in rows]
        self.growth = np.mean([growth for growth, _ in parts], 0)
        counted = self.growth[-1] - (self.growth[self.warmup - 1] if self.warmup else 0.0)
        self.exponents = np.sort(counted / (K - self.warmup))[::-1]
        for name in parts[0][1]:
            self.norms[name] = np.mean([norms[name] for _, norms in parts], 0)

    def _along(self, moments: list[Moment], row: int, N: int) -> tuple[Array, dict[str, Array]]:
        dtype = moments[0].x_bar.dtype
        Q = torch.linalg.qr(torch.randn(N, self.q, dtype=dtype, generator=torch.Generator().manual_seed(row))).Q
        P, scale = torch.eye(N, dtype=dtype), 0.0
        logs: list[Tensor] = []
        norms: dict[str, list[float]] = {}
        most = int(self.lags[-1]) if len(self.lags) else 0
        for k, moment in enumerate(moments, 1):
            J = step_jacobian(moment, row)
            Q, R = torch.linalg.qr(J @ Q)
            logs.append(R.diagonal().abs().clamp(min=torch.finfo(dtype).tiny).log())
            if k <= most:
                P = J @ P
                size = float(P.abs().max()) or 1.0
                P, scale = P / size, scale + math.log(size)
            if k in self.lags:
                for name, block in self._blocks(P).items():
                    norm = float(torch.linalg.matrix_norm(block, 2))
                    norms.setdefault(name, []).append(norm * math.exp(min(scale, 700.0)))
        return torch.stack(logs).cumsum(0).numpy(), {name: np.array(v) for name, v in norms.items()}

    def _blocks(self, P: Tensor) -> dict[str, Tensor]:
        H = self.H
        return {"s": P, "hh": P[:H, :H], "cc": P[H:, H:]} if H else {"s": P}


def _stretch(free: Tensor, most: int) -> tuple[int, int, list[int]]:
    """The longest run of steps that is free in some row, and up to ``most`` rows that are free throughout it."""
    run, best, stop = torch.zeros(free.shape[1], dtype=torch.long), 0, 0
    for k, now in enumerate(free):
        run = torch.where(now, run + 1, 0)
        if int(run.max()) > best:
            best, stop = int(run.max()), k + 1
    rows = free[stop - best : stop].all(0).nonzero()[:, 0][:most].tolist()
    return stop - best, stop, rows
