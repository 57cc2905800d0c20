"""The tagging task: what the training loop needs to know about it, and nothing of the loop."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unrolled.data.examples import ExampleStream
from unrolled.data.tagged import Layout
from unrolled.engines import explain
from unrolled.errors import UserError
from unrolled.settings import to_dict
from unrolled.tasks import long
from unrolled.tasks.base import Evaluation, Loss, Report, Stream
from unrolled.tasks.metrics import ratio_interval
from unrolled.tasks.tag import report
from unrolled.tasks.tag.config import TagConfig, TagData
from unrolled.tasks.tag.encoding import Batch, Steps, WordPart, Words
from unrolled.tasks.tag.model import Tagger, count_parameters
from unrolled.tasks.tag.reading import Raw, encode
from unrolled.tasks.tag.scoring import batch_nats, read_part
from unrolled.tasks.tag.transfer import init_from


class Training(Protocol):
    """What this task reads of the training's settings."""

    @property
    def batch(self) -> int: ...

    @property
    def bptt(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def loss_reduction(self) -> str: ...


class TagTask:
    """Sentences with a tag for each word, or numbers with a label or a value for each step.

    Every sentence is read from a zero state, and nothing is carried from one batch to the next.

    Args:
        raw: what was read, in its parts.
        model_config, data_config, train_config: as on the command line.
        start_from: weights (a ``state_dict``) and ``tokens.json`` of an old model.

    Attributes:
        known: vocabularies. parts: the encoded data. layout: how its files are written, None for arrays.
        notes, label, summary: for people. headline: the figure that is shown on the way.

    Raises:
        UserError: settings that do not go together.
    """

    name = "tag"

    def __init__(
        self, raw: Raw, model_config: TagConfig, train_config: Training, *, data_config: TagData | None = None,
        start_from: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        self.model_config, self.train_config = model_config, train_config
        self.truncated = long.cut_of(train_config.bptt)
        self.data_config = data_config or TagData()
        self.known, self.parts = encode(raw, self.data_config, model_config)
        self.layout: Layout | None = raw.layout
        self.scheme, self.cut, self.label = raw.scheme, raw.cut, raw.label
        self.notes, self.start_from, self._digest = list(raw.notes), start_from, raw.digest()
        if model_config.crf and self.known.tags is None:
            raise UserError("--crf: scores sequences of tags, and these steps have values; leave it out")
        self.batch = min(train_config.batch, len(self.parts["train"].lengths))
        tagged = "accuracy" if raw.scheme is None else "span_f1"
        self.headline = tagged if self.known.tags is not None else "rmse"
        self.unit = "step" if isinstance(self.known, Steps) else "word"
        sizes = ", ".join(f"{n:,} {part}" for part, n in raw.sizes.items())
        kind = f"{len(self.known.tags)} tags" if self.known.tags is not None else "values"
        examples = "sequences" if raw.layout is None else "sentences"
        units = sum(int(part.lengths.sum()) for part in self.parts.values())
        self.summary = f"{raw.label}: {units:,} {self.unit}s in {examples} ({sizes}), {kind}"

    # -- model and data ----------------------------------------------------------------------------------------

    @property
    def sizes(self) -> dict[str, int]:
        """What a :class:`Tagger` is made with, beside its configuration."""
        return sizes_of(self.known)

    def build(self) -> nn.Module:
        """A fresh model, drawn from torch's global generator; with ``start_from`` the old weights go over it."""
        model = Tagger(self.model_config, **self.sizes)
        if self.start_from is not None:
            self.notes += init_from(model, self.known, *self.start_from)
        model.cut, lengths = self.truncated, self.parts["train"].lengths
        kept = long.kept(model.rnn, int(lengths.max(initial=0)), self.batch)
        self.notes += long.notes(lengths, kept, self.truncated, "sequences")
        return model

    def stream(self) -> Stream:
        """Minibatches of training sentences of about one length, shuffled anew in each pass."""
        part, config = self.parts["train"], self.train_config
        return ExampleStream(part.lengths, self.batch, config.seed, part.batch, part.lengths)

    def loss(self, model: nn.Module, batch: Batch, carry: Mapping[str, Tensor]) -> Loss:
        """The loss of one batch: the mean over its real units, or with ``--loss-reduction sum`` over its sentences."""
        assert isinstance(model, Tagger)
        nats = batch_nats(model, model(batch), batch).sum()
        units = len(batch.places)
        objective = nats / (batch.size if self.train_config.loss_reduction == "sum" else units)
        return Loss(objective, nats.detach() / units, units, {})

    # -- figures -----------------------------------------------------------------------------------------------

    def evaluate(self, model: nn.Module, part: str) -> Evaluation:
        """Read all of a part: nats a unit with their interval over sentences, and :func:`report.figures`.

        NaN and 0 units for an empty part.
        """
        assert isinstance(model, Tagger)
        data = self.parts[part]
        units = int(data.lengths.sum())
        if units == 0:
            return Evaluation(math.nan, 0, (math.nan, math.nan))
        found = read_part(model, data)
        figures = report.figures(found, data, self.known, self.scheme)
        interval = ratio_interval(found.nats, found.counted)
        return Evaluation(found.mean, units, interval, figures={name: f.value for name, f in figures.items()})

    def report(self, model: nn.Module, part: str) -> Report:
        """Figures with intervals, the baseline's, scores by tag, and every sentence with its tags."""
        assert isinstance(model, Tagger)
        return report.report(model, self.parts[part], self.known, self.scheme)

    def baseline(self) -> tuple[str, float] | None:
        """Nats a word of the smoothed frequencies of each word's tags, on the test part; None for numbers, or none."""
        train, test = self.parts["train"], self.parts["test"]
        if not isinstance(train, WordPart) or not isinstance(test, WordPart) or not len(test.form.values):
            return None
        return report.BASELINE, report.frequency_nats(train, test)

    def sample(self, model: nn.Module, carry: Mapping[str, Tensor], length: int, seed: int) -> str | None:
        """A dev sentence (without any, a training sentence) as the model tags it, what is wrong with the right tag."""
        data = self.parts["dev"] if len(self.parts["dev"].lengths) else self.parts["train"]
        if not isinstance(data, WordPart):
            return None
        assert isinstance(model, Tagger)
        return report.shown(model, data, seed % len(data.lengths), length)

    # -- what it is --------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Sizes, parts and parameters, as JSON values."""
        stream = self.stream()
        tags = self.known.tags
        told = {
            "task": self.name,
            "text": self.summary,
            "units": self.unit,
            "parts": {name: int(part.lengths.sum()) for name, part in self.parts.items()},
            "records": sum(len(part.lengths) for part in self.parts.values()),
            "parameters": count_parameters(self.model_config, **self.sizes),
            "batch": self.batch,
            "steps_per_epoch": stream.steps_per_epoch,
            "units_per_epoch": stream.units_per_epoch,
            "digest": self._digest,
            "card": self._card(),
        }
        return told | ({} if tags is None else {"first_loss": math.log(len(tags)), "tags": len(tags)})

    def _card(self) -> list[tuple[str, str]]:
        config = self.model_config
        network = f"{config.layers} {'bidirectional ' if config.bidirectional else ''}{config.cell} of {config.hidden}"
        if isinstance(self.known, Words) and config.letters:
            network += f", words spelled by a {config.cell} of {config.letter_hidden}"
        network += ", CRF" if config.crf else ""
        return [("data", self.summary), ("network", network), ("gradient", long.described(self.truncated))]

    def engine(self, model: nn.Module) -> tuple[str, str]:
        """Which engine runs a training batch of this task, and why the faster ones do not."""
        assert isinstance(model, Tagger)
        rnn: Any = model.rnn
        x = torch.zeros(2, 1, rnn.input_size, dtype=model.head.weight.dtype, device=model.head.weight.device)
        found = explain(rnn, x, lengths=torch.tensor([2]))
        return found.engine, found.reasons.get("aten", "").removeprefix("no: ")

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` keeps: the model's and the data's settings, and among the latter the data's digest."""
        data = to_dict(self.data_config)
        # Absolute, so that a run can be resumed and evaluated from any folder.
        data |= {name: os.path.abspath(data[name]) for name in ("dev_file", "test_file") if data[name] is not None}
        data["digest"] = self._digest
        return {"model": to_dict(self.model_config), "data": data}

    def tokens(self) -> dict[str, Any] | None:
        """What ``tokens.json`` keeps: vocabularies, and how the data was written."""
        layout = None if self.layout is None else dataclasses.asdict(self.layout)
        return {"layout": layout, "scheme": self.scheme, "cut": self.cut, "known": self.known.to_json()}


def sizes_of(known: Words | Steps) -> dict[str, int]:
    """The sizes of a :class:`Tagger` with these vocabularies."""
    if isinstance(known, Steps):
        outputs = len(known.y_mean) if known.tags is None else len(known.tags)
        return {"outputs": outputs, "inputs": len(known.mean)}
    return {"outputs": len(known.tags), "words": len(known.words), "letters": len(known.letters)}
