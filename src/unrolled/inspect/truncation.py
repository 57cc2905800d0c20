"""What truncated back-propagation through time leaves out of the gradient."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.layers.recurrent import Recurrent
from unrolled.state import detach


@dataclasses.dataclass(frozen=True)
class TruncationError:
    """The gradient that reaches back ``k`` steps beside one that reaches back ``reach``, on the same batch and losses.

    Attributes:
        k, reach: steps.
        cosine, relative: of all parameters: the cosine of the two gradients, and the norm of their difference over the
            norm of the longer one.
        recurrent_cosine, recurrent_relative: of the recurrent layers' parameters alone.
        noise: cosine of the longer gradients of the two halves of the batch: what chance alone does. NaN for one row.
    """

    k: int
    reach: int
    cosine: float
    relative: float
    recurrent_cosine: float
    recurrent_relative: float
    noise: float


def truncation_error(model: nn.Module, ids: Tensor, cuts: list[int], scored: int) -> list[TruncationError]:
    """For each k of ``cuts``: training's gradient, cut every k steps, against the one that is never cut.

    The losses are the mean over the last ``scored`` steps, for every k; the states at the cuts are the same for all.
    The cuts are counted from the end, so with ``k = scored`` it is one update of truncated back-propagation through
    time.

    Args:
        model: ``scores, state = model(ids (T, B), state)``; float64 and in evaluation mode where small differences
            matter (:func:`unrolled.inspect.double`).
        ids: (T+1, B) int64: T steps are read from the zero state, each of B streams unbroken.
        cuts: numbers of steps k, 1 to T. scored: 1 to T.
    Raises:
        ValueError: a k or ``scored`` outside 1 to T.
    """
    T, B = len(ids) - 1, ids.shape[1]
    for name, value in (("scored", scored), *(("cuts", k) for k in cuts)):
        if not 1 <= value <= T:
            raise ValueError(f"{name} holds {value}, expected 1 to T = {T}")
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    own = {id(p) for m in model.modules() if isinstance(m, Recurrent) for p in m.parameters()}
    inner = torch.cat([torch.full((p.numel(),), id(p) in own) for p in parameters.values()])
    noise = float("nan")
    if B > 1:
        parts = torch.split(ids, [B // 2, B - B // 2], 1)
        halves = [_gradient(model, part, T, scored, parameters, {}) for part in parts]
        full = (halves[0] * (B // 2) + halves[1] * (B - B // 2)) / B
        noise = _cosine(*halves)
    else:
        full = _gradient(model, ids, T, scored, parameters, {})
    rows, carried = [], dict[int, Any]()
    for k in cuts:
        short = _gradient(model, ids, k, scored, parameters, carried)
        rows.append(TruncationError(
            k, T, _cosine(short, full), _relative(short, full), _cosine(short[inner], full[inner]),
            _relative(short[inner], full[inner]), noise,
        ))  # fmt: skip
    return rows


def _gradient(
    model: nn.Module, ids: Tensor, k: int, scored: int, parameters: Mapping[str, Tensor], carried: dict[int, Any]
) -> Tensor:
    """The gradient of the mean loss over the last ``scored`` steps, cut every k steps from the end, as one vector.

    ``carried`` keeps the states that were reached without a gradient, for the next k.
    """
    T, losses = len(ids) - 1, []
    cuts = range(T % k, T, k)
    first = max(bound for bound in (0, *cuts) if bound <= T - scored)  # nothing before it has a part in the gradient
    if first not in carried:
        with torch.no_grad():
            carried[first] = model(ids[:first], None)[1] if first else None
    state = carried[first]
    with torch.enable_grad():
        for start, stop in itertools.pairwise(sorted({first, T - scored, *(c for c in cuts if c > first), T})):
            scores, state = model(ids[start:stop], detach(state) if start in cuts else state)
            if start >= T - scored:
                wanted = ids[start + 1 : stop + 1]
                losses.append(F.cross_entropy(scores.flatten(0, 1), wanted.flatten(), reduction="sum"))
        total = torch.stack(losses).sum() / (scored * ids.shape[1])
        grads = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    filled = (torch.zeros_like(p) if g is None else g for g, p in zip(grads, parameters.values(), strict=True))
    return torch.cat([g.flatten() for g in filled])


def _cosine(a: Tensor, b: Tensor) -> float:
    cosine = float(a @ b / (torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)))
    return max(-1.0, min(cosine, 1.0)) if cosine == cosine else cosine  # rounding may leave the range


def _relative(a: Tensor, b: Tensor) -> float:
    return float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b))
