"""Start a new model from old weights: rows that belong to a unit by its name, everything else by its shape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Naming:
    """What the rows of some parameters are called.

    Attributes:
        what: for messages: "vocabulary", "tags".
        names, old: the name of every row, in the new and in the old model.
        axes: parameter to the dimension that runs over them.
    """

    what: str
    names: Sequence[str]
    old: Sequence[str]
    axes: Mapping[str, int]

    def shared(self) -> tuple[Tensor, Tensor]:
        """The rows that both have: where they are in the new model and in the old one."""
        by_name = {name: i for i, name in enumerate(self.old)}
        pairs = [(i, by_name[name]) for i, name in enumerate(self.names) if name in by_name]
        return torch.tensor([p[0] for p in pairs]).long(), torch.tensor([p[1] for p in pairs]).long()

    def note(self) -> str | None:
        """What became of the rows; None where nothing changed."""
        known = set(self.old)
        new = [name for name in self.names if name not in known]
        kept = len(self.names) - len(new)
        if not new and len(self.old) == len(self.names):
            return None
        shown = (": " if new else "") + " ".join(new[:20]) + (" ..." if len(new) > 20 else "")
        return f"{self.what}: {kept} units kept, {len(new)} new{shown}, {len(self.old) - kept} dropped"


@torch.no_grad()
def copy_fitting(model: nn.Module, old: Mapping[str, Tensor | None], namings: Sequence[Naming] = ()) -> list[str]:
    """Copy what fits of the weights ``old`` into ``model``; what does not fit keeps its fresh values.

    Args:
        old: the old model's ``state_dict()``; None for a weight that must not be taken.
        namings: parameters whose rows are matched by name.
    Returns:
        Lines that say what was copied and what is new.
    """
    rows = {name: (axis, *naming.shared()) for naming in namings for name, axis in naming.axes.items()}
    copied, fresh = [], []
    for name, own in model.state_dict().items():
        theirs = old.get(name)
        copy = _copier(own, theirs, rows.get(name))
        if copy is None:
            fresh.append(name + ("" if theirs is None else f" ({_size(theirs)} there, {_size(own)} here)"))
        else:
            copy()
            copied.append(name)
    notes = [f"copied: {', '.join(copied) or 'nothing fits'}"]
    if fresh:
        notes.append(f"new: {', '.join(fresh)}")
    return notes + [note for naming in namings if (note := naming.note()) is not None]


def _copier(own: Tensor, theirs: Tensor | None, rows: tuple[int, Tensor, Tensor] | None) -> Callable[[], object] | None:
    """What copies ``theirs`` into ``own``, or None where the shapes do not allow it."""
    if theirs is None or own.dim() != theirs.dim():
        return None
    if rows is None:
        return (lambda: own.copy_(theirs)) if own.shape == theirs.shape else None
    axis, to, source = rows
    rest, their_rest = list(own.shape), list(theirs.shape)
    del rest[axis], their_rest[axis]
    if rest != their_rest or not len(to):
        return None
    picked = theirs.index_select(axis, source.to(theirs.device)).to(own)
    return lambda: own.index_copy_(axis, to.to(own.device), picked)


def _size(tensor: Tensor) -> str:
    return " x ".join(str(n) for n in tensor.shape)
