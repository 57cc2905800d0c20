"""Exponential moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Average:
    """``a += (1 - d) (w - a)`` after every update, with ``d = min(decay, (1 + n) / (10 + n))`` at update ``n``: the
    early, bad weights are soon forgotten.

    Args:
        model: the model whose trained parameters are averaged.
        decay: the decay reached in the end, in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.params: dict[str, Tensor] = {n: p.data for n, p in model.named_parameters() if p.requires_grad}
        self.weights: dict[str, Tensor] = {n: p.clone() for n, p in self.params.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.weights.values()), list(self.params.values()), 1.0 - decay)

    @torch.no_grad()
    def put_in(self) -> None:
        """Write the average into the model."""
        for name, weight in self.weights.items():
            self.params[name].copy_(weight)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The model holds the average inside, its own weights again afterwards, to the bit."""
        own = [p.clone() for p in self.params.values()]
        self.put_in()
        try:
            yield
        finally:
            for p, o in zip(self.params.values(), own, strict=True):
                p.copy_(o)
