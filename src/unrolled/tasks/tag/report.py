"""The figures of a part, what something simple reaches on it, and what to look at."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.tasks.base import Figure, Report
from unrolled.tasks.metrics import bootstrap_interval, class_scores, confusion, confusion_text, ratio_interval
from unrolled.tasks.tag.encoding import UNKNOWN, Ints, Part, Steps, WordPart, Words
from unrolled.tasks.tag.model import Tagger
from unrolled.tasks.tag.scoring import Scored, count_spans, read_part, sums_by_example

BASELINE = "the most frequent tag of each word"
SMOOTHING = 0.5
"""Words seen so often stand behind each word's frequencies, with those of all words."""
TAGS = 40
"""Tags listed at most."""

Known = Words | Steps


def figures(
    found: Scored, part: Part, known: Known, scheme: str | None, *, intervals: bool = False
) -> dict[str, Figure]:
    """The figures of what a model said.

    Tags: ``accuracy``, before it ``span_f1`` where tags mark spans; ``unseen_accuracy`` on words that the training part
    lacks, as they are written; ``unseen`` their share. Values: ``rmse``, ``mae``, in the file's units, and ``r2``.

    Args:
        intervals: with 95 % intervals, over sentences; the one of ``span_f1`` is drawn, and takes a while.
    """
    if known.tags is None:
        assert isinstance(known, Steps)
        return _value_figures(found, part, known)
    right = (found.predicted == part.targets.values).astype(np.int64)
    everything = np.ones(len(right), bool)
    made = {"accuracy": _share(right, everything, part, intervals)}
    if scheme is not None:
        names = [_texts(ids, part, known) for ids in (part.targets.values, found.predicted)]
        counts = count_spans(*names)
        interval = bootstrap_interval(counts.f1, len(counts.right)) if intervals else None
        made = {"span_f1": Figure(counts.f1(), interval), **made}
    if isinstance(part, WordPart):
        unseen = part.unseen[part.form.values]
        if unseen.any():
            made["unseen_accuracy"] = _share(right, unseen, part, intervals)
            made["unseen"] = Figure(float(unseen.mean()), unit="of the words")
    return made


def _share(right: Ints, among: NDArray[np.bool_], part: Part, intervals: bool) -> Figure:
    interval = None
    if intervals:
        interval = ratio_interval(sums_by_example(right * among, part), sums_by_example(among, part))
    return Figure(float(right[among].mean()), interval)


def _value_figures(found: Scored, part: Part, known: Steps) -> dict[str, Figure]:
    errors = (found.predicted - part.targets.values).astype(np.float64) * known.y_spread
    truth = part.targets.values.astype(np.float64) * known.y_spread
    mean = ((truth - truth.mean(0)) ** 2).mean()
    return {
        "rmse": Figure(float(np.sqrt((errors**2).mean())), low_is_good=True),
        "mae": Figure(float(np.abs(errors).mean()), low_is_good=True),
        "r2": Figure(float(1.0 - (errors**2).mean() / mean) if mean else float("nan")),
    }


def report(model: Tagger, part: Part, known: Known, scheme: str | None) -> Report:
    """All there is to say of a part; empty for an empty one."""
    if not len(part.targets.values):
        return Report()
    found = read_part(model, part)
    made = Report(figures(found, part, known, scheme, intervals=True))
    made.figures["nats"] = Figure(found.mean, ratio_interval(found.nats, found.counted),
                                  f"nats per {'word' if isinstance(part, WordPart) else 'step'}", True)  # fmt: skip
    if known.tags is None:
        made.baselines.append(("the mean of the training part", _mean_figures(found, part, known)))
        return made
    if isinstance(part, WordPart):
        simple = Scored(part.usual(), found.sure, found.nats, found.counted)
        told = figures(simple, part, known, scheme)
        made.baselines.append((BASELINE, {name: f.value for name, f in told.items() if name != "unseen"}))
        made.rows = _rows(found, part, known)
    known_only = part.targets.values != UNKNOWN
    matrix = confusion(part.targets.values[known_only], found.predicted[known_only], len(known.tags))
    made.tables.append(("by tag", tag_table(matrix, known.tags.items)))
    made.tables.append(("confusions", confusion_text(matrix, known.tags.items)))
    return made


