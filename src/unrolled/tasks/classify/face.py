"""What the command line knows of classifiers: how the task is opened, and how a trained one answers."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.data.examples import Ragged
from unrolled.data.made_names import made_names
from unrolled.errors import UserError
from unrolled.tasks.base import Prediction, Report
from unrolled.tasks.classify import arrays, scoring
from unrolled.tasks.classify.coder import Coder
from unrolled.tasks.classify.config import ClassifyConfig, ClassifyData, ClassifyPredict
from unrolled.tasks.classify.model import Classifier
from unrolled.tasks.classify.parts import Part, Training, split
from unrolled.tasks.classify.reading import Examples, read
from unrolled.tasks.classify.task import ClassifyTask, empty_model
from unrolled.tasks.loading import saved_settings, with_weights

INHERITED = ("target", "units", "lower", "permute")
"""Settings of the data that a run started from another one's weights takes over, below its flags."""


@dataclasses.dataclass(frozen=True)
class Alone:
    """Stands for the settings of training where nothing is trained."""

    batch: int = 1
    bptt: str = "full"
    seed: int = 1


def open_task(
    paths: list[str],
    data: ClassifyData,
    model: ClassifyConfig,
    train: Training,
    *,
    progress: Callable[[str, float], None] | None = None,
    start_from: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
) -> ClassifyTask:
    """Read labelled examples and make the task of them.

    Args:
        paths: see :mod:`unrolled.tasks.classify.reading`; none: names of made-up languages.
        progress: called with a stage's name and the share of it that is done.
        start_from: weights and ``tokens.json`` of an older classifier.
    Raises:
        UserError: data that cannot be read, bad rows, too few examples, settings that do not go together.
    """
    return _task(paths, data, model, train, None, progress, start_from)


def _task(
    paths: list[str], data: ClassifyData, model: ClassifyConfig, train: Training, coder: Coder | None,
    progress: Callable[[str, float], None] | None = None,
    start_from: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
) -> ClassifyTask:  # fmt: skip
    say = progress or (lambda stage, share: None)
    say("reading", 0.0)
    examples = read(paths, data) if paths else _made(data)
    say("splitting", 0.4)
    given = {name: read([path], data) for name, path in (("dev", data.dev_file), ("test", data.test_file)) if path}
    test, dev = 0.0 if "test" in given else data.heldout, 0.0 if "dev" in given else data.dev
    rows = split(examples, dataclasses.replace(data, heldout=test, dev=dev, fold=data.fold if test else 0))
    say("encoding", 0.6)
    notes = list(examples.notes)
    coder = coder or Coder.learn(examples, rows["train"], data)
    parts = {name: _part(coder, given[name] if name in given else examples.take(chosen.tolist()), data.target)
             for name, chosen in rows.items()}  # fmt: skip
    if data.longest is not None and examples.texts is not None:
        cut = sum(len(coder.units(text)) > data.longest for text in examples.texts)
        notes += [f"--longest {data.longest}: {cut:,} of {len(examples):,} examples are cut short"] if cut else []
    say("encoding", 1.0)
    return ClassifyTask(coder, parts, model, data, train, label=examples.label, notes=notes, start_from=start_from)


def _made(data: ClassifyData) -> Examples:
    if data.target != "class":
        raise UserError(f"--target {data.target}: the generated names have one class each; give data")
    names, languages = made_names()
    where = [f"name {k}" for k in range(len(names))]
    return Examples(names, None, list(languages), where, "generated names of made-up languages")


def _part(coder: Coder, examples: Examples, target: str) -> Part:
    return Part(examples, coder.inputs_of(examples), coder.targets_of(examples, target))


def load(config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokens: Mapping[str, Any], where: str) -> Answering:
    """A trained classifier, in evaluation mode, from what a model folder holds.

    Raises:
        UserError: settings, weights and classes that do not fit each other.
    """
    shape, data = saved_settings(config, ClassifyConfig, ClassifyData, where)
    coder = Coder.from_json(tokens, where)
    model = empty_model(coder, shape, data.target)
    return Answering(with_weights(model, tensors, where), coder, shape, data, config, where)


