"""Whole updates of a language model in the core, against the reference engine, autograd and torch's optimisers.

A few updates of a small model from the same weights: the core's in float32 and float64, on every set of instructions;
the reference in float64 both times. Compared are the loss of each update and every weight and carried state at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.data.streams import Chunk
from unrolled.doctor.kernel import native_module
from unrolled.doctor.selftest import LIMITS, Finding, distance
from unrolled.state import detach
from unrolled.tasks.base import Updating
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel, state_to_dict
from unrolled.tasks.language.whole import WholeUpdates, refusal
from unrolled.training.clipping import Clipper
from unrolled.training.config import TrainConfig
from unrolled.training.optimiser import build_optimiser, update_rule

T, B, V, UPDATES = 7, 5, 13, 4
EPSILON = 1e-2
"""Of the adaptive rules: with torch's own 1e-8 they turn the rounding of a gradient near 0 into a whole step."""
SLACK = 10
"""Updates enlarge a rounding: this many times a kernel's limit is allowed."""
CASES: tuple[tuple[dict[str, object], dict[str, object]], ...] = (
    ({"cell": "lstm", "embedding": 9}, {"optimiser": "adamw", "weight_decay": 0.1, "clip_norm": 0.3}),
    ({"cell": "lstm", "input": "one-hot", "layers": 2}, {"optimiser": "sgd", "lr": 0.3}),
    ({"cell": "lstm", "embedding": 9, "layers": 2, "dropout": 0.3, "embedding_mask": "table"}, {}),
    ({"cell": "gru", "embedding": 9, "layers": 2}, {"optimiser": "adam", "clip_value": 0.01}),
    ({"cell": "gru", "input": "one-hot"}, {"optimiser": "adagrad", "lr": 0.05}),
    ({"cell": "rnn-tanh", "input": "one-hot", "single_bias": True}, {"optimiser": "min-char-rnn-adagrad", "lr": 0.01}),
    ({"cell": "rnn-relu", "embedding": 9}, {"optimiser": "sgd", "lr": 0.1, "clip_norm": 0.2, "clip_value": 0.05}),
)


def whole_updates() -> Iterator[Finding]:
    """Every case on every set of instructions of this machine; the chosen one is left as it was."""
    native = native_module()
    before = native.isa()
    try:
        for shape, train in CASES:
            config = LanguageConfig(**{"hidden": 19, **shape})  # type: ignore[arg-type]
            training = TrainConfig(**{"lr": 1e-2, "clip_norm": 0.0, **train})  # type: ignore[arg-type]
            with _seeded():
                wanted = _expected(config, training)
            for dtype in (torch.float32, torch.float64):
                for isa in native.supported_isas():
                    native.set_isa(isa)
                    with _seeded():
                        worst, where = distance(_found(config, training, dtype), wanted)
                    dropout = ", dropout" if config.dropout else ""
                    yield Finding(
                        f"native {isa}", f"whole updates, {config.cell}, {training.optimiser}{dropout}",
                        str(dtype).removeprefix("torch."), worst, SLACK * LIMITS[dtype], where, UPDATES,
                    )  # fmt: skip
    finally:
        native.set_isa(before)


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """The same weights and masks inside; the caller's random stream is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        yield


def _model(config: LanguageConfig, engine: str, dtype: torch.dtype) -> LanguageModel:
    with _seeded():
        return LanguageModel(V, dataclasses.replace(config, engine=engine)).to(dtype)


def _optimiser(model: LanguageModel, training: TrainConfig) -> torch.optim.Optimizer:
    made = build_optimiser(model, training)
    for group in made.param_groups:
        if "eps" in group:
            group["eps"] = EPSILON
    return made


def chunks() -> list[Chunk]:
    """The batches of the updates; the state is carried from each to the next."""
    ids = np.random.default_rng(3).integers(0, V, (UPDATES, 2, T, B))
    return [Chunk(x, y, T, T, fresh=k == 0) for k, (x, y) in enumerate(ids)]


def _expected(config: LanguageConfig, training: TrainConfig) -> dict[str, Tensor]:
    model = _model(config, "reference", torch.float64).train()
    optimiser, clipper = _optimiser(model, training), Clipper(training.clip_norm, training.clip_value)
    params = [p for p in model.parameters() if p.requires_grad]
    state, losses = None, []
    for chunk in chunks():
        scores, state = model(torch.from_numpy(chunk.x), state)
        loss = F.cross_entropy(scores.flatten(0, 1), torch.from_numpy(chunk.y).flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in params if p.grad is not None]
        _, norm = clipper.measure(loss.detach(), grads)
        clipper.clip(grads, norm)
        optimiser.step()
        state = detach(state)
        losses.append(loss.item())
    return _results(model, losses, state_to_dict(state))


def _found(config: LanguageConfig, training: TrainConfig, dtype: torch.dtype) -> dict[str, Tensor]:
    model = _model(config, "native", torch.float64).to(dtype).train()
    assert (why := refusal(model, T, B)) is None, why
    optimiser = _optimiser(model, training)
    rule = update_rule(optimiser)
    assert rule is not None
    updating = Updating(optimiser, rule, training.clip_norm or 0.0, training.clip_value or 0.0)
    made = WholeUpdates(model, updating, rows=B, reduction="mean").run(chunks(), [training.lr] * UPDATES, {}, None)
    return _results(model, [nats for nats, _, _ in made.figures], made.carry)


def _results(model: LanguageModel, losses: Sequence[float], carry: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {f"the loss of update {k + 1}": torch.tensor(nats, dtype=torch.float64) for k, nats in enumerate(losses)}
    return found | carry | {name: p.detach().clone() for name, p in model.named_parameters()}
