"""What the command line knows of translation: how its task is opened, and how a trained model answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor

from unrolled.data.pairs import read_pairs
from unrolled.data.reading import normalise
from unrolled.errors import UserError
from unrolled.tasks.base import Prediction, Report
from unrolled.tasks.loading import saved_settings, with_weights
from unrolled.tasks.translate.config import TranslateConfig, TranslateData, TranslatePredict
from unrolled.tasks.translate.corpus import Corpus, open_corpus
from unrolled.tasks.translate.decode import Decoder, Translation
from unrolled.tasks.translate.model import Translator
from unrolled.tasks.translate.reporting import make_report
from unrolled.tasks.translate.sides import Side
from unrolled.tasks.translate.task import Training, TranslateTask

INHERITED = ("units", "target_units", "vocab_size", "min_count", "shared", "normalise", "lowercase", "stress")
"""Settings of the data that a run started from another one's weights takes over, below its flags."""


def open_task(
    paths: list[str],
    data: TranslateData,
    model: TranslateConfig,
    train: Training,
    *,
    progress: Callable[[str, float], None] | None = None,
    start_from: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
) -> TranslateTask:
    """Read pairs and make the task of them.

    Args:
        paths: files of pairs, or two parallel ones; none: dates that are made up.
        progress: called with a stage's name and the share of it that is done.
        start_from: weights and ``tokens.json`` of an older model.
    Raises:
        UserError: pairs that cannot be read; settings that do not go together.
    """
    if progress is not None:
        progress("reading", 0.0)
    corpus = open_corpus(paths, data)
    if progress is not None:
        progress("reading", 1.0)
    old = None if start_from is None else (start_from[0], sides_of(start_from[1], "tokens.json")[:2])
    return TranslateTask(corpus, model, data, train, start_from=old)


def sides_of(tokens: Mapping[str, Any], where: str) -> tuple[Side, Side, float]:
    """The sides, and how many units a target has for one of its source, from ``tokens.json``.

    Raises:
        UserError: something is missing or malformed.
    """
    source, target = (Side.from_json(tokens.get(name), where) for name in ("source", "target"))
    ratio = tokens.get("ratio")
    if not isinstance(ratio, (int, float)) or not 0 < ratio < float("inf"):
        raise UserError(f"{where}: damaged vocabulary (ratio {ratio!r}); restore the file")
    return source, target, float(ratio)


def load(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokens: Mapping[str, Any] | None, where: str
) -> TranslatePredictor:
    """A trained model, ready to translate, from what a model folder holds.

    Raises:
        UserError: settings, weights and vocabulary that do not fit each other.
    """
    shape, data = saved_settings(config, TranslateConfig, TranslateData, where)
    source, target, ratio = sides_of(tokens or {}, where)
    model = Translator(source.V, target.V, shape, shared=data.shared)
    return TranslatePredictor(Decoder(with_weights(model, tensors, where), source, target, ratio), data, config, where)


class TranslatePredictor:
    """A trained model that translates.

    Args:
        data: how its pairs were read. config: of its folder. where: what messages call the folder.
    """

    def __init__(self, decoder: Decoder, data: TranslateData, config: Mapping[str, Any], where: str) -> None:
        self.decoder, self.data, self.config, self.where = decoder, data, config, where
        self.model = decoder.model

    def predict(self, inputs: Iterable[str], options: TranslatePredict) -> Iterator[Prediction]:
        """A translation of each input, normalised as the pairs were; of an empty one an empty one."""
        self.decoder.check(options)
        texts = iter(inputs)
        while some := list(islice(texts, options.together)):
            cleaned = [self._clean(text) for text in some]
            full = [text for text in cleaned if text]
            found = self.decoder.translate(full, options)
            for given, text in zip(some, cleaned, strict=True):
                yield self._prediction(given, text, next(found) if text else [], options)

    def _clean(self, text: str) -> str:
        text = normalise(text, self.data.normalise)
        side = "target" if self.data.reverse else "source"
        return text.lower() if self.data.lowercase in (side, "both") else text

    def _prediction(self, given: str, text: str, found: list[Translation], options: TranslatePredict) -> Prediction:
        if not found:
            return Prediction("", {"input": given, "output": "", "score": 0.0, "log_probability": 0.0})
        results = [self._json(text, one, options) for one in found]
        best = results[0]
        values = {"input": given, **best}
        if options.nbest > 1:
            values["nbest"] = results
            return Prediction("\t".join(one.text for one in found), values)
        return Prediction(str(best["output"]), values)

    def _json(self, text: str, one: Translation, options: TranslatePredict) -> dict[str, Any]:
        hypothesis, decoder = one.found, self.decoder
        values: dict[str, Any] = {
            "output": one.text, "score": hypothesis.score, "log_probability": hypothesis.log_probability,
            "ended": hypothesis.ended, "unknown": one.unknown,
        }  # fmt: skip
        if options.alignments and hypothesis.weights is not None:
            ids = decoder.source.encode([text])[0]
            values["read"] = decoder.source.names(ids)
            values["written"] = decoder.target.names([*hypothesis.ids, *([decoder.target.end] * hypothesis.ended)])
            values["weights"] = [[round(float(w), 4) for w in row[: len(ids)]] for row in hypothesis.weights]
        return values

    def evaluate(self, paths: list[str] | None, part: str, options: TranslatePredict) -> Report:
        """The report of ``part`` of the pairs that the model was trained on, or of all of ``paths``.

        Raises:
            UserError: the pairs are not to be had, have changed, or the part is empty.
        """
        decoder = self.decoder
        sides = (decoder.source, decoder.target)
        if paths is not None:
            return make_report(decoder, _whole(paths, self.data, sides), "test", options)
        known = (self.config.get("text") or {}).get("paths")
        if not isinstance(known, list) or "-" in known:
            raise UserError(f"{self.where}: the pairs it was trained on are not known here; name them: DATA")
        corpus = open_corpus(known, self.data, sides)
        if corpus.digest != self.config["data"].get("digest"):
            raise UserError(
                f"{corpus.pairs.label}: not the pairs that {self.where} was trained on, or they have changed; name "
                "other data to evaluate all of it"
            )
        if not len(corpus.parts.get(part, ())):
            raise UserError(f"--part {part}: that part is empty; name another, or train with --heldout")
        return make_report(decoder, corpus, part, options)


def _whole(paths: list[str], data: TranslateData, sides: tuple[Side, Side]) -> Corpus:
    """All of ``paths`` as a test part."""
    pairs = read_pairs(paths, data.reading)
    flat = [one for several in pairs.targets for one in several]
    first = np.concatenate(([0], np.cumsum([len(several) for several in pairs.targets]))).astype(np.int64)
    none = np.zeros(0, np.int64)
    parts = {"train": none, "dev": none, "test": np.arange(len(pairs))}
    source, target = sides
    return Corpus(
        pairs, parts, source, target, source.encode(pairs.sources), target.encode(flat), first, 1.0, list(pairs.notes)
    )
