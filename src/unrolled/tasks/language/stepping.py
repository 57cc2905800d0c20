"""A language model on the compiled core's stepper, and what keeping its weights in fewer bits costs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled.engines.stepper import Stepper, refusal
from unrolled.errors import UserError
from unrolled.tasks.language.measure import reading
from unrolled.tasks.language.model import LanguageModel, State

COMPARED = 2000
"""Units that :func:`divergence` reads at most."""


def step_refusal(model: LanguageModel, weights: str | None = None) -> str | None:
    """Why the stepper does not take the model; None if it does."""
    if model.config.engine not in ("auto", "native"):
        return f"the model was made for engine {model.config.engine}"
    return refusal(model.rnn, model.head, _table(model), weights)


def stepper_of(model: LanguageModel, slots: int = 1, weights: str | None = None) -> Stepper:
    """A stepper over the model's weights as they are now.

    Args:
        weights: one of :data:`unrolled.engines.stepper.WEIGHTS`; None keeps them as they are.
    Raises:
        UserError: :func:`step_refusal`.
    """
    why = step_refusal(model, weights)
    if why is not None:
        raise UserError(f"--weights {weights}: {why}; leave it out")
    return Stepper(model.rnn, model.head, _table(model), slots=slots, weights=weights)


def _table(model: LanguageModel) -> Tensor | None:
    return None if model.embedding is None else model.embedding.weight


class Stepped:
    """A model read through a stepper, unit by unit: what :mod:`~unrolled.tasks.language.measure` needs of a model.

    What it calls features are the scores already.
    """

    def __init__(self, model: LanguageModel, weights: str | None) -> None:
        self.V, self.head, self.training = model.V, model.head, False
        self._model, self._weights = model, weights
        self._stepper = stepper_of(model, 1, weights)

    def train(self, mode: bool = True) -> Stepped:
        return self

    def eval(self) -> Stepped:
        return self

    def features(
        self, ids: Tensor, state: State = None, *, resets: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Scores (T, B, V) and the state after the last step."""
        T, B = ids.shape
        if self._stepper.slots < B:
            self._stepper = stepper_of(self._model, B, self._weights)
        stepper, slots = self._stepper, torch.arange(B)
        for b in range(B):
            stepper.set_state(b, None if state is None else _row(state, b))
        scores = torch.empty((T, B, self.V), dtype=stepper.dtype)
        for t in range(T):
            for b in [] if resets is None else resets[t].nonzero().flatten().tolist():
                stepper.set_state(b)
            scores[t] = stepper.step(slots, ids[t])
        states = [stepper.state(b) for b in range(B)]
        if not stepper.has_c:
            return scores, torch.cat(states, 1)
        return scores, (torch.cat([h for h, _ in states], 1), torch.cat([c for _, c in states], 1))

    def scores(self, output: Tensor) -> Tensor:
        """They are there."""
        return output


def _row(state: State, b: int) -> State:
    return tuple(s[:, b : b + 1] for s in state) if isinstance(state, tuple) else state[:, b : b + 1]


def divergence(model: LanguageModel, weights: str, ids: npt.NDArray[np.int64]) -> tuple[float, int]:
    """What weights in fewer bits cost on a text of the model's own: nats a unit, and over how many units.

    The mean over the text's units of KL(p || q), p of the weights as they are and q of the others: by so much the loss
    rises on text that p itself writes. (The loss on what q has written would flatter q.)
    """
    x = torch.from_numpy(np.asarray(ids[:COMPARED], np.int64))[:, None]
    with reading(model):
        output, _ = model.features(x)
        p = model.scores(output).double().log_softmax(-1)
        q = Stepped(model, weights).features(x)[0].double().log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean()), len(x)
