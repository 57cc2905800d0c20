"""Translations of a trained model: greedy or by beam, many sources side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unrolled.data.examples import Ragged, batches_by_length
from unrolled.decoding.beam import Hypothesis, beam_search
from unrolled.errors import UserError
from unrolled.tasks.language.measure import reading
from unrolled.tasks.translate.config import TranslatePredict
from unrolled.tasks.translate.model import Source, State, Translator
from unrolled.tasks.translate.sides import Side

SPARE = 10
"""Units that a translation may have over twice the usual number for its source."""


@dataclasses.dataclass
class Translation:
    """One result: its text, and the hypothesis that it was made of. ``unknown``: how many units of it stay unknown."""

    text: str
    found: Hypothesis
    unknown: int = 0


class _Stepper:
    """The decoder as beam search takes it, with the weights of the step it took last."""

    def __init__(self, model: Translator, source: Source) -> None:
        self.model, self.source = model, source
        self.weights: Tensor | None = None

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        seen, state, weights = self.model.decode(self.source, ids[None], state)
        self.weights = None if weights is None else weights[0]
        return self.model.scores(seen[0]), state

    def looked(self, state: Any) -> Tensor:
        assert self.weights is not None
        return self.weights


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A model with the units of its sides.

    Attributes:
        ratio: units of a target for one of its source, in training: what the greatest length goes by.
    """

    model: Translator
    source: Side
    target: Side
    ratio: float

    def check(self, options: TranslatePredict) -> None:
        """Raises UserError where ``options`` ask for what the model has not."""
        blind = self.model.attention is None
        if options.coverage_penalty and blind:
            raise UserError("--coverage-penalty: the model was trained without attention; leave it out")
        if options.alignments and blind:
            raise UserError("--alignments: the model was trained without attention; leave it out")
        if not options.replace_unknown:
            return
        if blind:
            raise UserError("--replace-unknown: the model was trained without attention, so there is no telling which "
                            "word of the source is meant; leave it out")  # fmt: skip
        if not (self.source.words and self.target.words):
            raise UserError("--replace-unknown: needs words on both sides (--units word or whitespace); leave it out")

    def search(
        self, sources: Ragged, options: TranslatePredict, *, keep_weights: bool = False
    ) -> list[list[Hypothesis]]:
        """The results for each source (n,), in its order; sources of about one length are decoded together."""
        found: list[list[Hypothesis]] = [[] for _ in range(len(sources))]
        for rows in batches_by_length(sources.lengths, options.together):
            ids, lengths = sources.padded(rows)
            for row, results in zip(rows, self._batch(ids, lengths, options, keep_weights), strict=True):
                found[int(row)] = results
        return found

    def _batch(self, ids: Any, lengths: Any, options: TranslatePredict, keep_weights: bool) -> list[list[Hypothesis]]:
        device, model = self.model.head_bias.device, self.model
        looks = model.attention is not None and (keep_weights or options.coverage_penalty > 0)
        limits = [
            options.max_length if options.max_length is not None else SPARE + round(2 * self.ratio * int(n))
            for n in lengths
        ]
        with reading(model):
            source = model.encode(torch.from_numpy(ids).to(device), torch.from_numpy(lengths).to(device))
            stepper = _Stepper(model, source)
            first = torch.full((len(lengths),), self.target.start, device=device)
            return beam_search(
                stepper, model.start(source), first, options, end=self.target.end, max_length=limits,
                attention=stepper.looked if looks else None, lengths=lengths.tolist(),
            )  # fmt: skip

    def translate(self, texts: Sequence[str], options: TranslatePredict) -> Iterator[list[Translation]]:
        """The translations of each text, best first, in its order.

        Raises:
            UserError: :meth:`check`.
        """
        self.check(options)
        keep = options.replace_unknown or options.alignments
        for begin in range(0, len(texts), 32 * options.together):
            some = texts[begin : begin + 32 * options.together]
            for text, results in zip(
                some, self.search(self.source.encode(some), options, keep_weights=keep), strict=True
            ):
                yield [self.spell(text, one, options.replace_unknown) for one in results]

    def spell(self, text: str, one: Hypothesis, replace: bool = False) -> Translation:
        """The text of a result; with ``replace`` its unknown words are those of the source looked at most."""
        places = [] if self.target.unk is None else [k for k, unit in enumerate(one.ids) if unit == self.target.unk]
        if not (replace and places and one.weights is not None):
            return Translation(self.target.decode(one.ids), one, len(places))
        pieces = self.source.pieces(text)
        chosen = {k: pieces[int(one.weights[k, : len(pieces)].argmax())] for k in places if pieces}
        return Translation(self.target.decode(one.ids, chosen), one, len(places) - len(chosen))
