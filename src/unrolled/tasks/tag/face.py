"""What the command line knows of tagging: how its task is opened, and how a trained one answers."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.data.conll import BadSentenceError
from unrolled.data.examples import Ragged
from unrolled.data.step_arrays import read_arrays
from unrolled.data.tagged import Layout, Sentence, in_scheme
from unrolled.errors import UserError
from unrolled.tasks.base import Prediction, Report
from unrolled.tasks.loading import saved_settings, with_weights
from unrolled.tasks.tag import asking
from unrolled.tasks.tag.config import TagConfig, TagData, TagPredict
from unrolled.tasks.tag.encoding import Part, Steps, WordPart, Words
from unrolled.tasks.tag.model import Tagger
from unrolled.tasks.tag.reading import PARTS, check_like, read_more, read_parts
from unrolled.tasks.tag.report import report
from unrolled.tasks.tag.scoring import read_part
from unrolled.tasks.tag.task import TagTask, Training, sizes_of

TOGETHER = 64
"""Sentences tagged at once."""


def open_task(
    paths: list[str],
    data: TagData,
    model: TagConfig,
    train: Training,
    *,
    progress: Callable[[str, float], None] | None = None,
    start_from: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
) -> TagTask:
    """Read tagged sentences, or arrays, and make the task of them.

    Args:
        paths: files; none: Python's own tokens, from the standard library on this machine.
        progress: called with a stage's name and the share of it that is done.
        start_from: weights and ``tokens.json`` of an older model.
    Raises:
        UserError: a file that cannot be read; settings that do not go together.
    """
    if progress is not None:
        progress("reading", 0.0)
    raw = read_parts(paths, data)
    if progress is not None:
        progress("reading", 1.0)
    return TagTask(raw, model, train, data_config=data, start_from=start_from)


def load(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokens: Mapping[str, Any] | None, where: str
) -> TagPredictor:
    """A trained tagger, in evaluation mode, from what a model folder holds.

    Raises:
        UserError: settings, weights and vocabularies that do not fit each other.
    """
    shape, data = saved_settings(config, TagConfig, TagData, where)
    tokens = tokens or {}
    try:
        layout = None if tokens["layout"] is None else Layout(**tokens["layout"])
        known: Words | Steps = (Steps if layout is None else Words).from_json(tokens["known"], where)
        scheme, cut = tokens["scheme"], tokens["cut"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{where}: tokens.json is damaged ({error}); restore the folder") from None
    model = Tagger(shape, **sizes_of(known))
    return TagPredictor(with_weights(model, tensors, where), known, layout, scheme, cut, data, config, where)


class TagPredictor:
    """A trained tagger that answers.

    Attributes:
        model: in evaluation mode. known: its vocabularies. layout: how its training files are written.
    """

    def __init__(
        self, model: Tagger, known: Words | Steps, layout: Layout | None, scheme: str | None, cut: str, data: TagData,
        config: Mapping[str, Any], where: str,
    ) -> None:  # fmt: skip
        self.model, self.known, self.layout, self.scheme, self.cut = model, known, layout, scheme, cut
        self.data, self.config, self.where = data, config, where

    def predict(self, inputs: Iterable[str], options: TagPredict) -> Iterator[Prediction]:
        """A prediction for each sentence: each text, each block of CoNLL's lines, each JSON object.

        Of a model of numbers the inputs are ``.npz`` files, and there is a prediction for each sequence.

        Raises:
            UserError: an input that cannot be read, with its line.
        """
        if isinstance(self.known, Steps):
            for path in inputs:
                yield from self._sequences(path, self.known)
            return
        assert self.layout is not None
        kind, lines = asking.kind_of_input(inputs, options.input)
        asked = asking.sentences(lines, kind, self.layout, self.cut, options.pretokenized)
        try:
            while held := list(itertools.islice(asked, TOGETHER)):
                for one, (tags, sure) in zip(held, self.tag([one.words for one in held]), strict=True):
                    yield asking.answer(one, tags, sure, kind, self.layout, self.scheme, options)
        except BadSentenceError as error:
            raise UserError(f"{error}; correct the line") from None

    def tag(self, sentences: list[list[str]]) -> list[tuple[list[str], list[float]]]:
        """Tags of each sentence, given in words, and their probabilities; spans are marked as the model does."""
        assert isinstance(self.known, Words)
        part = WordPart([Sentence(words, [""] * len(words), "") for words in sentences], self.known)
        found = read_part(self.model, part)
        names, offsets = self.known.tags.items, part.targets.offsets
        return [([names[k] for k in found.predicted[a:b]], found.sure[a:b].tolist())
                for a, b in itertools.pairwise(offsets)]  # fmt: skip

    def evaluate(self, paths: list[str] | None, part: str, options: TagPredict) -> Report:
        """The report of ``part`` ("train", "dev" or "test") of what the model was trained on, or of all of ``paths``.

        Raises:
            UserError: the data is not to be had, or has changed.
        """
        encoded = self._files(paths) if paths else self._part(part)
        with torch.no_grad():
            return report(self.model, encoded, self.known, self.scheme)

    def _files(self, paths: list[str]) -> Part:
        if isinstance(self.known, Steps):
            arrays = read_arrays(paths, x=self.data.words or "x", y=self.data.tag or "y", target=self.data.target)
            check_like(arrays, self.known.tags is None, len(self.known.mean), self.where)
            return self.known.part(arrays)
        assert self.layout is not None
        sentences = read_more(paths, self.data, self.layout, [])
        if self.scheme is not None:
            sentences = in_scheme(sentences, self.scheme)
        return WordPart(sentences, self.known)

    def _part(self, part: str) -> Part:
        if part not in PARTS:
            raise UserError(f"part {part}: not one of {', '.join(PARTS)}")
        paths = (self.config.get("text") or {}).get("paths")
        if not isinstance(paths, list) or paths == ["-"]:
            raise UserError(f"{self.where}: the data it was trained on is not known here; name a file")
        raw = read_parts(paths, self.data)
        if raw.digest() != self.config["data"].get("digest"):
            raise UserError(
                f"{self.where}: the data it was trained on has changed since; name the files to evaluate on"
            )
        if isinstance(self.known, Steps):
            return self.known.part(raw.arrays[part])
        return WordPart(raw.sentences[part], self.known)

    def _sequences(self, path: str, known: Steps) -> Iterator[Prediction]:
        arrays = read_arrays([path], x=self.data.words or "x", y=None)
        if arrays.x.values.shape[1] != len(known.mean):
            raise UserError(f"{path}: {arrays.x.values.shape[1]} numbers a step, and the model reads {len(known.mean)}")
        if known.tags is None:  # targets that are not there have the width of those that were
            nothing = np.zeros((len(arrays.x.values), len(known.y_mean)), np.float32)
            arrays = dataclasses.replace(arrays, y=Ragged(nothing, arrays.x.lengths), numbers=True)
        part = known.part(arrays)
        found = read_part(self.model, part)
        for a, b in itertools.pairwise(part.targets.offsets):
            if known.tags is None:
                values = (found.predicted[a:b] * known.y_spread + known.y_mean).tolist()
                text = " ".join(",".join(f"{v:g}" for v in step) for step in values)
                yield Prediction(text, {"values": values})
            else:
                tags = [known.tags.items[k] for k in found.predicted[a:b]]
                sure = [round(p, 4) for p in found.sure[a:b].tolist()]
                yield Prediction(" ".join(tags), {"tags": tags, "probabilities": sure})
