"""The captioning task: what the training loop needs to know about it, and nothing of the loop."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data.caption_units import caption_text
from unrolled.data.examples import ExampleStream, Ints, Ragged, batches_by_length
from unrolled.data.image_sets import Pictures
from unrolled.data.vocabulary import Vocabulary
from unrolled.settings import to_dict
from unrolled.tasks.base import Evaluation, Loss, Report, Stream
from unrolled.tasks.caption.config import SMALL, CaptionConfig, CaptionData, CaptionPredict
from unrolled.tasks.caption.encoder import SmallEncoder, mirrored, shifted
from unrolled.tasks.caption.looking import tensors
from unrolled.tasks.caption.model import CaptionModel, Inputs, Scene, count_parameters
from unrolled.tasks.caption.neighbours import Neighbours
from unrolled.tasks.caption.reading import CaptionCorpus
from unrolled.tasks.caption.report import report
from unrolled.tasks.caption.writing import write
from unrolled.tasks.metrics import mean_interval
from unrolled.tasks.transfer import Naming, copy_fitting

IGNORED = -100
"""The target of padding, which ``F.cross_entropy`` leaves out."""

BY_WORD = {"embedding.weight": 0, "head.weight": 0, "head.bias": 0}
"""The dimension of each parameter that runs over the vocabulary."""

WATCHED = 300
"""Pictures of the dev part that are captioned at each evaluation."""
READ_AT_ONCE = 64
SECONDS_PER_CAPTION = 0.002
"""What the baselines and captions of the test part take, about, for each picture."""


class Training(Protocol):
    """What the task needs of the training settings."""

    @property
    def batch(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def loss_reduction(self) -> str: ...


@dataclasses.dataclass
class CaptionBatch:
    """Captions with their pictures.

    Attributes:
        rows: (B,) numbers of the images.
        ids: int64 (T, B), ``<s>`` first. targets: (T, B), ``</s>`` last, :data:`IGNORED` in the padding.
        lengths: (B,) steps of each caption, its end included.
    """

    rows: Ints
    ids: Ints
    targets: Ints
    lengths: Ints


class CaptionTask:
    """A corpus, the shape of a model, and how it is trained.

    Args:
        corpus: pictures and captions. data, model, train: as on the command line.
        vocabulary: of an older model; by default it is learnt from the training part.
        start_from: weights (a ``state_dict``) and vocabulary of an old model; :meth:`build` copies what fits of them.

    Attributes:
        longest: units of a caption that is written, at most. notes, label, summary: for people.
    """

    name, headline = "caption", "token_f1"

    def __init__(
        self, corpus: CaptionCorpus, data: CaptionData, model: CaptionConfig, train: Training, *,
        vocabulary: Vocabulary | None = None, start_from: tuple[Mapping[str, Tensor], Vocabulary] | None = None,
        longest: int | None = None,
    ) -> None:  # fmt: skip
        self.corpus, self.data, self.model_config, self.train_config = corpus, data, model, train
        self.vocabulary = vocabulary or learn_vocabulary(corpus, data)
        self.start_from = start_from
        self.digest = corpus.digest()
        self.notes, self.label, self.summary = list(corpus.notes), corpus.label, corpus.summary
        self.image_of = np.repeat(np.arange(len(corpus.units)), [len(c) for c in corpus.units])
        encoded = [self.vocabulary.encode(c, corpus.names[k]) for k, said in enumerate(corpus.units) for c in said]
        self.texts = Ragged.of(encoded)
        steps = self.texts.lengths + 1  # and the end
        part_of = np.empty(len(corpus.units), dtype="U5")
        for part, rows in corpus.parts.items():
            part_of[rows] = part
        self.of_part = {part: np.flatnonzero(part_of[self.image_of] == part) for part in corpus.parts}
        self.steps = steps
        trained = steps[self.of_part["train"]]
        self.longest = longest or int(1.5 * (trained.max(initial=2) - 1)) + 1
        self.inputs = self._inputs()
        self._parameters: int | None = None

    def _inputs(self) -> Inputs:
        pictures, V = self.corpus.pictures, len(self.vocabulary)
        if not isinstance(pictures, Pictures):
            return Inputs(V, pictures.width, pictures.same, pictures.grid)
        if not pictures.same or pictures.largest is None or self.data.fit == "keep":
            return Inputs(V)
        if self.model_config.encoder == SMALL:
            h, w = SmallEncoder(self.model_config).grid(*pictures.largest)
            return Inputs(V, places=h * w)
        return Inputs(V)

    # -- model and data ----------------------------------------------------------------------------------------

    def build(self) -> nn.Module:
        """A fresh model, drawn from torch's global generator; with ``start_from`` the old weights go over it."""
        model = CaptionModel(self.inputs, self.model_config)
        if self.start_from is not None:
            weights, old = self.start_from
            own, theirs = ([*v.specials, *v.items] for v in (self.vocabulary, old))
            self.notes += copy_fitting(model, weights, [Naming("vocabulary", own, theirs, BY_WORD)])
        self._parameters = count_parameters(model)
        return model

    def stream(self) -> Stream:
        """The captions of the training part, shuffled, in batches of about one length."""
        chosen = self.of_part["train"]
        steps = self.steps[chosen]
        config = self.train_config
        return ExampleStream(steps, config.batch, config.seed, lambda k: self.batch(chosen[k]), units=steps)

    def batch(self, captions: Ints) -> CaptionBatch:
        """Captions (B,), by their numbers over the whole corpus, side by side."""
        words, lengths = self.texts.padded(captions, least=0)
        T, B = words.shape
        ids = np.full((T + 1, B), self.vocabulary.start, np.int64)
        ids[1:] = words
        targets = np.full((T + 1, B), IGNORED, np.int64)
        targets[:T] = np.where(np.arange(T)[:, None] < lengths, words, IGNORED)
        targets[lengths, np.arange(B)] = self.vocabulary.end
        return CaptionBatch(self.image_of[captions], ids, targets, lengths + 1)

    # -- training ----------------------------------------------------------------------------------------------

    def loss(self, model: nn.Module, batch: CaptionBatch, carry: Mapping[str, Tensor]) -> Loss:
        """The mean nats of the words of a batch, ends included; nothing is carried.

        The objective is smoothed by ``--smoothing``; nats never are. Shifts, mirrors and dropout draw from torch's
        global generator.
        """
        assert isinstance(model, CaptionModel)
        scores, targets = self._scores(model, batch)
        units = int(batch.lengths.sum())
        nats = F.cross_entropy(scores, targets, reduction="sum", ignore_index=IGNORED)
        objective = nats
        if self.model_config.smoothing:
            objective = F.cross_entropy(
                scores, targets, reduction="sum", ignore_index=IGNORED, label_smoothing=self.model_config.smoothing
            )
        divisor = len(batch.rows) if self.train_config.loss_reduction == "sum" else units
        return Loss(objective / divisor, nats.detach() / units, units, {})

    def _scores(self, model: CaptionModel, batch: CaptionBatch) -> tuple[Tensor, Tensor]:
        """Scores (T*B, V) and targets (T*B,)."""
        scene = self.scene(model, batch.rows)
        device = model.head.weight.device
        ids, targets, lengths = (torch.from_numpy(a).to(device) for a in (batch.ids, batch.targets, batch.lengths))
        same = int(batch.lengths.min()) == len(batch.ids)
        return model(ids, scene, None if same else lengths).flatten(0, 1), targets.flatten()

    def scene(self, model: CaptionModel, rows: Ints) -> Scene:
        """Look at the images ``rows``; in training they are moved and mirrored as ``data`` says."""
        values, extent = tensors(self.corpus.pictures, rows, model.head.weight.device)
        if values.is_floating_point():
            values = values.to(model.head.weight.dtype)
        elif model.training:
            values = shifted(values, self.data.shift) if self.data.shift else values
            values = mirrored(values) if self.data.flip else values
        return model.look(values, extent)

    # -- figures -----------------------------------------------------------------------------------------------

    def evaluate(self, model: nn.Module, part: str) -> Evaluation:
        """Nats of every word of every caption of a part, and figures of captions written for its images (for "dev" of
        at most 300 of them): ``exact``, ``token_f1``, ``bleu4``, ``distinct``."""
        assert isinstance(model, CaptionModel)
        chosen = self.of_part[part]
        if not len(chosen):
            return Evaluation(math.nan, 0, (math.nan, math.nan))
        total, each = 0.0, np.empty(len(chosen))
        for some in batches_by_length(self.steps[chosen], READ_AT_ONCE):
            batch = self.batch(chosen[some])
            scores, targets = self._scores(model, batch)
            nats = F.cross_entropy(scores, targets, reduction="none", ignore_index=IGNORED).view(batch.ids.shape)
            each[some] = nats.double().sum(0).cpu().numpy() / batch.lengths
            total += float(nats.double().sum())
        units = int(self.steps[chosen].sum())
        _, (low, high) = mean_interval(each)
        found = self.report(model, part, most=WATCHED if part == "dev" else None, plain=True)
        figures = {name: figure.value for name, figure in found.figures.items()}
        nats_each = total / units
        half = (high - low) / 2
        return Evaluation(nats_each, units, (nats_each - half, nats_each + half), figures=figures)

    def report(
        self, model: nn.Module, part: str, options: CaptionPredict | None = None, *, most: int | None = None,
        plain: bool = False, neighbours: Neighbours | None = None,
    ) -> Report:  # fmt: skip
        """What the model says of a part's images, beside the nearest neighbour's and a constant caption.

        Args:
            most: of more images than this, a spread is taken. plain: figures only. neighbours: see :func:`write`.
        """
        assert isinstance(model, CaptionModel)
        options = options or CaptionPredict()
        rows = self.corpus.parts[part]
        if most is not None and len(rows) > most:
            rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
        longest = options.max_length or self.longest
        written = write(model, self.vocabulary, self.corpus.pictures, rows, options, longest, neighbours)
        return report(self.corpus, rows, written, self.data, plain=plain)

    def baseline(self) -> tuple[str, float] | None:
        """None: what is simple here gives captions, not probabilities; :meth:`report` holds it."""
        return None

    @property
    def baseline_seconds(self) -> float:
        """What captions and baselines of the test part take, about; a budget in minutes leaves room for it."""
        return SECONDS_PER_CAPTION * len(self.corpus.parts["test"])

    def sample(self, model: nn.Module, carry: Mapping[str, Tensor], length: int, seed: int) -> str | None:
        """What the model says of three images of the dev part (else of the training part), beside what people say."""
        assert isinstance(model, CaptionModel)
        rows = next(self.corpus.parts[p] for p in ("dev", "train") if len(self.corpus.parts[p]))
        chosen = rows[np.random.default_rng(seed).integers(0, len(rows), 3)]
        written = write(
            model, self.vocabulary, self.corpus.pictures, chosen, CaptionPredict(), min(length, self.longest)
        )
        lines = []
        for k, row in zip(chosen.tolist(), written, strict=True):
            said = self.text(row[0].units)
            lines.append(f"{self.corpus.names[k]}: {said}\n    said by people: {self.corpus.captions[k][0]}")
        return "\n".join(lines)

    def text(self, units: list[str]) -> str:
        """A caption for people."""
        return caption_text(units, self.data.units)

    # -- what it is --------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Sizes, parts and parameters, as JSON values."""
        stream = self.stream()
        return {
            "task": self.name,
            "text": self.summary,
            "units": self.data.units,
            "vocabulary": len(self.vocabulary),
            "first_loss": math.log(len(self.vocabulary)),
            "parts": {part: int(self.steps[rows].sum()) for part, rows in self.of_part.items()},
            "images": {part: len(rows) for part, rows in self.corpus.parts.items()},
            "parameters": self._parameters,
            "batch": self.train_config.batch,
            "steps_per_epoch": stream.steps_per_epoch,
            "units_per_epoch": stream.units_per_epoch,
            "digest": self.digest,
            "card": self._card(),
        }

    def _card(self) -> list[tuple[str, str]]:
        c = self.model_config
        looks = f"attention {c.attention}" if c.image_as == "attend" else f"the image as {c.image_as}"
        return [
            ("data", self.summary),
            ("units", f"{self.data.units}, vocabulary {len(self.vocabulary):,}"),
            ("network", f"encoder {c.encoder}, {looks}, {c.layers} x {c.hidden} {c.cell}"),
        ]

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` keeps: the model's and the data's settings, and among the latter the data's digest."""
        return {"model": to_dict(self.model_config), "data": to_dict(self.data) | {"digest": self.digest}}

    def tokens(self) -> dict[str, Any] | None:
        """What ``tokens.json`` keeps: the vocabulary, and what else the model was made for."""
        return self.vocabulary.to_json() | {"inputs": dataclasses.asdict(self.inputs), "longest": self.longest}


def learn_vocabulary(corpus: CaptionCorpus, data: CaptionData) -> Vocabulary:
    """The units of the training part's captions, the most frequent first, and the specials."""
    units = (u for k in corpus.parts["train"].tolist() for caption in corpus.units[k] for u in caption)
    return Vocabulary.learn(units, ("<pad>", "<unk>", "<s>", "</s>"), min_count=data.min_count)
