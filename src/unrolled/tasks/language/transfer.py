"""Start a new model from old weights, across a changed vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from unrolled.data.units import Units
from unrolled.tasks.language.model import LanguageModel

BY_UNIT = {"embedding.weight": 0, "head.weight": 0, "head.bias": 0}
"""The dimension of each parameter that runs over the vocabulary; with one-hot input also 1 of ``weight_ih_l0``."""


def unit_names(units: Units) -> list[str]:
    """The name of every unit, in the order of their ids."""
    return [units.name(i) for i in range(len(units))]


@torch.no_grad()
def init_from(
    model: LanguageModel,
    old: Mapping[str, Tensor],
    names: list[str],
    old_names: list[str],
) -> list[str]:
    """Copy what fits of the weights ``old`` into ``model``; what does not fit keeps its fresh values.

    Rows that belong to a unit (embedding, head, one-hot input) are matched by the unit's name, everything else by its
    shape.

    Args:
        old: the old model's ``state_dict()``.
        names, old_names: the name of every unit of the new and of the old vocabulary, in order.
    Returns:
        Lines that say what was copied and what is new.
    """
    by_name = {name: i for i, name in enumerate(old_names)}
    shared = [(i, by_name[name]) for i, name in enumerate(names) if name in by_name]
    rows, old_rows = torch.tensor([s[0] for s in shared]).long(), torch.tensor([s[1] for s in shared]).long()
    same_input = (model.embedding is None) == ("embedding.weight" not in old)
    axes = dict(BY_UNIT)
    if model.embedding is None:
        axes["rnn.weight_ih_l0"] = 1

    copied, fresh = [], []
    for name, own in model.state_dict().items():
        theirs = old.get(name)
        if name == "head.weight" and theirs is None:
            theirs = old.get("embedding.weight")  # the old head was tied
        if name == "rnn.weight_ih_l0" and not same_input:
            theirs = None  # columns for units on one side, for embedding dimensions on the other
        copy = _copier(own, theirs, axes.get(name), rows, old_rows)
        if copy is None:
            fresh.append(name + ("" if theirs is None else f" ({_size(theirs)} there, {_size(own)} here)"))
        else:
            copy()
            copied.append(name)
    if model.config.single_bias:
        model.fold_biases()
    new_units = [name for name in names if name not in by_name]
    notes = [f"copied: {', '.join(copied) or 'nothing fits'}"]
    if fresh:
        notes.append(f"new: {', '.join(fresh)}")
    if new_units or len(old_names) != len(names):
        dropped = len(old_names) - len(shared)
        shown = (": " if new_units else "") + " ".join(new_units[:20]) + (" ..." if len(new_units) > 20 else "")
        notes.append(f"vocabulary: {len(shared)} units kept, {len(new_units)} new{shown}, {dropped} dropped")
    return notes


def _copier(
    own: Tensor, theirs: Tensor | None, axis: int | None, rows: Tensor, old_rows: Tensor
) -> Callable[[], object] | None:
    """What copies ``theirs`` into ``own``, or None where the shapes do not allow it."""
    if theirs is None or own.dim() != theirs.dim():
        return None
    if axis is None:
        return (lambda: own.copy_(theirs)) if own.shape == theirs.shape else None
    rest, their_rest = list(own.shape), list(theirs.shape)
    del rest[axis], their_rest[axis]
    if rest != their_rest or not len(rows):
        return None
    picked = theirs.index_select(axis, old_rows.to(theirs.device)).to(own)
    return lambda: own.index_copy_(axis, rows.to(own.device), picked)


def _size(tensor: Tensor) -> str:
    return " x ".join(str(n) for n in tensor.shape)
