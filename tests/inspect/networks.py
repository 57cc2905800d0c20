"""Small networks and losses for the instruments' tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import unrolled

CELLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "tanh": (unrolled.RNN, {}),
    "relu": (unrolled.RNN, {"nonlinearity": "relu"}),
    "identity": (unrolled.RNN, {"nonlinearity": "identity"}),
    "rnn-norm": (unrolled.RNN, {"layer_norm": True}),
    "lstm": (unrolled.LSTM, {}),
    "lstm-proj": (unrolled.LSTM, {"proj_size": 3}),
    "lstm-norm": (unrolled.LSTM, {"layer_norm": True}),
    "lstm-zone": (unrolled.LSTM, {"zoneout": (0.2, 0.1)}),
    "gru": (unrolled.GRU, {}),
    "gru-norm": (unrolled.GRU, {"layer_norm": True}),
    "gru-before": (unrolled.GRU, {"reset_after": False}),
}
"""Every cell and option that changes the step."""


class Net(nn.Module):
    """A recurrent layer and a head, float64; weights larger than at initialisation, so that nothing is near linear."""

    def __init__(self, kind: str, *, I: int = 4, H: int = 5, V: int = 6, seed: int = 0, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(seed)
        make, own = CELLS[kind]
        self.rnn = make(I, H, **own, **options)
        width = (self.rnn.proj_size or H) * (2 if self.rnn.bidirectional else 1)
        self.head = nn.Linear(width, V)
        self.double().eval()
        with torch.no_grad():
            for p in self.rnn.parameters():
                p.mul_(1.7)

    def forward(self, x: Tensor, hx: Any = None, **options: Any) -> tuple[Tensor, Any]:
        y, hx = self.rnn(x, hx, **options)
        return self.head(y), hx


def batch(T: int = 12, B: int = 3, I: int = 4, V: int = 6, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs (T, B, I) and the targets (B,) of the last step."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(T, B, I, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, V, (B,), generator=generator)


def last_loss(net: Net, x: Tensor, y: Tensor, hx: Any = None, **options: Any) -> Callable[[], Tensor]:
    """The loss at the last valid step of each row."""
    lengths = options.get("lengths")
    ends = torch.full((x.shape[1],), len(x)) if lengths is None else lengths

    def loss() -> Tensor:
        scores, _ = net(x, hx, **options)
        return F.cross_entropy(scores[(ends - 1).clamp(min=0), torch.arange(len(ends))], y, reduction="none")

    return loss
