"""The loss of a held-out part: every unit of every target once, teacher-forced."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from unrolled.data.examples import batches_by_length
from unrolled.tasks.base import Evaluation
from unrolled.tasks.language.evaluation import perplexity
from unrolled.tasks.language.measure import SCORES_AT_ONCE
from unrolled.tasks.metrics import Z
from unrolled.tasks.translate.corpus import Corpus
from unrolled.tasks.translate.model import Translator

TOGETHER = 256


@torch.no_grad()
def evaluate(model: Translator, corpus: Corpus, part: str) -> Evaluation:
    """Nats per unit, summed in float64, and its 95 % interval, by sources, which are independent draws.

    The model is in evaluation mode already.
    """
    rows = corpus.parts[part]
    sources, targets = corpus.pairs_of(rows)
    if not len(sources):
        return Evaluation(math.nan, 0, (math.nan, math.nan))
    device = model.head_bias.device
    nats = np.zeros(len(sources))
    lengths = corpus.targets.lengths[targets]
    longest = int(lengths.max()) + 1
    together = max(1, min(TOGETHER, SCORES_AT_ONCE // ((corpus.target.V + 1) * min(longest, 32))))
    for some in batches_by_length(lengths * 4096 + corpus.sources.lengths[sources], together):
        x, x_lengths = corpus.sources.padded(sources[some])
        y, y_lengths = corpus.targets.padded(targets[some])
        scores, wanted = model(*(torch.from_numpy(a).to(device) for a in (x, x_lengths, y, y_lengths)))
        each = F.cross_entropy(scores, wanted, reduction="none").cpu().double().numpy()
        inside = np.arange(int(y_lengths.max()) + 1)[:, None] <= y_lengths
        np.add.at(nats, some[np.nonzero(inside)[1]], each)
    units = lengths + 1
    mean = float(nats.sum() / units.sum())
    # A source's several targets are no independent draws: they count as one.
    starts = np.flatnonzero(np.diff(sources, prepend=-1))
    sums, counts = np.add.reduceat(nats, starts), np.add.reduceat(units, starts)
    n, residuals = len(sums), sums - mean * counts
    half = math.inf
    if n > 1:
        half = Z * math.sqrt(n / (n - 1) * float(residuals @ residuals)) / float(units.sum())
    figures = {"perplexity": perplexity(mean)}
    return Evaluation(mean, int(units.sum()), (max(0.0, mean - half), mean + half), figures=figures)
