"""Drawing units from a model, one after another, over anything that can step.

One uniform number in float64 is spent on each unit, and it comes from a stream of (seed, number of the sample) alone.
So sample 0 is the same whether one or a hundred are asked for, and another implementation can give the same units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from unrolled.decoding.config import SampleConfig
from unrolled.errors import UserError


class Stepper(Protocol):
    """What can be sampled from: one unit in, scores of the next one and a new state out."""

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """``ids (B,)``, state -> ``logits (B, V)``, state."""
        ...


class Uniforms:
    """Uniform numbers in [0, 1) for one sample: Philox with the key (seed, index), 53 bits a number.

    Philox counts instead of carrying a state, so that two keys never meet (Salmon et al., 2011), and NumPy promises
    its raw numbers not to change between releases. torch's CPU generator would keep 32 bits of the seed.
    """

    def __init__(self, seed: int, index: int = 0) -> None:
        mask = (1 << 64) - 1
        self._bits = np.random.Philox(key=np.array([seed & mask, index & mask], dtype=np.uint64))

    def next(self) -> float:
        """The next number."""
        return (int(self._bits.random_raw()) >> 11) * 2.0**-53


def filter_logits(logits: Tensor, config: SampleConfig, used: Tensor | None = None) -> Tensor:
    """Turn scores into the log-probabilities to draw from.

    In this order: repetition penalty (Keskar et al., 2019), temperature, top-k, top-p (Holtzman et al., 2020), min-p.
    Each filter sees what the one before left, renormalised. Equal scores keep the order of their numbers. At
    temperature 0 all probability lies on the best unit, whatever the filters say.

    Args:
        logits: (B, V), any floating dtype; -inf marks a unit that cannot come.
        used: (B, V) bool, units that the repetition penalty applies to.
    Returns:
        (B, V) float64 on the CPU, -inf where a unit is filtered out; exp sums to 1 in each row.
    Raises:
        UserError: a NaN, +inf, or a row with nothing in it: the weights are damaged.
    """
    scores = logits.detach().to("cpu", torch.float64)
    best = scores.amax(dim=-1, keepdim=True) if scores.numel() else scores
    if not bool(torch.isfinite(best).all()):  # amax hands a NaN on
        raise UserError("the model's scores are not finite, its training has diverged; "
                        "train again with a lower --lr or with --keep best")  # fmt: skip
    if used is not None and config.repetition_penalty != 1.0:
        penalty = config.repetition_penalty
        punished = torch.where(scores > 0, scores / penalty, scores * penalty)
        scores = torch.where(used.to("cpu"), punished, scores)
    if config.temperature == 0:
        return torch.full_like(scores, -math.inf).scatter_(-1, scores.argmax(dim=-1, keepdim=True), 0.0)
    # The maximum goes first: 1e-300 as a temperature must not divide into infinities.
    scores = (scores - scores.amax(dim=-1, keepdim=True)) / config.temperature
    top_k, top_p, min_p = config.top_k, config.top_p, config.min_p
    if top_k is not None and top_k < scores.shape[-1]:
        scores = _keep_ranked(scores, lambda p: torch.arange(p.shape[-1]).expand_as(p) < top_k)
    if top_p is not None and top_p < 1:
        # A unit stays if the better ones before it do not hold enough yet; the best one always stays.
        scores = _keep_ranked(scores, lambda p: p.cumsum(-1) - p < top_p)
    if min_p is not None:
        p = scores.softmax(-1)
        scores = scores.masked_fill(p < min_p * p.amax(dim=-1, keepdim=True), -math.inf)
    return scores.log_softmax(-1)


def _keep_ranked(scores: Tensor, keep: Callable[[Tensor], Tensor]) -> Tensor:
    """Set to -inf what ``keep``, given the probabilities from best to worst, does not keep."""
    ranked, order = scores.sort(dim=-1, descending=True, stable=True)
    dropped = torch.empty_like(scores, dtype=torch.bool).scatter_(-1, order, ~keep(ranked.softmax(-1)))
    return scores.masked_fill(dropped, -math.inf)


def draw(log_probabilities: Tensor, generator: Uniforms | Sequence[Uniforms]) -> Tensor:
    """Draw one unit a row: the first whose cumulative probability, summed in order in float64, passes u x the total.

    Args:
        log_probabilities: (B, V) from :func:`filter_logits`.
        generator: one for every row, or one that serves the rows in turn; one number is taken for each row.
    Returns:
        ids (B,), int64. A unit of probability zero is never drawn.
    """
    p = log_probabilities.to("cpu", torch.float64).exp()
    B = len(p)
    sources = [generator] * B if isinstance(generator, Uniforms) else generator
    u = torch.tensor([source.next() for source in sources], dtype=torch.float64).reshape(B, 1)
    cumulative = p.cumsum(-1)
    # u is at most 1 - 2^-53, so u x total is at least half a unit in the last place below the total and never rounds
    # up to it: some unit always passes, and it is one that adds to the sum.
    return torch.searchsorted(cumulative, u * cumulative[:, -1:], right=True).squeeze(-1)


def generate(
    model: Stepper,
    state: Any,
    first_logits: Tensor,
    config: SampleConfig,
    *,
    index: int = 0,
    stop: Callable[[int], bool] | None = None,
    used: Sequence[int] = (),
) -> Iterator[int]:
    """Write one sample, unit by unit; the model steps only when the next unit is asked for.

    Put the model in evaluation mode first. The global random stream is not touched.

    Args:
        model: steps from the last unit and the state to the next scores.
        state: the state after the prompt.
        first_logits: (1, V), the scores after the prompt.
        index: the number of the sample, from 0; it has its own stream of ``config.seed``.
        stop: a unit for which this is true ends the sample and is left out.
        used: units of the prompt, for the repetition penalty.
    Yields:
        At most ``config.length`` ids.
    Raises:
        UserError: the model's scores are not finite.
    """
    uniforms, logits = Uniforms(config.seed, index), first_logits
    seen: Tensor | None = None
    if config.repetition_penalty != 1.0:
        seen = torch.zeros(logits.shape, dtype=torch.bool)
        seen[:, list(used)] = True
    ids: Tensor | None = None
    for _ in range(config.length):
        if ids is not None:
            with torch.no_grad():  # closed before each yield: the caller's own gradients stay on
                logits, state = model.step(ids.to(first_logits.device), state)
        ids = draw(filter_logits(logits, config, seen), uniforms)
        chosen = int(ids)
        if stop is not None and stop(chosen):
            return
        if seen is not None:
            seen[:, chosen] = True
        yield chosen
