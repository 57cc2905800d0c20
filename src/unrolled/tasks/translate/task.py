"""The translation task: what the training loop needs to know about it, and nothing of the loop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data.examples import ExampleStream
from unrolled.engines import explain
from unrolled.settings import to_dict
from unrolled.tasks.base import Evaluation, Loss, Report
from unrolled.tasks.translate.baseline import unigram_nats
from unrolled.tasks.translate.config import TranslateConfig, TranslateData, TranslatePredict
from unrolled.tasks.translate.corpus import PARTS, Corpus
from unrolled.tasks.translate.decode import Decoder
from unrolled.tasks.translate.evaluation import evaluate
from unrolled.tasks.translate.model import Translator
from unrolled.tasks.translate.reporting import make_report, quick_figures
from unrolled.tasks.translate.sides import Side
from unrolled.tasks.translate.sizes import count_parameters
from unrolled.tasks.translate.transfer import init_from

Ints = NDArray[np.int64]
WATCHED = 400
"""Sources of the dev part that are decoded while training goes on; its loss is that of all of them."""


class Batch(NamedTuple):
    """Pairs side by side: ids (S, B) and (T, B) with lengths (B,)."""

    source: Ints
    source_lengths: Ints
    target: Ints
    target_lengths: Ints


class Training(Protocol):
    """The settings of training that the task reads."""

    @property
    def batch(self) -> int: ...
    @property
    def seed(self) -> int: ...


class TranslateTask:
    """Pairs, the shape of a model, and how it is trained.

    Args:
        corpus: the pairs, encoded and split.
        model_config, data_config, train_config: as on the command line.
        start_from: weights (a ``state_dict``) and sides of an old model; :meth:`build` copies what fits of them.

    Attributes:
        notes: what a user should know. label, summary: what was read, for people.
        headline: the figure shown while it trains.
    """

    name, headline = "translate", "wer"

    def __init__(
        self,
        corpus: Corpus,
        model_config: TranslateConfig,
        data_config: TranslateData,
        train_config: Training,
        *,
        start_from: tuple[Mapping[str, Tensor], tuple[Side, Side]] | None = None,
    ) -> None:
        self.corpus, self.model_config, self.data_config = corpus, model_config, data_config
        self.train_config, self.start_from = train_config, start_from
        self.notes, self.label, self.summary = list(corpus.notes), corpus.pairs.label, corpus.summary
        self._pairs = corpus.pairs_of(corpus.parts["train"])
        self.batch = min(train_config.batch, len(self._pairs[0]))
        if self.batch < train_config.batch:
            self.notes.append(f"--batch {train_config.batch} is too large for {len(self._pairs[0])} pairs; all are one")

    # -- model and pairs -----------------------------------------------------------------------------------------

    def build(self) -> nn.Module:
        """A fresh model, drawn from torch's global generator; with ``start_from`` the old weights go over it."""
        corpus = self.corpus
        model = Translator(corpus.source.V, corpus.target.V, self.model_config, shared=self.data_config.shared)
        if self.start_from is not None:
            weights, sides = self.start_from
            self.notes += init_from(model, weights, (corpus.source, corpus.target), sides)
        return model

    def stream(self) -> ExampleStream[Batch]:
        """Batches of pairs of about one length, every target of every source once a pass."""
        sources, targets = self._pairs
        s, t = self.corpus.sources.lengths[sources], self.corpus.targets.lengths[targets]
        return ExampleStream(t * (int(s.max()) + 1) + s, self.batch, self.train_config.seed, self._batch, t + 1)

    def _batch(self, rows: Ints) -> Batch:
        sources, targets = self._pairs
        return Batch(*self.corpus.sources.padded(sources[rows]), *self.corpus.targets.padded(targets[rows]))

    # -- training ------------------------------------------------------------------------------------------------

    def loss(self, model: nn.Module, batch: Batch, carry: Mapping[str, Tensor]) -> Loss:
        """The loss of every unit of the targets and of their ends.

        With teacher forcing below 1 the number of updates so far is carried, since the probability falls with it.
        """
        assert isinstance(model, Translator)
        device = model.head_bias.device
        config, done = self.model_config, int(carry["updates"]) if carry else 0
        forcing = teacher_forcing(config, done)
        scores, wanted = model(*(torch.from_numpy(a).to(device) for a in batch), forcing)
        log_p = scores.log_softmax(-1)
        nats = F.nll_loss(log_p, wanted)
        objective = nats
        if config.label_smoothing:
            objective = (1 - config.label_smoothing) * nats - config.label_smoothing * log_p.mean()
        units = len(wanted)
        kept = {} if config.teacher_forcing == 1.0 else {"updates": torch.tensor(done + 1)}
        return Loss(objective, nats.detach(), units, kept)

    # -- figures -------------------------------------------------------------------------------------------------

    def evaluate(self, model: nn.Module, part: str) -> Evaluation:
        """Nats per unit, every target teacher-forced; of the dev part also how greedy translations of some fare. All of
        the test part is translated by :meth:`report`, once."""
        assert isinstance(model, Translator)
        found = evaluate(model, self.corpus, part)
        if found.units and part == "dev":
            found.figures |= quick_figures(self.decoder(model), self.corpus, self.corpus.parts[part][:WATCHED])
        return found

    def report(self, model: nn.Module, part: str) -> Report:
        """Greedy translations of a part, all figures, and the baselines."""
        assert isinstance(model, Translator)
        return make_report(self.decoder(model), self.corpus, part, TranslatePredict())

    def decoder(self, model: Translator) -> Decoder:
        """The model with its units."""
        return Decoder(model, self.corpus.source, self.corpus.target, self.corpus.ratio)

    def sample(self, model: nn.Module, carry: Mapping[str, Tensor], length: int, seed: int) -> str | None:
        """A few sources of the dev part (else of the training part), translated greedily."""
        assert isinstance(model, Translator)
        corpus = self.corpus
        rows = corpus.parts["dev"] if len(corpus.parts["dev"]) else corpus.parts["train"]
        rows = np.random.default_rng(seed).choice(rows, min(4, len(rows)), replace=False)
        decoder = self.decoder(model)
        lines = []
        for k, found in zip(rows, decoder.search(corpus.sources.take(rows), TranslatePredict()), strict=True):
            text = decoder.target.decode(found[0].ids)
            targets = corpus.pairs.targets[k]
            expected = "" if text in targets else f"   (not {targets[0]})"
            lines.append(f"{corpus.pairs.sources[k]}  ->  {text}{expected}")
        return "\n".join(lines)

    def baseline(self) -> tuple[str, float] | None:
        """Nats per unit of the target's units by their frequencies alone, on the test part."""
        corpus = self.corpus
        if not len(corpus.parts["test"]):
            return None
        train, test = (corpus.targets.take(corpus.pairs_of(corpus.parts[part])[1]) for part in ("train", "test"))
        return "frequencies of the target's units", unigram_nats(train, test, corpus.target.V)

    @property
    def baseline_seconds(self) -> float:
        """What the report's baselines take, about; a budget in minutes leaves room for them."""
        return 4e-5 * len(self.corpus.pairs)

    # -- what it is ----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Sizes, units, splits and parameters, as JSON values."""
        corpus, stream = self.corpus, self.stream()
        return {
            "task": self.name,
            "text": corpus.summary,
            "units": corpus.target.units.kind,
            "vocabulary": [corpus.source.V, corpus.target.V],
            "first_loss": math.log(corpus.target.V + 1),
            "parts": {part: corpus.units(part) for part in PARTS},
            "sequences": {part: len(corpus.parts[part]) for part in PARTS},
            "parameters": count_parameters(
                corpus.source.V, corpus.target.V, self.model_config, shared=self.data_config.shared
            ),
            "batch": self.batch,
            "steps_per_epoch": stream.steps_per_epoch,
            "units_per_epoch": stream.units_per_epoch,
            "digest": corpus.digest,
            "card": self._card(),
        }

    def _card(self) -> list[tuple[str, str]]:
        """What the model card says of data and network."""
        corpus, config = self.corpus, self.model_config
        cells = config.cell if config.decoder == config.cell else f"{config.cell} to {config.decoder}"
        sides = "bidirectional " if config.bidirectional else ""
        return [
            ("data", corpus.summary),
            ("text", f"Unicode {self.data_config.normalise}" + f", lower case: {self.data_config.lowercase}"),
            ("network", f"{config.layers} x {config.hidden} {cells}, {sides}encoder, attention {config.attention}"
                        + (", input feeding" if config.input_feeding else "")),
        ]  # fmt: skip

    def engine(self, model: nn.Module) -> tuple[str, str]:
        """Which engine runs the encoder, and why the faster ones do not."""
        assert isinstance(model, Translator)
        weight = model.target_embedding.weight
        x = torch.zeros(2, 1, weight.shape[1], dtype=weight.dtype, device=weight.device)
        found = explain(model.encoder, x, lengths=torch.tensor([2]))
        return found.engine, found.reasons.get("aten", "").removeprefix("no: ")

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` keeps: the model's and the data's settings, and among the latter the data's digest."""
        return {
            "model": to_dict(self.model_config),
            "data": to_dict(self.data_config) | {"digest": self.corpus.digest},
        }

    def tokens(self) -> dict[str, Any] | None:
        """What ``tokens.json`` keeps: the units of both sides, and how long targets are."""
        corpus = self.corpus
        return {"source": corpus.source.to_json(), "target": corpus.target.to_json(), "ratio": corpus.ratio}


def teacher_forcing(config: TranslateConfig, done: int) -> float:
    """The probability of the true unit after ``done`` updates (Bengio et al. 2015, arXiv:1506.03099, section 2.4).

    It falls from 1 to ``config.teacher_forcing`` over ``config.teacher_steps``: along a line, as exp(-5 x), or as a
    sigmoid around the middle; ``constant`` is there at once.
    """
    x = min(1.0, done / config.teacher_steps)
    left = {
        "constant": 0.0, "linear": 1.0 - x, "exponential": math.exp(-5.0 * x),
        "sigmoid": 1.0 / (1.0 + math.exp(12.0 * (x - 0.5))),
    }[config.teacher_schedule]  # fmt: skip
    if x == 1.0:
        left = 0.0
    return config.teacher_forcing + (1.0 - config.teacher_forcing) * left
