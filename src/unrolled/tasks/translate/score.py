"""How good translations are: BLEU and chrF, the share of wrong sequences, the rate of wrong units."""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.tasks.base import Figure
from unrolled.tasks.metrics import bootstrap_interval, edit_distance, wilson

PIECE = re.compile(r"\w+|[^\w\s]")
NEEDED = "BLEU and chrF need one more package: pip install 'unrolled[translate]'"


@dataclasses.dataclass
class Scored:
    """n translations beside their references.

    Attributes:
        right: (n,) bool, whether one is the same as any of its references. right_first: as the first of them.
        edits, wanted: (n,) edits to the nearest reference, and its units.
    """

    predicted: list[str]
    references: list[list[str]]
    right: NDArray[np.bool_]
    right_first: NDArray[np.bool_]
    edits: NDArray[np.int64]
    wanted: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.predicted)

    def figures(self, *, text: bool) -> dict[str, Figure]:
        """What is reported, the headline first.

        ``wer``: the share of sequences that are none of their references (the word error rate of grapheme-to-phoneme);
        ``wer_first``: that are not the first of them, where some have several; ``uer``: edits to the nearest reference
        for each unit of it (there the phoneme error rate); of text also ``bleu`` and ``chrf``.

        Args:
            text: the targets are running text: BLEU is the headline.
        """
        n = len(self)
        found: dict[str, Figure] = {}
        if text:
            found |= {name: figure for name, (figure, _) in corpus_scores(self.predicted, self.references).items()}
        found["wer"] = _rate(n - int(self.right.sum()), n)
        if any(len(several) > 1 for several in self.references):
            found["wer_first"] = _rate(n - int(self.right_first.sum()), n)
        rate = bootstrap_interval(self._uer, n, samples=200)
        found["uer"] = Figure(self._uer(np.arange(n)), rate, "edits per unit", low_is_good=True)
        return found

    def _uer(self, rows: NDArray[np.int64]) -> float:
        return float(self.edits[rows].sum() / max(1, self.wanted[rows].sum()))


def _rate(wrong: int, n: int) -> Figure:
    return Figure(wrong / max(1, n), wilson(wrong, n), "of the sequences wrong", low_is_good=True)


def compare(predicted: Sequence[str], references: Sequence[Sequence[str]], kind: str) -> Scored:
    """Translations beside their references.

    Args:
        kind: the target's units. What is counted as a unit are characters, runs without white space, or (for word and
            bpe) words and punctuation marks.
    """
    edits, wanted = [], []
    for text, several in zip(predicted, references, strict=True):
        own = pieces(text, kind)
        nearest = min((edit_distance(own, one), -len(one)) for one in (pieces(r, kind) for r in several))
        edits.append(nearest[0])
        wanted.append(-nearest[1])
    pairs = list(zip(predicted, references, strict=True))
    return Scored(
        list(predicted), [list(r) for r in references], np.array([p in r for p, r in pairs], dtype=bool),
        np.array([p == r[0] for p, r in pairs], dtype=bool), np.array(edits, np.int64), np.array(wanted, np.int64),
    )  # fmt: skip


def pieces(text: str, kind: str) -> list[str]:
    """The units of ``text`` that errors are counted in."""
    if kind == "char":
        return list(text)
    return text.split() if kind == "whitespace" else PIECE.findall(text)


def streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """References as sacrebleu takes them: the first of each, the second of each, ..., None where there is none."""
    most = max(map(len, references), default=1)
    return [[several[k] if k < len(several) else None for several in references] for k in range(most)]


def corpus_scores(predicted: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, tuple[Figure, str]]:
    """``bleu`` and ``chrf`` by sacrebleu, with 95 % intervals by its bootstrap and the signature; empty without the
    package."""
    package = _sacrebleu()
    if package is None:
        return {}
    found: dict[str, tuple[Figure, str]] = {}
    metrics: list[tuple[str, Any]] = [("bleu", package.BLEU()), ("chrf", package.CHRF())]
    for name, metric in metrics:
        if not predicted:
            continue
        try:
            made = metric.corpus_score(list(predicted), streams(references), n_bootstrap=200)
        except TypeError:  # its bootstrap mixes kinds of floats where some samples score 0
            made = metric.corpus_score(list(predicted), streams(references))
        half = float(made._ci) if made._ci > 0 else math.inf
        score = float(made.score)
        interval = (max(0.0, score - half), min(100.0, score + half))
        found[name] = (Figure(score, interval), str(metric.get_signature()))
    return found


def sentence_scores(predicted: Sequence[str], references: Sequence[Sequence[str]]) -> float | None:
    """BLEU alone, without an interval; None without sacrebleu."""
    package = _sacrebleu()
    if package is None or not predicted:
        return None
    return float(package.BLEU().corpus_score(list(predicted), streams(references)).score)


def _sacrebleu() -> Any:
    """Its metrics, None where the package is not installed."""
    try:
        return importlib.import_module("sacrebleu.metrics")
    except ImportError:
        return None
