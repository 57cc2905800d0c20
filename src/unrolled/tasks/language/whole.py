"""Whole updates of a language model in the compiled core: forward, loss, backward, clipping and the optimiser's rule.

Several updates in one call, without autograd and its some 0.3 ms each: what makes small models fast. The optimiser
stays torch's: its numbers are read and written where torch keeps them, so that a run may change over at any update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.data.streams import Chunk
from unrolled.engines import native
from unrolled.engines.masks import draw_seed
from unrolled.engines.native import core
from unrolled.tasks.base import GuardView, Made, Updating
from unrolled.tasks.language.model import LanguageModel

SCORES = 1 << 22
"""Scores of one chunk (T * B * V) up to which the whole of them is kept in memory."""

Core = Any

RULES = ("sgd", "adam", "adamw", "adagrad", "min-char-rnn-adagrad")
"""By their numbers in the core."""


def refusal(model: LanguageModel, steps: int, rows: int) -> str | None:
    """Why the core does not make whole updates of this model; None if it does. Chunks are at most (steps, rows)."""
    config, weight = model.config, model.head.weight
    if native.missing() or config.engine not in ("auto", "native"):
        return native.missing() or f"the model was made for engine {config.engine}"
    if weight.device.type != "cpu" or weight.dtype not in native.DTYPES:
        return "the compiled core trains in float32 and float64 on a CPU"
    if config.embedding_rate and config.embedding_mask != "table":
        return "a whole update has no dropout of each token's embedding"
    for name in ("recurrent_dropout", "zoneout", "layer_norm", "tied"):
        if getattr(config, name):
            return f"a whole update has no {name}"
    if steps * rows * model.V > SCORES or (model.embedding is not None and steps * rows < model.V):
        return f"a vocabulary of {model.V} is too large for whole updates"
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad and not n.startswith("rnn.bias_hh")]
    if frozen:
        return f"{frozen[0]} is not trained"
    scattered = [n for n, p in model.named_parameters() if not p.is_contiguous()]
    return f"{scattered[0]} is not contiguous" if scattered else None


class WholeUpdates:
    """Whole updates of a model that :func:`refusal` has nothing against.

    Args:
        rows: streams of a chunk, B.
        reduction: ``"mean"`` or ``"sum"`` as ``--loss-reduction``.
    """

    def __init__(self, model: LanguageModel, updating: Updating, *, rows: int, reduction: str) -> None:
        self.model, self.optimiser, self.rule, self.rows = model, updating.optimiser, updating.rule, rows
        config, embedding = model.config, model.embedding
        self.has_c = config.cell == "lstm"
        self._drops = (config.embedding_rate > 0, config.dropout > 0 and config.layers > 1, config.dropout > 0)
        group = self.optimiser.param_groups[0]
        betas, eps = group.get("betas", (0.0, 0.0)), group.get("eps", 0.0)
        make = core.module().Training64 if model.head.weight.dtype is torch.float64 else core.module().Training32
        self._core: Core = make(
            native.CODES.index(config.cell), config.layers, config.hidden, model.V,
            0 if embedding is None else embedding.embedding_dim, rows, reduction == "sum", RULES.index(self.rule.name),
            *betas, eps, updating.clip_norm, updating.clip_value, config.dropout, config.embedding_rate,
        )  # fmt: skip
        self._dtype = model.head.weight.dtype
        self._shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
        self._grads: dict[Tensor, Tensor] = {p: torch.empty_like(p) for p in model.parameters() if p.requires_grad}

    def run(
        self, chunks: Sequence[Chunk], rates: Sequence[float], carry: dict[str, Tensor], guard: GuardView | None
    ) -> Made:
        """Make one update a chunk; see :class:`unrolled.tasks.base.WholeUpdates`."""
        number = self._set()
        config, like = self.model.config, self.model.head.weight
        shape = (config.layers, self.rows, config.hidden)
        state = {n: carry[n].clone() if n in carry else like.new_zeros(shape) for n in ("h", "c")[: 1 + self.has_c]}
        h, c = (core.address(n, state[n], self._dtype, shape) if n in state else 0 for n in ("h", "c"))
        self._core.guard(
            guard is not None, *((guard.spike, guard.mean is not None, guard.mean or 0.0, guard.seen, guard.decay,
            guard.settled) if guard is not None else (0.0, False, 0.0, 0, 0.0, 0)),
        )  # fmt: skip
        given = [
            (c.x, c.y, c.fresh or (k == 0 and not carry), rate, number + 1 + k, self._seeds())
            for k, (c, rate) in enumerate(zip(chunks, rates, strict=True))
        ]
        threads = core.threads()
        try:
            done, figures = self._core.run(given, h, c, threads)
        finally:  # a signal's handler may raise in there: what was made is made
            if self.rule.counts:
                for p in self._grads:
                    self.optimiser.state[p]["step"] += self._core.done
        return Made(done, figures, state)

    def _seeds(self) -> tuple[int, int, int]:
        """Of an update's masks: the embedding, between layers, before the head. Drawn where there is such a mask, in
        the order in which the model itself draws them."""
        table, between, head = (int(draw_seed()) if drop else 0 for drop in self._drops)
        return table, between, head

    def _set(self) -> int:
        """Tell the core where everything lies now; how many updates the optimiser has made."""
        model, rule = self.model, self.rule
        numbers: list[int] = []
        for k in range(model.config.layers):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                numbers += self._places(f"rnn.{name}_l{k}", getattr(model.rnn, f"{name}_l{k}"))
        numbers += [0, 0] if model.embedding is None else self._places("embedding.weight", model.embedding.weight)
        numbers += self._places("head.weight", model.head.weight) + self._places("head.bias", model.head.bias)
        trained: list[int] = []
        decays: list[float] = []
        count = 0
        for group in self.optimiser.param_groups:
            for p in group["params"]:
                state = self._state(p)
                arrays = [
                    0 if name is None else core.address(f"the optimiser's {name}", state[name], self._dtype, p.shape)
                    for name in (rule.first, rule.second)
                ]
                trained += [p.numel(), p.data_ptr(), self._grads[p].data_ptr(), *arrays]
                decays.append(float(group.get("weight_decay", 0.0)))
                count = int(state["step"]) if rule.counts else 0
        self._core.set(numbers, trained, decays)
        return count

    def _places(self, name: str, p: Tensor) -> list[int]:
        """Where a parameter and its gradient lie; 0 for the gradient of one that is not trained."""
        if p.requires_grad and p not in self._grads:
            raise ValueError(f"{name} is another tensor than it was: make this object anew")
        at = core.address(name, p, self._dtype, self._shapes[name])
        return [at, self._grads[p].data_ptr() if p.requires_grad else 0]

    def _state(self, p: Tensor) -> dict[str, Any]:
        """A parameter's numbers in the optimiser, begun as torch would begin them."""
        state: dict[str, Any] = self.optimiser.state[p]
        for name in (self.rule.first, self.rule.second):
            if name is not None and name not in state:
                state[name] = torch.zeros_like(p)
        if self.rule.counts and "step" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32)
        return state
