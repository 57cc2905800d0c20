"""Beam search: the most probable sequences of a model, over anything that can step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled import state as states
from unrolled.decoding.config import BeamConfig
from unrolled.decoding.sampling import Stepper
from unrolled.errors import UserError

TINY = 1e-30
"""What a position counts that got no weight at all, whose logarithm would be minus infinity."""


@dataclasses.dataclass
class Hypothesis:
    """One result.

    Attributes:
        ids: its units, without the end.
        score: what it was ranked by.
        log_probability: the sum over its units, and over its end where it has one, in nats.
        ended: whether it ended by itself; else it was cut at the greatest length.
        weights: (len(ids) + ended, S) on the CPU, where the model looked at each unit (and at the end); None where no
            ``attention`` was asked for.
    """

    ids: list[int]
    score: float
    log_probability: float
    ended: bool
    weights: Tensor | None = None


def length_penalty(length: int, alpha: float) -> float:
    """``((5 + length) / 6) ** alpha``, by which a log-probability is divided (Wu et al. 2016, arXiv:1609.08144, eq.
    14); ``length`` counts the end."""
    return float(((5.0 + length) / 6.0) ** alpha)


def coverage(weights: Tensor, length: int) -> float:
    """``sum_i log min(1, sum_j a_ij)`` over the first ``length`` positions of the input (the same, eq. 14): 0 where
    every position was looked at as much as one unit's worth, and below 0 otherwise.

    Args:
        weights: (T, S), a row for each unit that was written.
    """
    seen = weights[:, :length].double().sum(0)
    return float(seen.clamp(TINY, 1.0).log().sum())


@torch.no_grad()
def beam_search(
    model: Stepper,
    state: Any,
    first: Tensor,
    config: BeamConfig,
    *,
    end: int,
    max_length: int | Sequence[int],
    select: Callable[[Any, Tensor], Any] = states.select,
    attention: Callable[[Any], Tensor] | None = None,
    lengths: Sequence[int] | None = None,
) -> list[list[Hypothesis]]:
    """The best sequences after ``first``, for every row of a batch.

    A beam of K keeps the K most probable beginnings. Where one of the K best continuations is the end, that hypothesis
    is complete, and the row goes on with one beginning less, until K are complete or the greatest length is reached
    (Sutskever, Vinyals & Le 2014, arXiv:1409.3215, section 3.2). Among beginnings, all of one length, plain
    log-probability decides; the penalties rank the results: ``log P / length_penalty + beta * coverage``. Complete ones
    come before those that were cut.

    So K = 1 is greedy, and K = V^T finds the best of all; ``config.nbest`` of the K results are returned, and the
    search does not know how many. A row's results do not depend on the rows beside it. Put the model in evaluation mode
    first; nothing random runs here.

    Args:
        model: ``step(ids (N,), state) -> (logits (N, V), state)``, N = B * K; row ``b * K + k`` is beam k of row b.
        state: the state of B rows before ``first`` is read.
        first: int64 (B,), the unit that starts a sequence.
        end: the unit that ends one.
        max_length: units of a result at most, without the end; one number, or one for each row.
        select: ``select(state, rows (N,))`` takes these rows of a state. A row never moves to another source but when
            the B rows become B * K, so what belongs to a source may be kept out of it.
        attention: the weights (N, S) that the state's last step looked with; needed for the coverage penalty.
        lengths: positions of each row's input, for the coverage penalty.
    Returns:
        For each row its results, best first.
    Raises:
        UserError: the model's scores are not finite.
    """
    B, K, device = len(first), config.beam, first.device
    limits = [max_length] * B if isinstance(max_length, int) else list(max_length)
    limit = torch.tensor(limits, device=device)
    base = torch.arange(B, device=device)[:, None] * K
    total = torch.full((B, K), -math.inf, dtype=torch.float64, device=device)
    total[:, 0] = 0.0  # all beams of a row begin alike: one of them is followed
    total[limit < 1] = -math.inf
    room = torch.full((B, 1), K, device=device)
    ids = first.repeat_interleave(K)
    if K > 1:
        state = select(state, torch.arange(B, device=device).repeat_interleave(K))
    path = _Path([], [], [], [])
    for t in range(1, max(limits, default=0) + 1):
        logits, state = model.step(ids, state)
        total, parent, unit = _continue(total, logits.reshape(B, K, -1))
        inside = (torch.arange(K, device=device) < room) & (total > -math.inf)
        ends = inside & (unit == end)
        cut = inside & ~ends & (limit[:, None] <= t)
        path.add(unit, parent, ends | cut, total, None if attention is None else attention(state))
        room = room - ends.sum(1, keepdim=True)
        live = inside & ~ends & ~cut
        total = total.masked_fill(~live, -math.inf)
        if not bool(live.any()):
            break
        ids = unit.flatten()
        if K > 1:
            state = select(state, (base + parent).flatten())
    return _results(path, B, config, end, lengths)


def _continue(total: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The K best continuations of each row, best first: their totals, the beams they continue, their units, (B, K)."""
    B, K, V = logits.shape
    if logits.numel() and not bool(torch.isfinite(logits.amax(-1)).all()):  # amax hands a NaN on
        raise UserError("the model's scores are not finite, its training has diverged; "
                        "train again with a lower --lr or with --keep best")  # fmt: skip
    k = min(K, V)
    best, unit = _best(logits.log_softmax(-1), k)  # no beam can give more than K
    total, place = _best((total[:, :, None] + best.double()).reshape(B, K * k), K)
    return total, place // k, unit.reshape(B, K * k).gather(1, place)


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k greatest of the last dimension, greatest first; for one, the first of equal ones, as greedy takes it."""
    if k == 1:
        value, index = scores.max(-1, keepdim=True)
        return value, index
    value, index = scores.topk(k, -1)
    return value, index


@dataclasses.dataclass
class _Path:
    """What was written at each step, from where, and which hypotheses came to their end there: (B, K) each."""

    units: list[Tensor]
    parents: list[Tensor]
    ended: list[tuple[Tensor, Tensor]]
    weights: list[Tensor]

    def add(self, unit: Tensor, parent: Tensor, ended: Tensor, total: Tensor, weights: Tensor | None) -> None:
        self.units.append(unit.cpu())
        self.parents.append(parent.cpu())
        self.ended.append((ended.cpu(), total.cpu()))
        if weights is not None:
            self.weights.append(weights.cpu().reshape(*unit.shape, -1))


def _results(
    path: _Path, B: int, config: BeamConfig, end: int, lengths: Sequence[int] | None
) -> list[list[Hypothesis]]:
    found: list[list[Hypothesis]] = [[] for _ in range(B)]
    for t, (ended, total) in enumerate(path.ended):
        for b, k in ended.nonzero().tolist():
            found[b].append(_trace(path, t, b, k, float(total[b, k]), end))
    for b, row in enumerate(found):
        for one in row:
            alpha, beta = config.length_penalty, config.coverage_penalty
            one.score = one.log_probability / length_penalty(len(one.ids) + one.ended, alpha)
            if beta and one.weights is not None and lengths is not None:
                one.score += beta * coverage(one.weights, lengths[b])
        row.sort(key=lambda one: (not one.ended, -one.score))  # stable: of equals the one found first
        del row[config.nbest :]
        if not row:  # a greatest length of 0
            row.append(Hypothesis([], 0.0, 0.0, False))
    return found


def _trace(path: _Path, t: int, b: int, k: int, total: float, end: int) -> Hypothesis:
    """Go back from the last unit of a hypothesis to its first."""
    ids, looked = [], []
    for step in range(t, -1, -1):
        ids.append(int(path.units[step][b, k]))
        k = int(path.parents[step][b, k])
        if path.weights:
            looked.append(path.weights[step][b, k])  # they belong to the beam that was continued
    ids.reverse()
    ended = ids[-1] == end
    weights = torch.stack(looked[::-1]) if looked else None
    return Hypothesis(ids[:-1] if ended else ids, total, total, ended, weights)
