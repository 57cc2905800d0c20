"""What is right: this package's cells, one step or a sequence, in float64; and central differences of any function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from unrolled.cells import Cell, GRUCell, LSTMCell, RNNCell
from unrolled.check.interface import SIZES, Interface
from unrolled.check.slips import Array, Arrays

_CELLS: dict[str, type[Cell]] = {"rnn": RNNCell, "lstm": LSTMCell, "gru": GRUCell}
_TORCH = {"W_xh": "weight_ih", "W_hh": "weight_hh", "b": "bias_ih", "b_xh": "bias_ih", "b_hh": "bias_hh"}
STEP = 1e-5
"""Of central differences: their error is about STEP² + 1e-16 / STEP, 1e-10."""


def draw(cell: Interface, function: str, seed: int = 0) -> Arrays:
    """Arguments of ``function``: normal, of a size at which neither tanh nor sigmoid saturates, nor looks linear."""
    random = np.random.default_rng([seed, *function.encode()])
    return tuple(random.normal(0.0, 0.6, v.size()) for v in cell.arguments(function))


class Truth:
    """Right answers for one set of arguments.

    Args:
        cell: whose.
        arguments: of ``forward`` (one step) or, with one dimension more in the first, of ``forward_sequence``.
    """

    def __init__(self, cell: Interface, arguments: Arrays) -> None:
        self.interface, self.cell = cell, _CELLS[cell.key](SIZES["I"], SIZES["H"])
        x, *rest = (torch.from_numpy(a.copy()) for a in arguments)
        self.sequence = x.ndim == 3
        self.xs, n = (x if self.sequence else x.unsqueeze(0)), len(cell.states)
        self.start = tuple(rest[:n])
        self.w = {_TORCH[v.name]: w for v, w in zip(cell.parameters, rest[n:], strict=True)}
        self.w.setdefault("bias_hh", torch.zeros_like(self.w["bias_ih"]))  # the lecture's one bias
        self._run()

    def _run(self) -> None:
        X_bar = self.cell.project(self.xs, self.w)
        state, self.states, self.tapes = self.start, [], []
        for x_bar in X_bar:
            state, tape = self.cell.step(x_bar, state, self.w)
            self.states.append(state)
            self.tapes.append(tape)

    def forward(self) -> Arrays:
        """The results of ``forward`` or ``forward_sequence``."""
        if self.sequence:
            return (torch.stack([s[0] for s in self.states]).numpy(),)
        return tuple(s.numpy() for s in self.states[0])

    def backward(self, given: Arrays) -> Arrays:
        """The results of ``backward`` or ``backward_sequence`` for these gradients of the forward results."""
        T = len(self.tapes)
        d = [torch.from_numpy(g.copy()) for g in given]
        dhs = d[0] if self.sequence else d[0].unsqueeze(0)
        d_state: tuple[Tensor, ...] = tuple(torch.zeros_like(s) for s in self.start)
        if not self.sequence:
            d_state = (d_state[0], *d[1:])
        total: dict[str, Tensor] = {}
        d_bars: list[Tensor] = []
        for t in reversed(range(T)):
            d_bar, d_state, grads = self.cell.step_backward((dhs[t] + d_state[0], *d_state[1:]), self.tapes[t], self.w)
            d_bars.insert(0, d_bar)
            total = {k: total.get(k, torch.zeros_like(g)) + g for k, g in grads.items()}
        dxs, from_x = self.cell.project_backward(torch.stack(d_bars), self.xs, self.w)
        assert dxs is not None
        named = {**total, **from_x}
        dx = dxs if self.sequence else dxs[0]
        return tuple(g.numpy() for g in (dx, *d_state, *(named[_TORCH[v.name]] for v in self.interface.parameters)))


def differences(function: Callable[[Arrays], Sequence[Array]], arguments: Arrays, given: Arrays) -> Arrays:
    """Central differences of ``sum(given * function(arguments))`` with respect to every argument."""

    def loss(values: Arrays) -> float:
        return sum(float(np.sum(g * r)) for g, r in zip(given, function(values), strict=True))

    found = []
    for k, a in enumerate(arguments):
        gradient = np.zeros_like(a)
        for at in np.ndindex(a.shape):
            sides = []
            for sign in (1, -1):
                moved = [b.copy() for b in arguments]
                moved[k][at] += sign * STEP
                sides.append(loss(tuple(moved)))
            gradient[at] = (sides[0] - sides[1]) / (2 * STEP)
        found.append(gradient)
    return tuple(found)
