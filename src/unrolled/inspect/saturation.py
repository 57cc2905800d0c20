"""How a network uses its gates: saturation, time constants, units that hold (after Karpathy, Johnson & Fei-Fei 2015,
arXiv:1506.02078, section 4.2)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unrolled.cells import Cell, RNNCell
from unrolled.inspect.recording import Moment, Track, record
from unrolled.inspect.subject import Losses

Array = NDArray[Any]

LEFT, RIGHT = 0.1, 0.9
"""A gate is left-saturated below the first and right-saturated above the second."""

SQUASHED = ("g", "n")
"""Gates with values from -1 to 1: candidates, to which saturation in this sense does not apply."""


@dataclasses.dataclass(frozen=True)
class GateUse:
    """One layer in one direction, over all rows and all steps that are no padding.

    Attributes:
        layer: ``rnn.l0``. cell: ``lstm``. steps: how many steps, over all rows.
        left, right: by gate, (H,): share of the steps in which each unit's gate is under 0.1, and over 0.9.
        keep: the gate that keeps the state: ``f``, the GRU's ``z`` (torch's order: z near 1 keeps), or None.
        time_constant: (H,) steps, ``-1 / mean(ln keep)``: after so many steps the product of the gate, its geometric
            mean, has fallen to 1/e; infinite where the gate is 1 throughout.
        hold: (H,) share of the steps in which the unit holds: an LSTM's with f > 0.9 and i < 0.1 in the same step, a
            GRU's with z > 0.9; None without gates.
        extreme: (H,) share of the steps with |h| > 0.9, of a tanh network; None for others.
        zero: (H,) share of the steps with h = 0, of a ReLU network; None for others. Dead is a unit at 1.
    """

    layer: str
    cell: str
    steps: int
    left: dict[str, Array]
    right: dict[str, Array]
    keep: str | None
    time_constant: Array | None
    hold: Array | None
    extreme: Array | None
    zero: Array | None

    @property
    def dead(self) -> int | None:
        """Units of a ReLU network that were 0 at every step; None for others."""
        return None if self.zero is None else int((self.zero == 1).sum())


def gates(model: nn.Module, loss: Losses) -> list[GateUse]:
    """What the gates of every recurrent layer did on the batch that ``loss`` runs.

    Args:
        loss: runs the model once; its value is not used.
    Raises:
        ValueError: nothing to record.
    """
    with torch.no_grad(), record(model) as tracks:
        loss()
    return [_use(track) for track in tracks]


class _Sums:
    """Sums over steps and rows, each (H,)."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor) -> None:
        total = values.double().sum(0)
        self.sums[name] = self.sums[name] + total if name in self.sums else total


def _use(track: Track) -> GateUse:
    cell, sums, steps = track.cell, _Sums(), 0
    keep = next((name for name in ("f", "z") if name in cell.gates), None)
    for moment in track.moments():
        valid = moment.valid()
        steps += int(valid.sum())
        _count(sums, cell, keep, {name: moment.tape[name][valid].cpu() for name in cell.gates})
        if isinstance(cell, RNNCell):
            _count_vanilla(sums, cell, moment, valid)
    share: dict[str, Array] = {name: (total / max(steps, 1)).numpy() for name, total in sums.sums.items()}
    gated = [name for name in cell.gates if name not in SQUASHED]
    constant = None
    if keep is not None:
        with np.errstate(divide="ignore"):
            constant = 1.0 / np.abs(share["ln"])  # ln of a gate is never positive; of one that is always 1 it is 0
    return GateUse(
        track.name, cell.name, steps, {g: share[f"{g}<"] for g in gated}, {g: share[f"{g}>"] for g in gated}, keep,
        constant, share.get("hold"), share.get("extreme"), share.get("zero"),
    )  # fmt: skip


def _count(sums: _Sums, cell: Cell, keep: str | None, gate: dict[str, Tensor]) -> None:
    for name in cell.gates:
        if name not in SQUASHED:
            sums.add(f"{name}<", gate[name] < LEFT)
            sums.add(f"{name}>", gate[name] > RIGHT)
    if keep is not None:
        sums.add("ln", gate[keep].double().log())
        sums.add("hold", (gate["f"] > RIGHT) & (gate["i"] < LEFT) if keep == "f" else gate[keep] > RIGHT)


def _count_vanilla(sums: _Sums, cell: RNNCell, moment: Moment, valid: Tensor) -> None:
    h = moment.after[0][valid].cpu()
    if cell.nonlinearity == "tanh":
        sums.add("extreme", h.abs() > RIGHT)
    elif cell.nonlinearity == "relu":
        sums.add("zero", h == 0)
