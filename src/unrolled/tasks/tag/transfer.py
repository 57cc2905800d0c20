"""Start a new tagger from old weights, across changed vocabularies and tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unrolled.data.vocabulary import Vocabulary
from unrolled.tasks.tag.encoding import Steps, Words
from unrolled.tasks.tag.model import Tagger

BY_NAME = {
    "word.weight": ("words", (0,)), "letter.weight": ("letters", (0,)), "head.weight": ("tags", (0,)),
    "head.bias": ("tags", (0,)), "crf.start": ("tags", (0,)), "crf.end": ("tags", (0,)),
    "crf.transitions": ("tags", (0, 1)),
}  # fmt: skip
"""Parameters whose rows (and columns) belong to the strings of a vocabulary."""


@torch.no_grad()
def init_from(model: Tagger, known: Words | Steps, old: Mapping[str, Tensor], tokens: Mapping[str, Any]) -> list[str]:
    """Copy what fits of the weights ``old`` into ``model``; what does not fit keeps its fresh values.

    Rows of words, letters and tags are matched by name, everything else by its shape.

    Args:
        tokens: the old model's ``tokens.json``.
    Returns:
        Lines that say what was copied and what is new.
    """
    before = tokens.get("known") or {}
    copied, fresh = [], []
    for name, own in model.state_dict().items():
        theirs = old.get(name)
        kind, axes = BY_NAME.get(name, ("", ()))
        now = getattr(known, kind, None) if kind else None
        then = before.get(kind) if kind else None
        if theirs is None or theirs.dim() != own.dim():
            fresh.append(name)
        elif now is not None and then is not None:
            rows, old_rows = _shared(now, Vocabulary.from_json(then, "tokens.json"))
            rest = [d for d in range(own.dim()) if d not in axes]
            if [own.shape[d] for d in rest] != [theirs.shape[d] for d in rest]:
                fresh.append(f"{name} ({_size(theirs)} there, {_size(own)} here)")
                continue
            for axis in axes:
                theirs = theirs.index_select(axis, old_rows)
            place = (rows[:, None], rows) if len(axes) == 2 else (rows,)
            own[place] = theirs.to(own)
            copied.append(f"{name} ({len(rows)} of {own.shape[0]} rows)")
        elif own.shape == theirs.shape:
            own.copy_(theirs)
            copied.append(name)
        else:
            fresh.append(f"{name} ({_size(theirs)} there, {_size(own)} here)")
    notes = [f"copied: {', '.join(copied) or 'nothing fits'}"]
    return notes + ([f"new: {', '.join(fresh)}"] if fresh else [])


def _shared(now: Vocabulary, then: Vocabulary) -> tuple[Tensor, Tensor]:
    """Ids here and there of what both have; specials stand first in both."""
    pairs = [(k, k) for k in range(min(len(now.specials), len(then.specials)))]
    pairs += [(k, then.index[item]) for item, k in now.index.items() if item in then.index]
    return torch.tensor([p[0] for p in pairs]).long(), torch.tensor([p[1] for p in pairs]).long()


def _size(tensor: Tensor) -> str:
    return " x ".join(str(n) for n in tensor.shape)
