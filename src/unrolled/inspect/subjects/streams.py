"""Windows into long sequences: the K steps before drawn positions, each from the state that was carried there."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unrolled.errors import UserError
from unrolled.inspect.subject import Losses
from unrolled.state import detach, stack

State = Any
READ_ALONE = 2e10
"""Multiplications spent on carrying the state along one sequence, at most: what lies further on is not drawn from."""
FEWEST = 16
"""Windows below which fewer steps are taken, so that more fit."""


@dataclasses.dataclass(frozen=True)
class Sequence:
    """One long sequence, step by step.

    Attributes:
        inputs: (N, ...) what is read. wanted: (N, ...) what is predicted after each step.
        counts: (N,) bool, the steps whose loss there is.
        fresh: (N,) bool, where the state starts anew; None for nowhere.
    """

    inputs: Tensor
    wanted: Tensor
    counts: Tensor
    fresh: Tensor | None = None

    def before(self) -> Tensor:
        """(N,) how many steps the state at each has come, that step included."""
        steps = torch.arange(1, len(self.inputs) + 1)
        if self.fresh is None:
            return steps
        start = torch.where(self.fresh, steps - 1, 0).cummax(0).values
        return steps - start


@dataclasses.dataclass(frozen=True)
class StreamWindows:
    """:data:`unrolled.inspect.subject.Windows` over long sequences.

    Attributes:
        read: ``read(model, inputs (T, B, ...), state, resets)`` gives output (T, B, H) and state.
        cost: ``cost(model, output (P, H), wanted (P, ...))`` gives nats (P,).
        where: what messages call the data.
    """

    sequences: list[Sequence]
    read: Callable[[nn.Module, Tensor, State, Tensor | None], tuple[Tensor, State]]
    cost: Callable[[nn.Module, Tensor, Tensor], Tensor]
    where: str
    seed: int = 1

    def __call__(self, model: nn.Module, positions: int, steps: int) -> Losses:
        """See :data:`unrolled.inspect.subject.Windows`.

        Raises:
            UserError: no sequence is as long as ``steps``.
        """
        limit = max(4 * steps, int(READ_ALONE / max(1, sum(p.numel() for p in model.parameters()))))
        sequences = [_first(s, limit) for s in self.sequences]
        places, steps = self._draw(sequences, positions, steps)
        starts = [np.unique([at for which, at in places if which == k]) for k in range(len(sequences))]
        states: dict[tuple[int, int], State] = {}
        for k, sequence in enumerate(sequences):
            states |= {(k, at): state for at, state in self._carry(model, sequence, starts[k].tolist()).items()}
        like = next(p for p in model.parameters() if p.is_floating_point())
        state = _joined([states[place] for place in places], like)
        inputs = torch.stack([sequences[k].inputs[at : at + steps] for k, at in places], 1)
        wanted = torch.stack([sequences[k].wanted[at + steps - 1] for k, at in places])
        fresh = [sequences[k].fresh for k, _ in places]
        resets = None
        if any(f is not None and bool(f[at : at + steps].any()) for f, (_, at) in zip(fresh, places, strict=True)):
            resets = torch.stack([f[at : at + steps] for f, (_, at) in zip(fresh, places, strict=True)
                                  if f is not None], 1)  # fmt: skip
        if inputs.is_floating_point():
            inputs, wanted = inputs.to(like), wanted.to(like)

        def losses() -> Tensor:
            output, _ = self.read(model, inputs, state, resets)
            return self.cost(model, output[-1], wanted)

        return losses

    def _draw(self, sequences: list[Sequence], positions: int, steps: int) -> tuple[list[tuple[int, int]], int]:
        """Sequence and first step of each window, drawn without repetition, and their steps: fewer where too few
        places have so many steps behind them (records are short)."""
        longest = max((len(s.inputs) for s in sequences), default=0)
        if longest < steps:
            raise UserError(f"{self.where}: {longest} steps are fewer than the {steps} that the gradient is followed "
                            f"through; give a longer one, or --steps {max(2, longest // 2)}")  # fmt: skip
        before = [torch.where(s.counts, s.before(), 0) for s in sequences]
        while steps > 1 and sum(int((b >= steps).sum()) for b in before) < FEWEST:
            steps = max(1, steps * 3 // 4)
        found = [(k, int(end) - steps + 1) for k, b in enumerate(before) for end in torch.nonzero(b >= steps)[:, 0]]
        if not found:
            raise UserError(f"{self.where}: no step of it is scored; give more of it")
        rng = np.random.default_rng(self.seed)
        chosen = rng.permutation(len(found))[:positions]
        return [found[k] for k in sorted(chosen.tolist())], steps

    @torch.no_grad()
    def _carry(self, model: nn.Module, sequence: Sequence, starts: list[int]) -> dict[int, State]:
        """The state before each of ``starts``, read in one stream from the beginning, in float32: for a state to start
        from that is precise enough, and twice as fast."""
        reader, found, at = copy.deepcopy(model).float().eval(), {}, 0
        state: State = None
        for start in starts:
            if start > at:
                inputs, fresh = sequence.inputs[at:start, None], None
                if sequence.fresh is not None and bool(sequence.fresh[at:start].any()):
                    fresh = sequence.fresh[at:start, None]
                inputs = inputs.float() if inputs.is_floating_point() else inputs
                state = detach(self.read(reader, inputs, state, fresh)[1])
                at = start
            found[start] = state
        return found


def _first(sequence: Sequence, limit: int) -> Sequence:
    if len(sequence.inputs) <= limit:
        return sequence
    parts = (sequence.inputs, sequence.wanted, sequence.counts, sequence.fresh)
    return Sequence(*(part if part is None else part[:limit] for part in parts))  # type: ignore[arg-type]


def _joined(states: list[State], like: Tensor) -> State:
    """One batch of states, None (zeros) among them, in the precision of ``like``."""
    some = next((s for s in states if s is not None), None)
    if some is None:
        return None
    nothing = tuple(torch.zeros_like(s) for s in some) if isinstance(some, tuple) else torch.zeros_like(some)
    state = stack([nothing if s is None else s for s in states])
    return tuple(s.to(like) for s in state) if isinstance(state, tuple) else state.to(like)
