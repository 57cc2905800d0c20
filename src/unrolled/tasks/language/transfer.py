"""Start a new language model from old weights, across a changed vocabulary."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from unrolled.data.units import Units
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.transfer import Naming, copy_fitting

BY_UNIT = {"embedding.weight": 0, "head.weight": 0, "head.bias": 0}
"""The dimension of each parameter that runs over the vocabulary; with one-hot input also 1 of ``weight_ih_l0``."""


def unit_names(units: Units) -> list[str]:
    """The name of every unit, in the order of their ids."""
    return [units.name(i) for i in range(len(units))]


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
    theirs: dict[str, Tensor | None] = dict(old)
    if "head.weight" not in old:
        theirs["head.weight"] = old.get("embedding.weight")  # the old head was tied
    if (model.embedding is None) != ("embedding.weight" not in old):
        theirs["rnn.weight_ih_l0"] = None  # columns for units on one side, for embedding dimensions on the other
    axes = BY_UNIT | ({"rnn.weight_ih_l0": 1} if model.embedding is None else {})
    notes = copy_fitting(model, theirs, [Naming("vocabulary", names, old_names, axes)])
    if model.config.single_bias:
        model.fold_biases()
    return notes
