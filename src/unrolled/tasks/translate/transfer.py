"""Start a new translator from old weights, across changed vocabularies."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from unrolled.tasks.transfer import Naming, copy_fitting
from unrolled.tasks.translate.model import Translator
from unrolled.tasks.translate.sides import Side

ENDS = ["\0end", "\0start"]
"""Names of a side's two ids that are no units; nothing else is written so."""


def init_from(
    model: Translator, old: Mapping[str, Tensor], sides: tuple[Side, Side], old_sides: tuple[Side, Side]
) -> list[str]:
    """Copy what fits of the weights ``old``: rows of units by the units' names, everything else by its shape.

    Returns:
        Lines that say what was copied and what is new.
    """
    (source, target), (old_source, old_target) = ((_names(side) for side in both) for both in (sides, old_sides))
    end = ENDS[0]
    read = Naming("source units", source, old_source, {"source_embedding.weight": 0})
    fed = Naming("target units", [*target, *ENDS], [*old_target, *ENDS], {"target_embedding.weight": 0})
    scored = Naming("scores", [*target, end], [*old_target, end], {"head_weight": 0, "head_bias": 0})
    repeated = scored.note()
    return [note for note in copy_fitting(model, dict(old), [read, fed, scored]) if note != repeated]


def _names(side: Side) -> list[str]:
    return [side.units.name(k) for k in range(side.V)]
