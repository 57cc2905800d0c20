"""The classifier as a task: its parts, its loss, its figures; nothing of the loop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.data.examples import ExampleStream
from unrolled.engines import explain
from unrolled.errors import UserError
from unrolled.settings import to_dict
from unrolled.tasks import long
from unrolled.tasks.base import Evaluation, Loss, Report
from unrolled.tasks.classify import report, scoring
from unrolled.tasks.classify.coder import Coder
from unrolled.tasks.classify.config import ClassifyConfig, ClassifyData
from unrolled.tasks.classify.model import LONGEST_RUN, Classifier, count_parameters
from unrolled.tasks.classify.parts import Batch, Part, Training
from unrolled.tasks.metrics import mean_interval
from unrolled.tasks.transfer import Naming, copy_fitting


class ClassifyTask:
    """Labelled examples in parts, the shape of a classifier, and how it is trained.

    Args:
        parts: "train", "dev", "test".
        start_from: weights and ``tokens.json`` of an older classifier; :meth:`build` copies what fits.
    Attributes:
        summary, label, notes: for people.
    """

    name = "classify"

    def __init__(
        self, coder: Coder, parts: dict[str, Part], model_config: ClassifyConfig, data_config: ClassifyData,
        train_config: Training, *, label: str, notes: list[str],
        start_from: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
    ) -> None:  # fmt: skip
        self.coder, self.parts, self.label, self.notes = coder, parts, label, notes
        self.model_config, self.data_config, self.train_config = model_config, data_config, train_config
        self.start_from, self.cut = start_from, long.cut_of(train_config.bptt)
        self.target = data_config.target
        self.outputs = 1 if self.target == "number" else len(coder.classes)
        self.headline = {"class": "accuracy", "several": "micro_f1", "number": "mae"}[self.target]
        self.batch = min(train_config.batch, max(1, len(parts["train"])))
        self.weights = _class_weights(coder.counts, model_config.class_weights) if self.target == "class" else None
        if self.target != "class" and (model_config.class_weights != "none" or model_config.smoothing):
            raise UserError(f"--class-weights, --smoothing: not for --target {self.target}; leave them out")

    # -- model and data ------------------------------------------------------------------------------------------------

    @property
    def summary(self) -> str:
        sizes = ", ".join(f"{name} {len(self.parts[name]):,}" for name in ("train", "dev", "test"))
        lengths = self.parts["train"].inputs.lengths
        K = self.outputs
        what = {"class": f"{K} classes", "several": f"{K} labels", "number": "a number"}[self.target]
        unit = "steps" if self.coder.kind == "numbers" else f"{self.coder.kind}s"
        known = "" if self.coder.vocabulary is None else f", vocabulary {len(self.coder.vocabulary):,}"
        return (f"{self.label}: {what}; examples: {sizes}; {unit} an example: {int(np.median(lengths))} "
                f"(median), at most {int(lengths.max())}{known}")  # fmt: skip

    def build(self) -> nn.Module:
        """A fresh model; numbers are standardised by the training part."""
        model = empty_model(self.coder, self.model_config, self.target)
        train = self.parts["train"]
        if self.coder.kind == "numbers":
            values = train.inputs.values[:: max(1, len(train.inputs.values) // 10**7)].astype(np.float64)
            deviation = values.std(0)
            model.get_buffer("mean").copy_(torch.from_numpy(values.mean(0)))
            model.get_buffer("scale").copy_(torch.from_numpy(1 / np.where(deviation > 0, deviation, 1.0)))
        if self.target == "number":
            deviation = float(train.y.std()) or 1.0
            model.get_buffer("target").copy_(torch.tensor([float(train.y.mean()), deviation, deviation]))
        if self.start_from is not None:
            self._start(model)
        model.cut = self.cut
        lengths = train.inputs.lengths
        self.notes += long.notes(lengths, model.kept(int(lengths.max(initial=0)), 1), self.cut, "examples")
        return model

    def _start(self, model: Classifier) -> None:
        assert self.start_from is not None
        weights, tokens = self.start_from
        old = Coder.from_json(tokens, "tokens.json")
        namings = []
        if self.coder.vocabulary is not None and old.vocabulary is not None:
            names = [[*v.specials, *v.items] for v in (self.coder.vocabulary, old.vocabulary)]
            namings.append(Naming("vocabulary", names[0], names[1], {"embedding.weight": 0}))
        if self.target != "number":
            namings.append(Naming("classes", self.coder.classes, old.classes, {"head.weight": 0, "head.bias": 0}))
        fresh = {"temperature", "target", "mean", "scale"}
        if (
            self.coder.vocabulary is None
            or old.vocabulary is None
            or self.coder.vocabulary.items != old.vocabulary.items
        ):
            fresh.add("wide.weight")  # its rows are hashes of ids
        self.notes += copy_fitting(model, {n: w for n, w in weights.items() if n not in fresh}, namings)

    def stream(self) -> ExampleStream[Batch]:
        """The training part, shuffled, in batches of about one length."""
        train = self.parts["train"]
        return ExampleStream(train.inputs.lengths, self.batch, self.train_config.seed, train.batch)

    # -- training ------------------------------------------------------------------------------------------------------

    def loss(self, model: nn.Module, batch: Batch, carry: Mapping[str, Tensor]) -> Loss:
        """Cross entropy of one class; of several, the mean over the labels; of a number, half the squared error in
        units of its deviation. Nothing is carried."""
        assert isinstance(model, Classifier)
        paths = scoring.run(model, batch.x, batch.lengths, model.paths)
        y = batch.y.to(paths.device)
        scores = paths.mean(0) if model.apart else paths.sum(0)
        nats = self.nats(model, scores, y)
        objective = sum(self._objective(model, path, y) for path in (paths if model.apart else scores.unsqueeze(0)))
        assert isinstance(objective, Tensor)
        return Loss(objective, nats.detach().mean(), len(y), {})

    def _objective(self, model: Classifier, scores: Tensor, y: Tensor) -> Tensor:
        """The mean over the examples, weighted and smoothed as the settings say."""
        if self.weights is None and not self.model_config.smoothing:
            return self.nats(model, scores, y).mean()
        weights = None if self.weights is None else self.weights.to(scores)
        each = F.cross_entropy(scores, y, weights, reduction="none", label_smoothing=self.model_config.smoothing)
        return each.mean()

    def nats(self, model: Classifier, scores: Tensor, y: Tensor) -> Tensor:
        """(N,) what each example costs."""
        if self.target == "class":
            return F.cross_entropy(scores, y, reduction="none")
        if self.target == "several":
            return F.binary_cross_entropy_with_logits(scores, y.to(scores.dtype), reduction="none").mean(1)
        mean, deviation, _ = model.get_buffer("target")
        halved: Tensor = 0.5 * (scores[:, 0] - (y - mean) / deviation).square()
        return halved

    # -- figures -------------------------------------------------------------------------------------------------------

    def evaluate(self, model: nn.Module, part: str) -> Evaluation:
        """Nats an example and the figures; weights are selected by the headline where it is no error."""
        assert isinstance(model, Classifier)
        held = self.parts[part]
        if not len(held):
            return Evaluation(math.nan, 0, (math.nan, math.nan))
        scores, y = scoring.scores(model, held.inputs), torch.from_numpy(held.y)
        nats, interval = mean_interval(self.nats(model, scores / self._temperature(model), y).numpy())
        answers = scoring.answers(model, self.target, scores)
        figures = {name: figure.value for name, figure in report.figures(self.target, answers, held.y).items()}
        figures = {name: value for name, value in figures.items() if name != "loss"}
        score = None if self.target == "number" else 1.0 - figures[self.headline]
        return Evaluation(nats, len(held), interval, figures=figures, score=score)

    def settle(self, model: nn.Module) -> None:
        """Fit the temperature, or a number's error, on the dev part."""
        assert isinstance(model, Classifier)
        if not len(self.parts["dev"]) or not self.model_config.calibrate:
            return
        held = self.parts["dev"]
        with torch.no_grad():
            model.get_buffer("temperature").fill_(1.0)
            scores, y = scoring.scores(model, held.inputs), torch.from_numpy(held.y)
            if self.target == "number":
                errors = scoring.answers(model, self.target, scores)[:, 0] - held.y
                model.get_buffer("target")[2] = float(np.sqrt(np.mean(errors**2)))
                return
            model.get_buffer("temperature").fill_(self._best_temperature(model, scores, y))

    def _best_temperature(self, model: Classifier, scores: Tensor, y: Tensor) -> float:
        """The temperature of the least nats on the dev part (Guo et al. 2017), whose targets are softened as if one
        more example, of any class, had been seen (Platt 1999): a part without an error makes nothing certain."""
        soft = 1.0 / (len(y) + 2)

        def cost(log: float) -> float:
            cooled = scores / math.exp(log)
            several = -F.logsigmoid(-cooled.abs()).mean(1)
            chance = several if self.target == "several" else -F.log_softmax(cooled, 1).mean(1)
            return float(((1 - soft) * self.nats(model, cooled, y) + soft * chance).mean())

        logs = np.linspace(-2.5, 2.5, 101)
        for _ in range(2):  # a grid, and a finer one around its best
            best = float(logs[int(np.argmin([cost(float(log)) for log in logs]))])
            logs = np.linspace(best - 0.05, best + 0.05, 41)
        return math.exp(best)

    def _temperature(self, model: Classifier) -> float:
        return 1.0 if self.target == "number" else model.get_buffer("temperature").item()

    def report(self, model: nn.Module, part: str, threshold: float | None = None) -> Report:
        """Figures, baselines, confusion and the surest errors of a part."""
        assert isinstance(model, Classifier)
        answers = scoring.answers(model, self.target, scoring.scores(model, self.parts[part].inputs))
        return report.make(self, answers, part, threshold)

    @property
    def baseline_seconds(self) -> float:
        """What the baselines of the report take, about."""
        return 1.0 + 4e-7 * len(self.parts["train"].inputs.values) * self.outputs

    def baseline(self) -> None:
        """The report has them."""

    def sample(self, model: nn.Module, carry: Mapping[str, Tensor], length: int, seed: int) -> str | None:
        """A few examples of the dev part with what the model says now."""
        assert isinstance(model, Classifier)
        held = self.parts["dev"]
        if not len(held):
            return None
        rows = np.random.default_rng(seed).choice(len(held), min(4, len(held)), replace=False)
        some = Part(held.examples.take(rows.tolist()), held.inputs.take(rows), held.y[rows])
        return report.some(self, scoring.answers(model, self.target, scoring.scores(model, some.inputs)), some)

    # -- what it is ----------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Sizes, parts and parameters, as JSON values."""
        c, stream = self.model_config, self.stream()
        ways = ", both directions" if c.bidirectional else ""
        units = {"numbers": f"{self.coder.width} numbers a step"}.get(
            self.coder.kind, f"{self.coder.kind}, vocabulary {self.coder.inputs:,}"
        )
        wanted = "a number" if self.target == "number" else ", ".join(self.coder.classes[:20])
        more = ", ..." if len(self.coder.classes) > 20 else ""
        parameters = count_parameters(self.coder.inputs, self.outputs, c, numbers=self.coder.kind == "numbers")
        return {
            "task": self.name, "parts": {name: len(part) for name, part in self.parts.items()},
            "first_loss": {"class": math.log(max(1, self.outputs)), "several": math.log(2)}.get(self.target, 0.5),
            "batch": self.batch, "steps_per_epoch": stream.steps_per_epoch, "units_per_epoch": stream.units_per_epoch,
            "parameters": parameters, "digest": self.digest(),
            "card": [("data", self.summary), ("units", units), ("answers", wanted + more),
                     ("network", f"{c.layers} x {c.hidden} {c.cell}{ways}, pooled: {c.pool}"),
                     ("gradient", long.described(self.cut))],
        }  # fmt: skip

    def digest(self) -> str:
        """Identifies inputs, labels and parts."""
        found = hashlib.blake2b(digest_size=16)
        for name in ("train", "dev", "test"):
            part = self.parts[name]
            for array in (part.inputs.offsets, part.inputs.values, part.y):
                found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def engine(self, model: nn.Module) -> tuple[str, str]:
        """Which engine runs a training batch, and why the faster ones do not."""
        assert isinstance(model, Classifier)
        x = torch.zeros(2, 1, model.rnn.input_size, dtype=model.head.weight.dtype, device=model.head.weight.device)
        found = explain(model.rnn, x, lengths=torch.tensor([2]))
        return found.engine, found.reasons.get("aten", "").removeprefix("no: ")

    def settings(self) -> dict[str, Any]:
        """What ``config.json`` keeps."""
        return {"model": to_dict(self.model_config), "data": to_dict(self.data_config) | {"digest": self.digest()}}

    def tokens(self) -> dict[str, Any] | None:
        """What ``tokens.json`` keeps."""
        return self.coder.to_json()


def empty_model(coder: Coder, config: ClassifyConfig, target: str) -> Classifier:
    """A model of fresh weights for these inputs and classes."""
    unk = 0 if coder.vocabulary is None else coder.vocabulary.unk or 0
    outputs = 1 if target == "number" else len(coder.classes)
    run = LONGEST_RUN.get(coder.kind, 0)
    return Classifier(coder.inputs, outputs, config, numbers=coder.kind == "numbers", unk=unk, run=run)


def _class_weights(counts: list[int], how: str) -> Tensor | None:
    """(K,) with mean 1 over the training examples; None for equal ones."""
    if how == "none":
        return None
    seen = torch.tensor(counts, dtype=torch.float64)
    weights = seen.clamp(min=1).pow(-1.0 if how == "balanced" else -0.5)
    return weights * seen.sum() / (weights * seen).sum()
