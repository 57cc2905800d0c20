"""Loss by kind of character: where a language model is sure, and where it guesses."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.inspect.subject import Text

KINDS = ("lower-case letters", "upper-case letters", "digits", "spaces", "newlines", "punctuation", "other")

READ, WARMUP = 500, 200
"""Units that are scored in one stretch, and those read before them, unscored, to have a state."""


@dataclasses.dataclass(frozen=True)
class KindLoss:
    """Of one kind: units, mean loss in nats per unit, and its share of the whole loss."""

    kind: str
    units: int
    nats: float
    share: float


def kind_of(unit: str) -> str:
    """The kind of a unit: of a character; of a longer one (a word) that of its letters, where there are any."""
    letters = [c for c in unit if c.isalpha()]
    if letters:
        return KINDS[1] if letters[0].isupper() else KINDS[0]
    if any(c.isdigit() for c in unit):
        return KINDS[2]
    if "\n" in unit or "\r" in unit:
        return KINDS[4]
    if unit and unit.isspace():
        return KINDS[3]
    return KINDS[5] if len(unit) == 1 and unit.isprintable() else KINDS[6]


@torch.no_grad()
def unit_losses(model: nn.Module, ids: Tensor, fresh: Tensor | None = None) -> Tensor:
    """The loss of every unit of a text but the first, (N-1,) nats.

    Stretches of 500 units, each after 200 that are read for the state alone: the state is nearly the one that was
    carried, and the text is read as one batch.

    Args:
        model: ``scores, state = model(ids (T, B), state, resets=)``, as the language model's.
        ids: (N,) int64. fresh: (N,) bool, where the state starts anew.
    """
    model.eval()
    device, N = next(model.parameters()).device, len(ids) - 1
    starts = range(0, N, READ)
    T = min(READ + WARMUP, N)
    first = torch.tensor([max(0, min(start - WARMUP, N - T)) for start in starts])
    places = first[None, :] + torch.arange(T)[:, None]  # (T, P)
    resets = None if fresh is None else fresh[places].to(device)
    scores = model(ids[places].to(device), None, resets=resets)[0]
    losses = F.cross_entropy(scores.flatten(0, 1).float(), ids[places + 1].flatten().to(device), reduction="none").cpu()
    found = torch.empty(N)
    for k, start in enumerate(starts):
        own = losses.view(T, -1)[:, k]
        stop = min(start + READ, N)
        found[start:stop] = own[start - int(first[k]) : stop - int(first[k])]
    return found


def loss_by_kind(model: nn.Module, text: Text, limit: int = 20_000) -> list[KindLoss]:
    """The loss of a language model by the kind of the unit that is predicted, over up to ``limit`` units.

    Returns:
        the kinds that occur, in the order of ``KINDS``.
    """
    ids = text.ids[: limit + 1]
    if len(ids) < 2:
        return []
    losses = unit_losses(model, ids, None if text.fresh is None else text.fresh[: len(ids)])
    kinds = [kind_of(unit) for unit in text.units[1 : len(ids)]]
    total, rows = float(losses.sum()), []
    for kind in KINDS:
        of_it = losses[torch.tensor([k == kind for k in kinds])]
        if len(of_it):
            rows.append(KindLoss(kind, len(of_it), float(of_it.mean()), float(of_it.sum()) / total))
    return rows
