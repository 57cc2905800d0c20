"""Our own step, for :mod:`unrolled.bench.case_step` and :mod:`unrolled.bench.case_streams`."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from unrolled.bench.peers_step import Step
from unrolled.tasks.language.model import LanguageModel


class NotThere(Exception):  # noqa: N818
    """This installation has no stepper; the message says why."""


def stepper(model: LanguageModel, slots: int, storage: str) -> Any:
    """The package's stepper over a model.

    Raises:
        NotThere: no compiled core, or no stepper in it.
    """
    try:
        found = importlib.import_module("unrolled.engines.stepper")
    except ImportError:
        raise NotThere("this installation has no stepper") from None
    return found.Stepper(model, slots, storage)


def ours_step(model: LanguageModel, storage: str) -> Step:
    """One stream: an id to its scores (1, V)."""
    made = stepper(model, 1, storage)
    ids = torch.zeros(1, dtype=torch.int64)

    def step(token: int) -> Tensor:
        ids[0] = token
        scores: Tensor = made.step(ids)
        return scores

    return step
