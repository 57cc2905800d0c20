"""LSTMs whose gates are held: by biases alone, in the cell that every layer of this package runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unrolled.cells.lstm import LSTMCell

SHUT, OPEN = -1000.0, 1000.0
"""Pre-activations at which float64's sigmoid is 0 and 1 to the bit, and its derivative 0."""

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def held_lstm(H: int, f_bar: float, i_bar: float, seed: int, *, spread: float = 1.0) -> Step:
    """One step ``(h, c) -> (h, c)`` of an LSTM without input, f and i held by their biases.

    Rows of W_hh of the gates f and i are zero where the bias does not saturate; those of g and o are random (sd
    ``spread / √H``): the path through h is there, only the gates shut it.
    """
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(4, H, H, dtype=torch.float64, generator=generator) * (spread / H**0.5)
    bias = torch.zeros(4, H, dtype=torch.float64)
    for gate, value in ((0, i_bar), (1, f_bar)):
        bias[gate] = value
        if abs(value) < OPEN:
            W[gate] = 0.0
    return _step(H, W.reshape(4 * H, H), bias.reshape(-1))


def doubling_lstm(H: int) -> Step:
    """An LSTM that explodes: f = 1, i = o = 1/2, and W_hh = 4 I for the candidate alone.

    c = h = 0 is a fixed point, where c' = c + (1/2) 4 h and h' = c'/2: every step doubles a small disturbance although
    no forget gate is above 1. The growth goes through h and W_hh, beside the additive path.
    """
    W = torch.zeros(4, H, H, dtype=torch.float64)
    W[2] = 4.0 * torch.eye(H, dtype=torch.float64)
    bias = torch.zeros(4, H, dtype=torch.float64)
    bias[1] = OPEN
    return _step(H, W.reshape(4 * H, H), bias.reshape(-1))


def random_lstm(H: int, spread: float, forget_bias: float, seed: int) -> Step:
    """An LSTM with normal weights of sd ``spread / √H`` in every gate."""
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(4 * H, H, dtype=torch.float64, generator=generator) * (spread / H**0.5)
    bias = torch.zeros(4, H, dtype=torch.float64)
    bias[1] = forget_bias
    return _step(H, W, bias.reshape(-1))


def cell_gradient(step: Step, c: Tensor, k: int) -> Tensor:
    """∂c_t/∂c_{t-k} (H, H): the total derivative through k steps, c and every h on the way, from h_{t-k} fixed."""
    from torch.func import jacrev

    def last(start: Tensor) -> Tensor:
        h, c = torch.zeros_like(start), start
        for _ in range(k):
            h, c = step(h, c)
        return c

    gradient: Tensor = jacrev(last)(c).detach()
    return gradient


def _step(H: int, W: Tensor, bias: Tensor) -> Step:
    cell = LSTMCell(1, H)
    w = {"weight_hh": W, "bias_hh": torch.zeros_like(bias)}

    def step(h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        (h, c), _ = cell.step(bias[None], (h[None], c[None]), w)
        return h[0], c[0]

    return step
