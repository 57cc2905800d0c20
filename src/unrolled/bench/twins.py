"""Our layer and torch's with the same weights and the same data: what most cases compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.bench import parity
from unrolled.bench.measure import Side
from unrolled.layers import GRU, LSTM, RNN

OURS: dict[str, Callable[..., nn.Module]] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}
PEERS: dict[str, Callable[..., nn.Module]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@dataclasses.dataclass(frozen=True)
class Shape:
    """A stack of layers and its input; I is H unless said."""

    cell: str
    T: int
    B: int
    H: int
    L: int = 1
    I: int = 0

    @property
    def input_size(self) -> int:
        """I."""
        return self.I or self.H

    @property
    def flops(self) -> float:
        """Flops of forward and backward that the task needs, those of the products alone.

        Three products a weight (forward, the input's gradient, the weight's), 2 flops a multiplication. The first step
        reads a state of zeros: nothing is multiplied there, and no gradient of that state is asked for.
        """
        rows, total = GATES[self.cell] * self.H, 0.0
        for layer in range(self.L):
            read = self.input_size if layer == 0 else self.H
            total += 6.0 * self.B * rows * (self.T * read + (self.T - 1) * self.H)
        return total

    def __str__(self) -> str:
        layers = f" L{self.L}" if self.L > 1 else ""
        width = f" I{self.I}" if self.I else ""
        return f"{self.cell} B{self.B} T{self.T}{width} H{self.H}{layers}"


class Half:
    """One layer with its own copy of the data, forward and backward; x requires a gradient."""

    def __init__(self, name: str, layer: nn.Module, x: Tensor, d_output: Tensor, **call: Any) -> None:
        self.name, self.layer, self.d_output, self.call = name, layer, d_output, call
        self.x = x.clone().requires_grad_()
        self.parameters = list(layer.parameters())

    def run(self) -> Any:
        """Forward and backward, gradients fresh, as after ``zero_grad()``."""
        self.x.grad = None
        for p in self.parameters:
            p.grad = None
        found = self.layer(self.x, **self.call)
        found[0].backward(self.d_output)
        return found

    def results(self) -> dict[str, Tensor]:
        """Output, last states, and the gradients of x and of every weight."""
        output, state = self.run()[:2]
        states = state if isinstance(state, tuple) else (state,)
        found = {"output": output, **{f"state {k}": s for k, s in enumerate(states)}}
        assert self.x.grad is not None
        found["dx"] = self.x.grad
        return found | {f"d_{n}": p.grad for n, p in self.layer.named_parameters() if p.grad is not None}

    def side(self) -> Side:
        """To be measured."""
        return Side(self.name, self.run)


def data(shape: Shape, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Input (T, B, I) and gradient of the output (T, B, H), seeded."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shape.T, shape.B, shape.input_size, generator=generator, dtype=dtype)
    return x, torch.randn(shape.T, shape.B, shape.H, generator=generator, dtype=dtype)


def layer(shape: Shape, engine: str, dtype: torch.dtype = torch.float32, **options: Any) -> nn.Module:
    """Our layer of this shape, its weights drawn from seed 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return OURS[shape.cell](shape.input_size, shape.H, shape.L, dtype=dtype, engine=engine, **options)


def twins(shape: Shape, engine: str, dtype: torch.dtype = torch.float32) -> tuple[Half, Half]:
    """Ours and torch's, same weights, same data; their results are checked to be the same.

    torch's layer is taken in its best form for training: time first, dense, no packing, in training mode, one call for
    all layers, so that it chooses its own fused kernel (oneDNN's for a float32 LSTM).

    Raises:
        ParityError: outputs, states or a gradient differ.
    """
    ours = layer(shape, engine, dtype)
    peer = PEERS[shape.cell](shape.input_size, shape.H, shape.L, dtype=dtype)
    peer.load_state_dict(ours.state_dict())
    halves = Half("ours", ours, *data(shape, dtype)), Half("torch.nn", peer, *data(shape, dtype))
    parity.check(halves[0].results(), halves[1].results())
    return halves
