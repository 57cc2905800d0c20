"""Small networks with known insides."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import unrolled


class Predictor(nn.Module):
    """One-hot input, our layer, a linear head: ``model(ids (T, B), state) -> scores, state``."""

    def __init__(self, V: int, layer: nn.Module) -> None:
        super().__init__()
        self.rnn, self.head = layer, nn.Linear(layer.proj_size or layer.hidden_size, V)

    def forward(self, ids: Tensor, state=None, *, resets: Tensor | None = None):
        output, state = self.rnn(ids, state, resets=resets)
        return self.head(output), state


def shift_register(V: int, delay: int) -> Predictor:
    """A linear network that says at t what it read at t - delay: the units move on by one place a step."""
    layer = unrolled.RNN(V, V * (delay + 1), nonlinearity="identity", bias=False)
    model = Predictor(V, layer)
    with torch.no_grad():
        layer.weight_ih_l0.zero_()[:V] = torch.eye(V)
        layer.weight_hh_l0.zero_()[V:, :-V] = torch.eye(V * delay)
        model.head.weight.zero_()[:, -V:] = 8 * torch.eye(V)
        model.head.bias.zero_()
    return model.double()


def train_delay(V: int, delay: int, steps: int) -> tuple[Predictor, Tensor]:
    """An LSTM trained to repeat its random input ``delay`` steps late, and the share it gets right."""
    torch.manual_seed(0)
    model = Predictor(V, unrolled.LSTM(V, 32))
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(steps):
        ids = torch.randint(V, (20 + delay, 32))
        scores, _ = model(ids)
        loss = F.cross_entropy(scores[delay:].flatten(0, 1), ids[:-delay].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model, (scores[delay:].argmax(-1) == ids[:-delay]).double().mean()
