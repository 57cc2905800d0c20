"""What an engine is asked: one layer, one direction, everything by value."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from unrolled.cells import Cell, State, Weights


@dataclasses.dataclass(frozen=True)
class Call:
    """One layer in one direction over time.

    Attributes:
        x: (T, B, I), or integer ids (T, B) that stand for one-hot vectors.
        state: the cell's states before the first step read, each (B, R) or (B, H).
        lengths: (B,) valid steps of each row, or None for T.
        resets: (T, B) bool; True at t cuts between t-1 and t.
        reverse: read t from T-1 down to 0.
        mask: (B, R), multiplies h in the recurrent product (recurrent dropout), or None.
        zoneout: one rate for each of the cell's states, or ().
        zoned: in training one bool mask (T, B, N) for each state, True where the old value stays; () in evaluation,
            where the expectation is taken.
        seed, streams: where ``zoned`` was drawn from (:mod:`unrolled.engines.masks`), a stream for each state: an
            engine may draw the same bits itself.
    """

    cell: Cell
    w: Weights
    x: Tensor
    state: State
    lengths: Tensor | None = None
    resets: Tensor | None = None
    reverse: bool = False
    mask: Tensor | None = None
    zoneout: tuple[float, ...] = ()
    zoned: tuple[Tensor, ...] = ()
    seed: Tensor | None = None
    streams: tuple[int, ...] = ()

    @property
    def order(self) -> range:
        """The steps in the order in which they are read."""
        T = self.x.shape[0]
        return range(T - 1, -1, -1) if self.reverse else range(T)

    def valid(self) -> Tensor | None:
        """(T, B, 1) bool, False past a row's length; None when every step is valid."""
        if self.lengths is None:
            return None
        steps = torch.arange(self.x.shape[0], device=self.x.device)
        return (steps[:, None] < self.lengths)[..., None]

    def cuts(self) -> Tensor | None:
        """(T, B, 1) bool, True where the state is zeroed before step t is read in this direction.

        Forward that is a reset at t; in reverse, where t is read after t+1, a reset at t+1. A reset in the padding
        cuts nothing: the last state stays the last valid one, and the reverse direction starts from its initial state.
        """
        if self.resets is None:
            return None
        cuts, valid = self.resets[..., None], self.valid()
        if valid is not None:
            cuts = cuts & valid  # before the shift: the first step of padding must not cut the last valid one
        return torch.cat((cuts[1:], torch.zeros_like(cuts[:1]))) if self.reverse else cuts


@dataclasses.dataclass(frozen=True)
class Trace:
    """Every state and gate of one layer in one direction.

    Attributes:
        states: by name, (T+1, B, N). Forward, row 0 is the initial state and row t+1 the state after step t; in
            reverse, mirrored, row T is the initial state and row t the state after step t.
        gates: by name, (T, B, H), zero past a row's length.
    """

    states: dict[str, Tensor]
    gates: dict[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.states[name] if name in self.states else self.gates[name]
