"""Our own step, for :mod:`unrolled.bench.case_step` and :mod:`unrolled.bench.case_streams`."""

from __future__ import annotations

from torch import Tensor

from unrolled.bench.peers_step import Step
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.language.stepping import step_refusal, stepper_of


class NotThere(Exception):  # noqa: N818
    """This installation has no stepper; the message says why."""


class Together:
    """The package's stepper over a model, all of its slots stepped at once."""

    def __init__(self, model: LanguageModel, slots: int, storage: str) -> None:
        self._stepper = stepper_of(model, slots, storage)
        self._slots = [self._stepper.join() for _ in range(slots)]

    def step(self, ids: list[int]) -> Tensor:
        """ids (slots,) to scores (slots, V), which the next step overwrites."""
        return self._stepper.step(self._slots, ids)

    def run(self, units: int) -> list[Tensor]:
        """Units drawn for every slot and fed, in one call."""
        return self._stepper.run(self._slots, units)


def stepper(model: LanguageModel, slots: int, storage: str) -> Together:
    """The package's stepper over a model.

    Raises:
        NotThere: no compiled core.
    """
    why = step_refusal(model, storage)
    if why is not None:
        raise NotThere(why)
    return Together(model, slots, storage)


def ours_step(model: LanguageModel, storage: str) -> Step:
    """One stream: an id to its scores (1, V)."""
    made = stepper(model, 1, storage)

    def step(token: int) -> Tensor:
        return made.step([token])

    return step
