"""How far a network remembers: what a replaced unit does to later predictions, and how much context suffices.

Two questions, told apart. A replaced unit asks what is *carried* from there: the rest of the text stays. A short
context asks what is *enough*: everything older is gone at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.inspect.bootstrap import mean_interval
from unrolled.inspect.reading import Carried, carry, last_scores
from unrolled.state import select
from unrolled.tasks.language.measure import reading as quiet

Floats = NDArray[np.float64]

LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SMALLEST_CHANGE = 0.001
"""Nats; what lies below is no memory worth the name."""
NEAR_FULL = 0.01
"""Nats above the loss with the full context."""
POSITIONS = 256
FEWEST = 30
"""A lag or context measured at fewer positions than this is left out."""
WARM_UNITS = 100
_ROWS_AT_ONCE = 1536
_SCORES_AT_ONCE = 1 << 23


@dataclasses.dataclass(frozen=True)
class Memory:
    """What replacing the unit ``k`` steps back does, for each lag k: arrays (K,), with 95 % bootstrap intervals.

    Attributes:
        lags: k; 0 would be the unit just read, from which the next one is predicted.
        kl: mean KL(p‖q) in nats, p the prediction from the true text, q with the unit replaced.
        change: mean of the loss with the unit replaced minus the true loss, nats.
        positions: how many positions each mean is over.
        draws: replacements drawn for each position.
    """

    lags: NDArray[np.int64]
    kl: Floats
    kl_low: Floats
    kl_high: Floats
    change: Floats
    change_low: Floats
    change_high: Floats
    positions: NDArray[np.int64]
    draws: int

    @property
    def horizon(self) -> int | None:
        """The largest lag whose interval for the change of loss lies above 0.001 nats; None where none does."""
        far = self.lags[self.change_low > SMALLEST_CHANGE]
        return int(far.max()) if len(far) else None


@dataclasses.dataclass(frozen=True)
class Context:
    """Loss against the number of units read, for the same targets: arrays (K,), in nats.

    Attributes:
        sizes: n, how many units are read before the prediction.
        zero, warmed: mean loss from a zero state, and from a state that has read unrelated text.
        zero_excess, warmed_excess: (3, K), what that is above the full context: mean, and its 95 % interval.
        full: mean loss with everything since the text (or record) began.
        positions: how many targets.
    """

    sizes: NDArray[np.int64]
    zero: Floats
    warmed: Floats
    zero_excess: Floats
    warmed_excess: Floats
    full: float
    positions: int

    def enough(self, warmed: bool = False) -> int | None:
        """The smallest n from which on the mean stays within 0.01 nats of the full context; None where none does."""
        near = (self.warmed_excess if warmed else self.zero_excess)[0] <= NEAR_FULL
        stays = np.logical_and.accumulate(near[::-1])[::-1]
        return int(self.sizes[stays][0]) if stays.any() else None


def spread_positions(first: int, last: int, count: int, seed: int) -> Tensor:
    """``count`` different positions from ``first`` to below ``last``, one from each of as many equal stretches."""
    count = min(count, last - first)
    edges = torch.linspace(first, last, count + 1, dtype=torch.float64).floor().long()
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(count, generator=generator, dtype=torch.float64)
    return edges[:-1] + (share * (edges[1:] - edges[:-1])).long()


def carried_to(
    model: nn.Module,
    ids: Tensor,
    *,
    longest: int,
    positions: int = POSITIONS,
    fresh: Tensor | None = None,
    seed: int = 1,
) -> Carried:
    """The states at positions that have ``longest`` steps before them and after them: what both measures start from.

    Raises:
        ValueError: a text of fewer than ``2 * longest + 30`` units has too few such positions.
    """
    if len(ids) < 2 * longest + FEWEST:
        raise ValueError(f"ids has {len(ids)} units; lags up to {longest} need at least {2 * longest + FEWEST}")
    chosen = spread_positions(max(1, longest), len(ids) - longest, positions, seed)
    return carry(model, ids, chosen, fresh=fresh)


def memory_horizon(
    model: nn.Module,
    ids: Tensor,
    targets: Tensor | None = None,
    *,
    train: Tensor | None = None,
    lags: Sequence[int] = LAGS,
    draws: int = 5,
    positions: int = POSITIONS,
    fresh: Tensor | None = None,
    carried: Carried | None = None,
    seed: int = 1,
) -> Memory:
    """Replace one unit by draws from the unigram distribution and watch the predictions k steps later.

    Positions s are sampled; x_s is replaced and the text from s on is run from the state carried there, so one run
    gives every lag: the prediction made at t = s + k has x_{t-k} replaced. A draw may be the true unit, as in the
    unigram distribution it may. KL is computed in float64 from the model's own scores: an error e in them moves it by
    the order of e squared, so float32 models are measured as they are.

    Args:
        model: ``model(ids (T, B), state) -> scores (T, B, V), state``.
        ids: (N,) int64, what is read. targets: (N,), what should be predicted after each; None: the next unit.
        train: where the unigrams are from; None: ``ids``.
        lags: ascending. draws: at least 5 to mean anything.
        fresh: (N,) bool, where a record begins: a lag never reaches across.
        carried: from :func:`carried_to`, where other measures share it.
    Raises:
        ValueError: lags or draws that make no sense, or a text too short for the longest lag.
    """
    if draws < 1 or not lags or list(lags) != sorted({int(k) for k in lags}) or lags[0] < 0:
        raise ValueError(f"lags={tuple(lags)!r}, draws={draws}: expected ascending lags from 0 on and a draw at least")
    train = ids if train is None else train
    ids, targets, fresh = _pairs(ids, targets, fresh)
    carried = carried or carried_to(model, ids, longest=lags[-1], positions=positions, fresh=fresh, seed=seed)
    valid = _reach(carried.positions, lags, fresh)
    replacements = _unigram_draws(train, (draws, len(carried.positions)), seed)
    kl: list[Tensor] = []
    change: list[Tensor] = []
    size = max(1, min(_ROWS_AT_ONCE, _SCORES_AT_ONCE // carried.scores.shape[-1]) // (draws + 1))
    with quiet(model):
        for at in range(0, len(carried.positions), size):
            rows = torch.arange(at, min(at + size, len(carried.positions)))
            inputs = (carried.positions[rows], select(carried.state, rows), replacements[:, rows])
            for place, part in zip((kl, change), _replaced(model, ids, targets, *inputs, lags), strict=True):
                place.append(part)
    counts = valid.sum(0)
    return _memory(np.array(lags), torch.cat(kl).numpy(), torch.cat(change).numpy(), valid, counts, draws)


def _memory(lags: Any, kl: Floats, change: Floats, valid: Any, counts: Any, draws: int) -> Memory:
    kept = counts >= FEWEST
    if not kept.any():
        raise ValueError(f"no record is long enough: no lag is met at {FEWEST} positions")
    kls, changes = (mean_interval(v[:, kept], valid=valid[:, kept]) for v in (kl, change))
    return Memory(lags[kept], *kls, *changes, counts[kept], draws)


def _replaced(
    model: nn.Module, ids: Tensor, targets: Tensor, at: Tensor, state: Any, replacements: Tensor, lags: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """KL and change of loss, (P, K) each, means over the draws (D, P); row 0 of the batch is the true text."""
    P, D = len(at), len(replacements)
    state = select(state, torch.arange(P).repeat(D + 1))
    first = torch.cat((ids[at][None], replacements)).reshape(1, -1)
    kl: list[Tensor] = []
    change: list[Tensor] = []
    done = -1
    for k in lags:
        steps = torch.arange(done + 1, k + 1)
        x = ids[at + steps[:, None]].repeat(1, D + 1)
        if done < 0:
            x[:1] = first
        scores, state = last_scores(model, x, state)
        logp = F.log_softmax(scores.double(), -1).view(D + 1, P, -1)
        kl.append((logp[0].exp() * (logp[0] - logp[1:])).sum(-1).mean(0))
        wanted = targets[at + k].expand(D + 1, P)[..., None]
        picked = logp.gather(-1, wanted)[..., 0]
        change.append((picked[0] - picked[1:]).mean(0))
        done = k
    return torch.stack(kl, 1), torch.stack(change, 1)


def context_loss(
    model: nn.Module,
    ids: Tensor,
    targets: Tensor | None = None,
    *,
    train: Tensor | None = None,
    sizes: Sequence[int] = SIZES,
    positions: int = POSITIONS,
    fresh: Tensor | None = None,
    carried: Carried | None = None,
    seed: int = 1,
) -> Context:
    """The loss of the same predictions after reading only the last n units, beside that after the full text.

    Once from a zero state, which the network may have met only at the start of a text, and once from a state that has
    read 100 units of unrelated text (another place of ``train`` for each target), which it knows well but which tells
    it nothing, or the wrong thing. Where a record begins inside the n units, both start anew there.

    Args: as :func:`memory_horizon`; ``sizes``: n, ascending.
    """
    train = ids if train is None else train
    ids, targets, fresh = _pairs(ids, targets, fresh)
    carried = carried or carried_to(model, ids, longest=sizes[-1], positions=positions, fresh=fresh, seed=seed)
    at = carried.positions
    same = len(train) - len(ids) in (0, 1) and torch.equal(train[: len(ids)], ids)
    warm = _warmed_elsewhere(model, train, at, same=same, seed=seed)
    losses: dict[bool, list[Tensor]] = {False: [], True: []}
    with quiet(model):
        for n in sizes:
            steps = at + torch.arange(1 - n, 1)[:, None]
            resets = None if fresh is None else fresh[steps]
            for warmed, state in ((False, None), (True, warm)):
                scores, _ = last_scores(model, ids[steps], state, resets)
                losses[warmed].append(F.cross_entropy(scores.double(), targets[at], reduction="none"))
    full = F.cross_entropy(carried.scores.double(), targets[at], reduction="none")
    zero, warmed_loss = (torch.stack(losses[w], 1) for w in (False, True))
    excess = [np.stack(mean_interval((part - full[:, None]).numpy())) for part in (zero, warmed_loss)]
    return Context(np.array(sizes), zero.mean(0).numpy(), warmed_loss.mean(0).numpy(), excess[0], excess[1],
                   float(full.mean()), len(at))  # fmt: skip


def _warmed_elsewhere(model: nn.Module, train: Tensor, at: Tensor, *, same: bool, seed: int) -> Any:
    """For each position the state after :data:`WARM_UNITS` units from another place of ``train``."""
    units = min(WARM_UNITS, len(train))
    room = len(train) - units + 1
    if same:  # half the text away: as far as can be
        starts = (at + len(train) // 2) % room
    else:
        starts = torch.randint(room, (len(at),), generator=torch.Generator().manual_seed(seed + 1))
    with quiet(model):
        _, state = last_scores(model, train[starts + torch.arange(units)[:, None]], None)
    return state


def _unigram_draws(train: Tensor, shape: tuple[int, int], seed: int) -> Tensor:
    chances = torch.bincount(train).double()
    generator = torch.Generator().manual_seed(seed)
    return torch.multinomial(chances, shape[0] * shape[1], replacement=True, generator=generator).view(shape)


def _reach(at: Tensor, lags: Sequence[int], fresh: Tensor | None) -> NDArray[np.bool_]:
    """(P, K): whether no record begins between a position and the prediction made k steps on."""
    if fresh is None:
        return np.ones((len(at), len(lags)), np.bool_)
    begun = fresh.long().cumsum(0)
    last = at[:, None] + torch.tensor(lags)
    reached: NDArray[np.bool_] = (begun[last] == begun[at][:, None]).numpy()
    return reached


def _pairs(ids: Tensor, targets: Tensor | None, fresh: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs and targets of the same length; without targets the last unit only serves as one."""
    if targets is not None:
        if targets.shape != ids.shape:
            raise ValueError(
                f"targets has shape {tuple(targets.shape)}, ids {tuple(ids.shape)}: expected the same (N,)"
            )
        return ids, targets, fresh
    return ids[:-1], ids[1:], fresh
