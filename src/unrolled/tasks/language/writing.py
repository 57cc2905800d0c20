"""Writing text with a model: after a prompt, and live during training."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.data.units import Units
from unrolled.decoding.config import SampleConfig
from unrolled.decoding.sampling import generate
from unrolled.decoding.stepping import Samples
from unrolled.decoding.text import until
from unrolled.state import select
from unrolled.tasks.language.measure import reading
from unrolled.tasks.language.model import LanguageModel, State
from unrolled.tasks.language.scoring import boundary
from unrolled.tasks.language.stepping import step_refusal, stepper_of

PROMPT_CHUNK = 512
TOGETHER = 256
"""Samples drawn at once at most."""


def write(
    model: LanguageModel, units: Units, prompt: str, config: SampleConfig, *, index: int = 0, unknown: str = "error"
) -> Iterator[str]:
    """What the model writes after ``prompt``, piece by piece: sample ``index`` of :func:`write_all`."""
    return next(write_all(model, units, prompt, config, first=index, unknown=unknown))


def write_all(
    model: LanguageModel,
    units: Units,
    prompt: str,
    config: SampleConfig,
    *,
    n: int = 1,
    first: int = 0,
    unknown: str = "error",
    weights: str | None = None,
) -> Iterator[Iterator[str]]:
    """What the model writes after ``prompt``, ``n`` times, each piece by piece as it is drawn.

    Without a prompt it begins as a line, or a record, begins. A model of records ends a sample where the record ends.
    The samples are to be read one after another; on the compiled core they are drawn together.

    Args:
        first: the number of the first sample: each has its own stream of ``config.seed``, and is the same however
            many are asked for.
        unknown: what becomes of a unit of the prompt that the vocabulary lacks: error, skip or replace.
        weights: what the compiled core keeps the weights in, see :class:`~unrolled.engines.stepper.Stepper`.
    Raises:
        UserError: an unknown unit in the prompt; scores that are not finite; ``weights`` other than the model's own
            where the compiled core does not take the model.
    """
    ids, used = start_ids(units, prompt, unknown)
    with reading(model):
        scores, state = read(model, ids)
    model.eval()
    drawn: Iterator[Iterator[int]]
    if weights is not None or step_refusal(model) is None:
        stepper = stepper_of(model, min(n, TOGETHER), weights)
        drawn = iter(Samples(stepper, state, config, n=n, first=first, stop=units.end, used=used))
    else:
        drawn = (
            generate(model, state, scores, config, index=index, stop=lambda unit: unit == units.end, used=used)
            for index in range(first, first + n)
        )

    def pieces(sample: Iterator[int]) -> Iterator[str]:
        decoder = units.decoder()
        if not prompt[-1:].isspace():  # what is written goes on behind the prompt: a space first, where units have one
            for unit in used:
                decoder.push(unit)
        for unit in sample:
            yield decoder.push(unit)
        yield decoder.flush()

    return ((piece for piece in until(pieces(sample), config.stop) if piece) for sample in drawn)


def start_ids(units: Units, prompt: str, unknown: str) -> tuple[npt.NDArray[np.int64], list[int]]:
    """What is read before the first unit is drawn, and the units of the prompt in it."""
    used = units.encode(prompt, unknown=unknown, where="the prompt")
    start = boundary(units)
    ids = used if start is None or (len(used) and units.end is None) else np.concatenate(([start], used))
    return ids, [int(unit) for unit in used]


def read(model: LanguageModel, ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[Tensor, State]:
    """The scores (1, V) and the state after reading ``ids`` (N,) from a zero state; N may be 0."""
    state: State = model.initial_state(1)
    for begin in range(0, len(ids), PROMPT_CHUNK):
        chunk = torch.from_numpy(np.asarray(ids[begin : begin + PROMPT_CHUNK], np.int64))[:, None]
        _, state = model.features(chunk.to(model.head.weight.device), state)
    return model.first_scores(state), state


def sample(model: LanguageModel, units: Units, state: State, length: int, seed: int) -> str:
    """Up to ``length`` units, drawn by their own generator: the global one is not touched.

    An unbroken text goes on from stream 0 of ``state`` (None: from zeros). Independent records each start from a zero
    state, as in training; they are written one after another, a line each, until ``length`` units are spent.
    """
    with reading(model):
        if units.end is None:
            row = model.initial_state(1) if state is None else select(state, [0])
            config = SampleConfig(length=length, seed=seed)
            return units.decode(list(generate(model, row, model.first_scores(row), config)))
        return "\n".join(_records(model, units, units.end, length, seed))


def _records(model: LanguageModel, units: Units, end: int, length: int, seed: int) -> list[str]:
    lines: list[str] = []
    left = length
    scores, state = read(model, np.array([end]))  # a record begins behind the end of another
    while left > 0:
        config = SampleConfig(length=left, seed=seed)
        ids = list(generate(model, state, scores, config, index=len(lines), stop=lambda unit: unit == end))
        lines.append(units.decode(ids))
        left -= len(ids) + 1  # the end is a unit as well
    return lines
