"""Start a new tagger from old weights, across changed vocabularies and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unrolled.data.vocabulary import Vocabulary
from unrolled.tasks.tag.encoding import Steps, Words
from unrolled.tasks.tag.model import Tagger
from unrolled.tasks.transfer import Naming, copy_fitting

AXES = {
    "words": {"word.weight": 0},
    "letters": {"letter.weight": 0},
    "tags": {"head.weight": 0, "head.bias": 0, "crf.start": 0, "crf.end": 0},
}
"""Parameters whose rows belong to the strings of a vocabulary."""


def init_from(model: Tagger, known: Words | Steps, old: Mapping[str, Tensor], tokens: Mapping[str, Any]) -> list[str]:
    """Copy what fits of the weights ``old`` into ``model``; what does not fit keeps its fresh values.

    Rows of words, letters and tags are matched by name, everything else by its shape. A CRF's transitions run over tags
    both ways, and are taken where the tags are the same.

    Args:
        tokens: the old model's ``tokens.json``.
    Returns:
        Lines that say what was copied and what is new.
    """
    before = tokens.get("known") or {}
    weights: dict[str, Tensor | None] = dict(old)
    namings = []
    for what, axes in AXES.items():
        now, then = getattr(known, what, None), before.get(what)
        if now is None or then is None:
            weights |= dict.fromkeys(axes)
            continue
        names, old_names = _names(now), _names(Vocabulary.from_json(then, "tokens.json"))
        namings.append(Naming(what, names, old_names, axes))
        if what == "tags" and names != old_names:
            weights["crf.transitions"] = None
    return copy_fitting(model, weights, namings)


def _names(vocabulary: Vocabulary) -> list[str]:
    """The name of every row; a special one is told from an item of its spelling."""
    return [*(f"{special} (special)" for special in vocabulary.specials), *vocabulary.items]
