"""What something simple makes of the same pairs: the source itself, the most frequent target, the nearest source's."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled.data.examples import Ragged
from unrolled.tasks.translate.score import compare, sentence_scores

Ints = NDArray[np.int64]
ASKED = 1000
"""Test sources that the baselines are tried on at most, evenly spread."""


def baselines(
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    learnt: Sequence[str],
    targets: Sequence[Sequence[str]],
    kind: str,
    *,
    text: bool,
) -> list[tuple[str, dict[str, float]]]:
    """Names and figures of three answers that need no training.

    Args:
        sources, references: what is held out. learnt, targets: what is learnt from; may be empty.
        kind: the target's units. text: with BLEU, where sacrebleu is there.
    """
    asked: Ints = np.unique(np.linspace(0, len(sources) - 1, min(ASKED, len(sources))).astype(np.int64))
    some, wanted = [sources[k] for k in asked], [references[k] for k in asked]
    of = f", on {len(some):,} of them" if len(some) < len(sources) else ""
    answers = {"the source as it is": some}
    if len(learnt):
        frequent = Counter(target for several in targets for target in several).most_common(1)[0][0]
        answers["the most frequent target"] = [frequent] * len(some)
        answers["the target of the most similar source"] = [targets[k][0] for k in nearest(some, learnt)]
    found = []
    for name, answer in answers.items():
        scored = compare(answer, wanted, kind)
        figures = {name: figure.value for name, figure in scored.figures(text=False).items()}
        bleu = sentence_scores(answer, wanted) if text else None
        found.append((name + of, figures if bleu is None else {"bleu": bleu} | figures))
    return found


def nearest(texts: Sequence[str], learnt: Sequence[str]) -> list[int]:
    """For each text the number of the learnt one that shares most with it: Dice's coefficient over runs of three
    characters, ends marked; the first of equal ones."""
    places: dict[str, list[int]] = defaultdict(list)
    sizes = np.zeros(len(learnt))
    for k, one in enumerate(learnt):
        grams = _grams(one)
        sizes[k] = len(grams)
        for gram in grams:
            places[gram].append(k)
    lists = {gram: np.array(rows, np.int64) for gram, rows in places.items()}
    found = []
    for text in texts:
        grams = _grams(text)
        shared = np.zeros(len(learnt))
        for gram in grams:
            if gram in lists:
                shared[lists[gram]] += 1
        found.append(int((2 * shared / (sizes + len(grams))).argmax()))
    return found


def _grams(text: str) -> set[str]:
    marked = f"^^{text}$"
    return {marked[k : k + 3] for k in range(len(marked) - 2)}


def unigram_nats(train: Ragged, test: Ragged, V: int) -> float:
    """Nats per unit, ends counted, of the target's units by their frequencies alone (one is added to each count)."""
    ids, ends = train.values, len(train)
    counts = np.bincount(ids, minlength=V + 1).astype(np.float64) + 1.0
    counts[V] += ends
    nats = math.log(counts.sum()) - np.log(counts)
    units = len(test.values) + len(test)
    return float((nats[test.values].sum() + len(test) * nats[V]) / units) if units else math.nan