def _mean_figures(found: Scored, part: Part, known: Known) -> dict[str, float]:
    assert isinstance(known, Steps)
    nothing = Scored(np.zeros_like(found.predicted), found.sure, found.nats, found.counted)
    return {name: f.value for name, f in _value_figures(nothing, part, known).items()}


def tag_table(matrix: Ints, names: list[str]) -> str:
    """Precision, recall, F1 and number of each tag that occurs, the most frequent first, as plain text."""
    scores = class_scores(matrix)
    order = [k for k in np.argsort(-scores["support"], kind="stable") if scores["support"][k] or matrix[:, k].any()]
    width = max([3, *(len(names[k]) for k in order[:TAGS])])
    lines = [f"{'tag':{width}}  precision  recall      F1   number"]
    for k in order[:TAGS]:
        p, r, f = (scores[name][k] for name in ("precision", "recall", "f1"))
        lines.append(f"{names[k]:{width}}  {p:9.4f}  {r:6.4f}  {f:6.4f}  {int(scores['support'][k]):7,}")
    if len(order) > TAGS:
        lines.append(f"and {len(order) - TAGS} more")
    return "\n".join(lines)


def _texts(ids: Ints, part: Part, known: Known) -> list[list[str]]:
    """Tags of each example, by name; one that is not known spoils no span of another."""
    assert known.tags is not None
    names = [*known.tags.items, "O"]  # UNKNOWN is -1
    offsets = part.targets.offsets
    return [[names[k] for k in ids[a:b]] for a, b in itertools.pairwise(offsets)]


def _rows(found: Scored, part: WordPart, known: Known) -> list[dict[str, Any]]:
    assert known.tags is not None
    names = [*known.tags.items, "?"]
    rows = []
    for n in range(len(part.lengths)):
        a, b = part.form.offsets[n], part.form.offsets[n + 1]
        target, predicted = part.targets.values[a:b], found.predicted[a:b]
        rows.append({
            "input": " ".join(part.forms[k] for k in part.form[n]),
            "target": " ".join(names[k] for k in target),
            "predicted": " ".join(names[k] for k in predicted),
            "wrong": int((target != predicted).sum()),
        })  # fmt: skip
    return rows


def frequency_nats(train: WordPart, test: WordPart) -> float:
    """Nats a word of ``test`` where each tag's probability is its smoothed frequency with its word in ``train``."""
    V = len(train.known.tags)
    counts = np.zeros((len(train.forms), V))
    np.add.at(counts, (train.form.values, train.targets.values), 1.0)
    overall = (counts.sum(0) + 1.0) / (counts.sum() + V)
    place = {form: k for k, form in enumerate(train.forms)}
    by_form = np.array([place.get(form, -1) for form in test.forms], np.int64)
    seen = np.vstack((counts, np.zeros(V)))[by_form]  # (F, V); -1 is the row of zeros
    shares = (seen + SMOOTHING * overall) / (seen.sum(1, keepdims=True) + SMOOTHING)
    known = test.targets.values != UNKNOWN
    found = shares[test.form.values[known], test.targets.values[known]]
    return float(-np.log(found).mean()) if len(found) else float("nan")


def shown(model: Tagger, part: WordPart, row: int, length: int) -> str:
    """A sentence of at most ``length`` words with the model's tags, and the right one where that is another."""
    tags, words = [*part.known.tags.items, "?"], [part.forms[k] for k in part.form[row]][:length]
    predicted = read_part(model, part.take([row])).predicted
    pairs = zip(words, predicted, part.targets[row], strict=False)
    return " ".join(f"{w}/{tags[p]}" + ("" if p == t else f"(not {tags[t]})") for w, p, t in pairs)
