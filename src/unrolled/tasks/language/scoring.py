"""What a model makes of a given text: log-probability, perplexity, bits per character and per byte."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.data.corpus import Corpus
from unrolled.data.units import Units
from unrolled.errors import UserError
from unrolled.tasks.language.evaluation import evaluate, measure_range, perplexity
from unrolled.tasks.language.measure import reading, unit_nats
from unrolled.tasks.language.model import LanguageModel, State

Ids = npt.NDArray[np.int64]

CHUNK = 512
LINES_AT_ONCE = 4096
ROWS = 64
EXACT = 100_000
"""Texts up to this many units are read in one exact stream, longer ones in 16."""


@dataclasses.dataclass(frozen=True)
class Score:
    """The score of a text.

    Attributes:
        nats: minus the log-probability of the scored units together.
        units: scored units. chars, bytes: the size of the scored text.
    """

    nats: float
    units: int
    chars: int
    bytes: int

    @property
    def log_probability(self) -> float:
        """Natural logarithm of the probability of the text."""
        return -self.nats

    @property
    def nats_per_unit(self) -> float:
        return self.nats / self.units if self.units else math.nan

    @property
    def perplexity(self) -> float:
        """exp of the nats per unit; inf where that leaves the range of floats."""
        return perplexity(self.nats_per_unit)

    @property
    def bpc(self) -> float:
        """Bits per character."""
        return self.nats / math.log(2) / self.chars if self.chars else math.nan

    @property
    def bpb(self) -> float:
        """Bits per byte of the original file."""
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan

    def to_dict(self) -> dict[str, float]:
        """Every figure, as JSON values."""
        return {
            "log_probability": self.log_probability,
            "nats": self.nats,
            "nats_per_unit": self.nats_per_unit,
            "perplexity": self.perplexity,
            "bpc": self.bpc,
            "bpb": self.bpb,
            "units": self.units,
            "chars": self.chars,
            "bytes": self.bytes,
        }


def boundary(units: Units) -> int | None:
    """The unit that stands before a text and between lines: the end of a record, else the line feed, else None."""
    if units.end is not None:
        return units.end
    try:
        ids = units.encode("\n")
    except UserError:  # the vocabulary lacks it
        return None
    return int(ids[0]) if len(ids) == 1 and units.decode(ids) == "\n" else None


def score(
    model: LanguageModel,
    units: Units,
    text: str,
    *,
    size: int | None = None,
    streams: int | None = None,
    unknown: str = "error",
) -> Score:
    """Score a whole text.

    A text of independent records (``units.end`` is set) is the sum over its records, each from a zero state. Otherwise
    the first unit is predicted as if a line had just ended; where the vocabulary has no unit for the line feed, the
    first unit is given and not scored.

    Args:
        size: bytes of the original file; default: those of the text in UTF-8.
        streams: how many streams read it, each warmed on the 512 units before it; default: 1, which is exact, up to
            100,000 units, and 16 beyond.
        unknown: what becomes of a unit that the vocabulary lacks (see :mod:`unrolled.data.units`).
    Raises:
        UserError: an unknown unit.
    """
    size = _bytes(text) if size is None else size
    if units.end_text is None:
        return score_ids(model, units.encode(text, unknown=unknown), boundary(units), len(text), size, streams)
    records = text.split(units.end_text)
    if not records[-1]:
        records.pop()  # the text ends with a delimiter, not with an empty record
    scores = list(_score_each(model, units, records, unknown, "the text"))
    return Score(sum(s.nats for s in scores), sum(s.units for s in scores), len(text), size)


def score_ids(
    model: LanguageModel,
    ids: npt.NDArray[Any],
    first: int | None,
    chars: int,
    size: int,
    streams: int | None = None,
) -> Score:
    """Score encoded units (N,), the first one predicted after ``first``; without it the first is given."""
    if first is not None:
        ids = np.concatenate((np.array([first], np.int64), ids))
    if len(ids) < 2:
        return Score(0.0, 0, chars, size)
    sums = measure_range(model, ids, 1, len(ids), (1 if len(ids) <= EXACT else 16) if streams is None else streams)
    return Score(sums.total, sums.units, chars, size)


def score_corpus(model: LanguageModel, corpus: Corpus, streams: int | None = None) -> Score:
    """Score a whole encoded text of any size; one of records is the sum over its records.

    Args:
        corpus: read with nothing held out.
        streams: as for :func:`score`.
    """
    whole = corpus.parts["train"]
    if whole.records is None:
        return score_ids(model, corpus.tokens, boundary(corpus.units), corpus.chars, corpus.bytes, streams)
    found = evaluate(model, corpus, "train", streams or 16)
    return Score(found.nats * found.units, found.units, corpus.chars, corpus.bytes)


def score_lines(
    model: LanguageModel, units: Units, lines: Iterable[str], *, unknown: str = "error", where: str = "the text"
) -> Iterator[Score]:
    """Score each line by itself, from a zero state: what stands around a line does not change its score.

    A line's score holds its end as well, so that the probabilities of all lines sum to one. Where the vocabulary has no
    unit for it, the end is left out and the first unit of each line is given. Lines are read in batches and come back
    in order; memory does not grow with their number.

    Args:
        lines: without their ends.
        where: what the message calls the text.
    Raises:
        UserError: an unknown unit, named with its line (the first is line 1), once the lines before it are scored.
    """
    return _score_each(model, units, lines, unknown, where)


def _score_each(model: LanguageModel, units: Units, lines: Iterable[str], unknown: str, where: str) -> Iterator[Score]:
    lines, end = iter(lines), boundary(units)
    noun = "line" if units.end_text in (None, "\n") else "record"
    number = 0
    error: UserError | None = None
    mark = "" if end is None else units.end_text or "\n"
    while block := list(islice(lines, LINES_AT_ONCE)):
        encoded: list[Ids] = []
        for line in block:
            number += 1
            try:
                ids = units.encode(line, unknown=unknown, where=f"{where}, {noun} {number}")
            except UserError as found:
                error = found
                break
            encoded.append(np.asarray(ids, np.int64))
        if end is not None:
            encoded = [np.concatenate(([end], ids, [end])) for ids in encoded]
        for line, ids, nats in zip(block, encoded, sequence_nats(model, encoded), strict=False):
            yield Score(nats, max(0, len(ids) - 1), len(line + mark), _bytes(line + mark))
        if error is not None:
            raise error


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def sequence_nats(model: LanguageModel, sequences: Sequence[Ids]) -> list[float]:
    """Nats of every sequence but for its first unit, each from a zero state; read in batches of like length."""
    totals = [0.0] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda k: len(sequences[k]))
    with reading(model):
        for start in range(0, len(order), ROWS):
            rows = [k for k in order[start : start + ROWS] if len(sequences[k]) > 1]
            if rows:
                for k, nats in zip(rows, _batch_nats(model, [sequences[k] for k in rows]), strict=True):
                    totals[k] = float(nats)
    return totals


def _batch_nats(model: LanguageModel, rows: Sequence[Ids]) -> npt.NDArray[np.float64]:
    lengths = np.array([len(ids) - 1 for ids in rows], np.int64)
    padded = np.zeros((lengths.max() + 1, len(rows)), np.int64)
    for b, ids in enumerate(rows):
        padded[: len(ids), b] = ids
    totals = np.zeros(len(rows))
    state: State = None
    for t in range(0, len(padded) - 1, CHUNK):
        x, y = padded[t : t + CHUNK], padded[t + 1 : t + CHUNK + 1]
        x = x[: len(y)]
        nats, state = unit_nats(model, x, y, state)
        # What is read past a line's end comes after all that counts of it.
        totals += np.where(np.arange(t, t + len(x))[:, None] < lengths, nats, 0.0).sum(0)
    return totals


def novelty(samples: Sequence[str], records: Iterable[str]) -> tuple[float, float]:
    """The share of ``samples`` that stand nowhere in ``records``, and the share that repeat an earlier sample.

    ``records`` is read once and not kept. A sample that the length limit cut short stands nowhere and counts as novel:
    leave such samples out.
    """
    if not samples:
        return math.nan, math.nan
    wanted = set(samples)
    known = {record for record in records if record in wanted}
    novel = sum(sample not in known for sample in samples)
    return novel / len(samples), 1 - len(wanted) / len(samples)
