"""What a network does along a text: every state of every unit, what it predicts, and what that costs."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.layers.recurrent import Recurrent
from unrolled.state import reset, stack
from unrolled.tasks.language.measure import reading as quiet

Floats = NDArray[np.float64]
STEPS_AT_ONCE = 512


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a state lives: the layer that holds it, its name in the cell (``h``, ``c``), and the layer's number."""

    module: Recurrent
    state: str
    layer: int


@dataclasses.dataclass(frozen=True)
class Reading:
    """A text, read by a network from a zero state.

    Attributes:
        states: by key, ``h0``, ``c0``, ``h1``, …, (N, H) float32: row t is the state *after* unit t was read. Unit 12
            of the cell state of layer 0 is ``c0.12``.
        nats: (N,) float64, the loss of predicting unit t + 1 from what was read up to t; NaN where nothing follows.
        top: (N, k) int64, the most probable next units, best first. probability: (N, k), theirs.
    """

    states: dict[str, NDArray[np.float32]]
    nats: Floats
    top: NDArray[np.int64]
    probability: Floats


def places(model: nn.Module) -> dict[str, Place]:
    """Every state of the model by key: ``h0`` is the hidden state of layer 0 (torch's ``_l0``).

    With several recurrent layers in a model the key begins with the module's name, ``decoder.h0``.

    Raises:
        ValueError: none of our layers is in there, or one reads backwards too: it would know the unit it predicts.
    """
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, Recurrent)]
    if not found:
        raise ValueError(f"{type(model).__name__} holds no recurrent layer of unrolled")
    named: dict[str, Place] = {}
    for name, module in found:
        if module.bidirectional:
            raise ValueError(f"{name}: a bidirectional layer predicts from both sides; memory and units need one")
        prefix = f"{name}." if len(found) > 1 else ""
        for k in range(module.num_layers):
            named |= {f"{prefix}{s}{k}": Place(module, s, k) for s in module._cell(k).states}
    return named


@contextmanager
def traced(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Collect every state (T, B, H) of every call of the model's recurrent layers; the calls themselves see nothing."""
    found = places(model)
    kept: dict[str, list[Tensor]] = {key: [] for key in found}

    def ask(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "trace": True}

    def keep(module: nn.Module, args: Any, kwargs: dict[str, Any], result: Any) -> Any:
        output, state, traces = result
        for key, place in found.items():
            if place.module is module:
                kept[key].append(traces[place.layer][place.state][1:])
        return output, state

    hooks = []
    for module in {id(p.module): p.module for p in found.values()}.values():
        hooks.append(module.register_forward_pre_hook(ask, with_kwargs=True))
        hooks.append(module.register_forward_hook(keep, with_kwargs=True))
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def recurrent_weights(model: nn.Module) -> int:
    """Weights that a step of the recurrent layers multiplies with: what a step costs, about."""
    layers = {id(place.module): place.module for place in places(model).values()}.values()
    return sum(p.numel() for layer in layers for p in layer.parameters() if p.dim() == 2)


def call(model: nn.Module, ids: Tensor, state: Any, resets: Tensor | None) -> tuple[Tensor, Any]:
    """Scores (T, B, V) and state. Models without resets are asked for them only where there are any."""
    result: tuple[Tensor, Any] = model(ids, state) if resets is None else model(ids, state, resets=resets)
    return result


def last_scores(
    model: Any, ids: Tensor, state: Any, resets: Tensor | None = None, *, step: int = -1
) -> tuple[Tensor, Any]:
    """The scores (B, V) after the last of T steps, or after another, and the last state; no others where that can be
    helped."""
    if not hasattr(model, "features"):
        scores, state = call(model, ids, state, resets)
        return scores[step], state
    output, state = model.features(ids, state, resets=resets)
    return model.scores(output[step]), state


def read(model: nn.Module, ids: Tensor, *, fresh: Tensor | None = None, top: int = 5) -> Reading:
    """Read a text once, from a zero state, and keep what is seen.

    Args:
        model: ``model(ids (T, B), state) -> scores (T, B, V), state``; with ``resets=`` where ``fresh`` is given.
        ids: int64 (N,). fresh: (N,) bool, where the state starts anew.
        top: how many of the most probable next units are kept (fewer in a smaller vocabulary).
    """
    nats, best, chances = [], [], []
    state: Any = None
    with quiet(model), traced(model) as kept:
        for at in range(0, len(ids), STEPS_AT_ONCE):
            steps = slice(at, at + STEPS_AT_ONCE)
            resets = None if fresh is None else fresh[steps, None]
            scores, state = call(model, ids[steps, None], state, resets)
            logp = F.log_softmax(scores[:, 0].double(), -1)
            found = logp.topk(min(top, logp.shape[-1]), -1)
            best.append(found.indices)
            chances.append(found.values.exp())
            wanted = ids[at + 1 : at + 1 + len(logp)]
            nats.append(-logp[: len(wanted)].gather(1, wanted[:, None])[:, 0])
    loss = torch.cat((*nats, torch.full((1,), torch.nan, dtype=torch.float64)))[: len(ids)]
    states = {key: torch.cat([part[:, 0] for part in parts]).float().numpy() for key, parts in kept.items()}
    return Reading(states, loss.numpy(), torch.cat(best).numpy(), torch.cat(chances).numpy())


@dataclasses.dataclass(frozen=True)
class Carried:
    """What the network carried to some positions of a text.

    Attributes:
        positions: (P,) int64, ascending. state: the state *before* each of them is read, its batch of P.
        scores: (P, V), the scores after each of them is read.
    """

    positions: Tensor
    state: Any
    scores: Tensor


def carry(model: nn.Module, ids: Tensor, positions: Tensor, *, fresh: Tensor | None = None) -> Carried:
    """Run the text once from a zero state and stop at every position.

    Args:
        positions: (P,) int64, ascending and different, from 1 on.
    """
    states: list[Any] = []
    scores: list[Tensor] = []
    stops = positions.tolist()
    with quiet(model):
        _, state = last_scores(model, ids[: stops[0], None], None, _part(fresh, 0, stops[0]))
        for at, until in itertools.pairwise([*stops, stops[-1] + 1]):
            states.append(state)
            made, state = last_scores(model, ids[at:until, None], state, _part(fresh, at, until), step=0)
            scores.append(made[0])
    before = stack(states)
    return Carried(positions, before if fresh is None else reset(before, fresh[positions]), torch.stack(scores))


def _part(fresh: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if fresh is None else fresh[start:stop, None]
