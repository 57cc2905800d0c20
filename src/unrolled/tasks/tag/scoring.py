"""What a tagger says of a part, and how right it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from unrolled.data.examples import batches_by_length
from unrolled.data.spans import spans_of
from unrolled.tasks.metrics import f1
from unrolled.tasks.tag.encoding import UNKNOWN, Batch, Ints, Part
from unrolled.tasks.tag.model import Tagger, over_time

SENTENCES = 64
"""Sentences read at once where nothing is learnt."""
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


@dataclasses.dataclass
class Scored:
    """A part as the model reads it, units in the part's order.

    Attributes:
        predicted: (units,) tags, or (units, O) values. sure: (units,) probability of the tag; empty for values.
        nats, counted: (n,) nats of each example, and how many of its units they are of.
    """

    predicted: NDArray[Any]
    sure: NDArray[np.float64]
    nats: NDArray[np.float64]
    counted: Ints

    @property
    def mean(self) -> float:
        """Nats a unit; NaN for none."""
        total = int(self.counted.sum())
        return float(self.nats.sum()) / total if total else math.nan


def batch_nats(model: Tagger, scores: Tensor, batch: Batch) -> Tensor:
    """Minus the log-probability of the targets, in nats: of each unit (N,), with a CRF of each example (B,).

    Units whose tag is not known, and examples that hold one under a CRF, get 0. A value is read as the mean of a normal
    distribution of variance 1 (of standardised values), which makes its nats half the squared error and a constant.
    """
    targets = torch.from_numpy(batch.targets).to(scores.device)
    if targets.dtype != torch.int64:
        return (0.5 * (scores - targets.to(scores)) ** 2 + HALF_LOG_TWO_PI).sum(1)
    if model.crf is None:
        return F.cross_entropy(scores, targets, reduction="none", ignore_index=UNKNOWN)
    emissions, lengths = over_time(scores, batch)
    tags, _ = over_time(targets.clamp_min(0), batch)
    nats: Tensor = model.crf(emissions, tags, lengths)
    strange = batch.places[batch.targets == UNKNOWN] % batch.size
    if len(strange):
        nats = nats.masked_fill(torch.from_numpy(np.isin(np.arange(batch.size), strange)).to(nats.device), 0.0)
    return nats


def best_tags(model: Tagger, scores: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The best tag of each unit (N,), with a CRF those of the best sequences, and their probabilities (N,)."""
    if model.crf is None:
        sure, tags = torch.softmax(scores.double(), 1).max(1)
        return tags, sure
    emissions, lengths = over_time(scores, batch)
    places = torch.from_numpy(batch.places).to(scores.device)
    tags = model.crf.decode(emissions, lengths)[0].flatten().index_select(0, places)
    marginals = model.crf.marginals(emissions, lengths).flatten(0, 1).index_select(0, places)
    return tags, marginals.gather(1, tags[:, None])[:, 0]


@torch.no_grad()
def read_part(model: Tagger, part: Part) -> Scored:
    """Read all of a part, the longest sentences first, in evaluation mode."""
    lengths, targets = part.lengths, part.targets
    values = targets.values.dtype != np.int64
    found = Scored(np.zeros_like(targets.values), np.zeros(0 if values else len(targets.values)),
                   np.zeros(len(lengths)), np.zeros(len(lengths), np.int64))  # fmt: skip
    for rows in batches_by_length(lengths, SENTENCES):
        batch = part.batch(rows)
        if not len(batch.places):
            continue
        scores = model(batch)
        row = rows[batch.places % batch.size]
        at = targets.offsets[row] + batch.places // batch.size
        nats = batch_nats(model, scores, batch).double().cpu().numpy()
        known = np.ones(len(at), bool) if values else batch.targets != UNKNOWN
        if model.crf is None:
            np.add.at(found.nats, row, nats)
        else:
            found.nats[rows] = nats
            known &= ~np.isin(row, row[~known])
        np.add.at(found.counted, row, known)
        if values:
            found.predicted[at] = scores.cpu().numpy()
        else:
            tags, sure = best_tags(model, scores, batch)
            found.predicted[at], found.sure[at] = tags.cpu().numpy(), sure.double().cpu().numpy()
    return found


@dataclasses.dataclass
class SpanCounts:
    """Spans of each example: right ones, those claimed and those there are (n,)."""

    right: Ints
    claimed: Ints
    wanted: Ints

    def f1(self, rows: Any = slice(None)) -> float:
        """Over the examples ``rows``: a span is right where its words and its type are."""
        return f1(float(self.right[rows].sum()), float(self.claimed[rows].sum()), float(self.wanted[rows].sum()))


def count_spans(targets: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> SpanCounts:
    """Compare the spans of each example, as conlleval does."""
    counts = []
    for wanted_tags, claimed_tags in zip(targets, predicted, strict=True):
        wanted, claimed = set(spans_of(wanted_tags)), set(spans_of(claimed_tags))
        counts.append((len(wanted & claimed), len(claimed), len(wanted)))
    columns = np.array(counts, np.int64).reshape(-1, 3).T
    return SpanCounts(*columns)


def sums_by_example(values: NDArray[Any], part: Part) -> NDArray[np.float64]:
    """Sums (n,) of what each unit (units,) has, over the units of each example."""
    offsets = part.targets.offsets
    return np.diff(np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))[offsets])
