"""The recurrent forecaster, and the distributions it gives: their loss, their middle, and draws from them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.state import zeros
from unrolled.tasks.forecast.config import ForecastConfig
from unrolled.tasks.layer import recurrent_layer

State = Any
HEAD_STD = 0.1
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class ForecastModel(nn.Module):
    """``h = rnn(x)``, and a distribution of each of D values from h: mean and log spread, or quantiles.

    The head starts small, its bias at the standard normal distribution, so that the first loss is that of the
    standardised series under it.

    Args:
        inputs: I, numbers that enter at each step. targets: D, values that are forecast.
    """

    def __init__(self, inputs: int, targets: int, config: ForecastConfig) -> None:
        super().__init__()
        self.targets, self.config = targets, config
        self.rnn = recurrent_layer(inputs, config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, targets * config.outputs)
        with torch.no_grad():
            self.head.weight.normal_(0.0, HEAD_STD / math.sqrt(config.hidden))
            self.head.bias.copy_(first_guess(config).repeat(targets))

    def forward(self, x: Tensor, state: State = None, *, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Distributions of the values that follow.

        Args:
            x: (T, B, I). state: before the first step, None for zeros.
            lengths: int64 (B,); steps from there on are padding.
        Returns:
            (T, B, D, K) with K numbers a distribution, and the state after the last step.
        """
        output, state = self.rnn(x, state, lengths=lengths)
        return self.distributions(output), state

    def distributions(self, output: Tensor) -> Tensor:
        """Of the values that follow the top layer's h: (..., H) to (..., D, K)."""
        found: Tensor = self.head(self.dropout(output))
        return found.view(*found.shape[:-1], self.targets, self.config.outputs)

    def initial_state(self, B: int) -> State:
        """Zeros for ``B`` series."""
        return zeros(self.rnn, B)


def first_guess(config: ForecastConfig) -> Tensor:
    """(K,) the standard normal distribution: mean 0 and log spread 0, or its quantiles."""
    if config.output == "gaussian":
        return torch.zeros(2)
    levels = torch.tensor(config.levels, dtype=torch.float64)
    return (math.sqrt(2.0) * torch.erfinv(2 * levels - 1)).float()


def losses(found: Tensor, target: Tensor, config: ForecastConfig) -> Tensor:
    """The loss of each value: (..., K) and (...) to (...).

    Gaussian: minus the log density, in nats. Quantiles: the pinball loss ``max(q (y - f), (q - 1) (y - f))``, the mean
    over the levels q (Koenker & Bassett 1978).
    """
    if config.output == "gaussian":
        mean, log_spread = found[..., 0], found[..., 1]
        return HALF_LOG_2PI + log_spread + 0.5 * ((target - mean) * torch.exp(-log_spread)).square()
    levels = torch.tensor(config.levels, dtype=found.dtype, device=found.device)
    error = target.unsqueeze(-1) - found
    return torch.maximum(levels * error, (levels - 1.0) * error).mean(-1)


def middle(found: Tensor, config: ForecastConfig) -> Tensor:
    """The median of each distribution: (..., K) to (...)."""
    return found[..., 0] if config.output == "gaussian" else found[..., config.levels.index(0.5)]


def draw(found: Tensor, config: ForecastConfig, generator: torch.Generator) -> Tensor:
    """One value from each distribution: (..., K) to (...).

    Quantiles are joined by straight lines, which go on beyond the outer two; those that cross are put in order first.
    """
    shape = found.shape[:-1]
    if config.output == "gaussian":
        return found[..., 0] + torch.exp(found[..., 1]) * torch.randn(shape, generator=generator, dtype=found.dtype)
    return at_level(found, config, torch.rand(shape, generator=generator, dtype=found.dtype))


def at_level(found: Tensor, config: ForecastConfig, level: Tensor) -> Tensor:
    """The quantiles ``level`` (...) of distributions (..., K)."""
    if config.output == "gaussian":
        normal = math.sqrt(2.0) * torch.erfinv(2 * level - 1)
        return found[..., 0] + torch.exp(found[..., 1]) * normal
    if len(config.levels) == 1:
        return found[..., 0].expand(level.shape)
    levels = torch.tensor(config.levels, dtype=found.dtype)
    ordered = found.sort(-1).values
    right = torch.searchsorted(levels, level.contiguous()).clamp(1, len(levels) - 1)
    low, high = levels[right - 1], levels[right]
    below, above = (ordered.gather(-1, k.unsqueeze(-1)).squeeze(-1) for k in (right - 1, right))
    return below + (above - below) * (level - low) / (high - low)