class Answering:
    """A trained classifier that answers: see :class:`unrolled.tasks.base.Predictor`."""

    def __init__(
        self, model: Classifier, coder: Coder, shape: ClassifyConfig, data: ClassifyData, config: Mapping[str, Any],
        where: str,
    ) -> None:  # fmt: skip
        self.model, self.coder, self.shape, self.data = model, coder, shape, data
        self.config, self.where = config, where

    def predict(self, inputs: Iterable[str], options: ClassifyPredict) -> Iterator[Prediction]:
        """Answers in the order of the inputs: texts, or files of sequences (each sequence gets an answer)."""
        texts = iter(inputs)
        while group := list(itertools.islice(texts, options.at_once)):
            names, encoded = self._encode(group)
            with torch.no_grad():
                found = scoring.scores(self.model, encoded, options.at_once)
            for name, answer in zip(names, scoring.answers(self.model, self.data.target, found), strict=True):
                yield self._say(name, answer, options)

    def _encode(self, group: list[str]) -> tuple[list[str], Ragged]:
        if self.coder.kind != "numbers":
            return group, self.coder.encode(group)
        names: list[str] = []
        found: list[Ragged] = []
        for path in group:
            if not Path(path).is_file():
                raise UserError(f"{path}: no such file; this model reads numbers: give .npy, .npz or idx files")
            sequences = self.coder.arrange(arrays.load_sequences(Path(path)), path)
            names += [path] if len(sequences) == 1 else [f"{path}[{k}]" for k in range(len(sequences))]
            found.append(sequences)
        lengths = np.concatenate([f.lengths for f in found])
        return names, Ragged(np.concatenate([f.values for f in found]), lengths)

    def _say(self, name: str, answer: NDArray[np.float64], options: ClassifyPredict) -> Prediction:
        if self.data.target == "number":
            value, error = float(answer[0]), float(self.model.get_buffer("target")[2])
            text = f"{value:.6g} ± {1.96 * error:.2g}\t{name}"
            return Prediction(text, {"input": name, "value": value, "error": error})
        order = np.argsort(-answer, kind="stable")
        classes = self.coder.classes
        known = {classes[int(k)]: round(float(answer[k]), 6) for k in order}
        if self.data.target == "several":
            least = 0.5 if options.threshold is None else options.threshold
            labels = [label for label, p in known.items() if p >= least]
            return Prediction(f"{', '.join(labels) or '-'}\t{name}",
                              {"input": name, "labels": labels, "probabilities": known})  # fmt: skip
        sure = options.threshold is None or answer.max() >= options.threshold
        top = list(known.items())[: options.top]
        text = ", ".join(f"{label} {p:.3f}" for label, p in top) if sure else f"- (at most {answer.max():.3f})"
        said = {"input": name, "class": top[0][0] if sure else None, "probability": top[0][1], "top": dict(top)}
        return Prediction(f"{text}\t{name}", said)

    def evaluate(self, paths: list[str] | None, part: str, options: ClassifyPredict) -> Report:
        """The report of a part of the training data, or of all of ``paths``; beside it what something simple makes of
        the same, trained on the same training part where that is still to be had."""
        trained_on = (self.config.get("text") or {}).get("paths")
        try:
            if not isinstance(trained_on, list):
                raise UserError("where it lies is not known here")
            task = _task(trained_on, self.data, self.shape, Alone(), self.coder)
            if task.digest() != self.config["data"].get("digest"):
                raise UserError("it has changed since")
        except UserError as error:
            if paths is None:
                raise UserError(f"{self.where}: its training data is not to be had ({error}); name data") from None
            parts = {name: self._nothing() for name in ("train", "dev", "test")}
            task = ClassifyTask(self.coder, parts, self.shape, self.data, Alone(), label="nothing", notes=[])
        if paths is not None:
            part = "all"
            task.parts["all"] = _part(self.coder, read(paths, self.data), self.data.target)
        if not len(task.parts[part]):
            raise UserError(f"--part {part}: that part is empty; name another, or give data")
        with torch.no_grad():
            return task.report(self.model, part, options.threshold)

    def _nothing(self) -> Part:
        width = () if self.coder.vocabulary is not None else (self.coder.width,)
        empty = Ragged(np.zeros((0, *width), np.int64 if not width else np.float32), [])
        return Part(Examples([], None, [], [], "nothing"), empty, np.zeros(0, np.int64))
