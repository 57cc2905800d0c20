"""What an n-gram model makes of the same text: the figure a network has to beat to have earned its minutes.

Interpolated with Witten and Bell's weights (Chen and Goodman 1998, section 2.5): with c the context, n(c) how often it
came, T(c) how many different units came after it, and c' the context without its oldest unit,

    P(w | c) = (count(c w) + T(c) P(w | c')) / (n(c) + T(c)),        P(w | nothing at all) = 1 / V.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled.data.corpus import Part
from unrolled.data.records import Records
from unrolled.data.units import TokenArray

Ints = NDArray[np.int64]


def ngram_baseline(
    tokens: TokenArray,
    parts: Mapping[str, Part],
    V: int,
    order: int = 6,
    *,
    records: Records | None = None,
    train_units: int = 4_000_000,
    test_units: int = 400_000,
) -> tuple[str, float] | None:
    """The n-gram model's loss on the test part (on dev where there is none), trained on the train part. Where there are
    both, the order is the one that is best on dev.

    Args:
        V: vocabulary size.
        order: longest run of units counted; 6 reads 5 units back.
        train_units: the last so many units of the train part are counted.
        test_units: the first so many units of the test part are scored.
    Returns:
        What the model is, caps included, and nats per unit; None where there is nothing to test on.
    """
    train, test = parts["train"], parts["test"] if parts["test"].units else parts["dev"]
    learn, counted = _positions(tokens, records, train, order, train_units, last=True)
    score, scored = _positions(tokens, records, test, order, test_units)
    if not scored.any() or not counted.any():
        return None
    sets, best = [(score, scored)], order
    if test is parts["test"] and parts["dev"].units:
        sets.append(_positions(tokens, records, parts["dev"], order, test_units))
    losses = list(_losses(learn, sets, V, order, counted))
    if len(sets) == 2:
        best = min(range(1, order + 1), key=lambda k: losses[k - 1][1])
    name = f"interpolated {best}-gram model"
    if counted.sum() < train.units:
        name += f", trained on {counted.sum():,} of {train.units:,} units"
    if scored.sum() < test.units:
        name += f", tested on the first {scored.sum():,} of {test.units:,}"
    return name, losses[best - 1][0]


def witten_bell(
    train: Ints,
    test: Ints,
    V: int,
    order: int,
    *,
    counted: NDArray[np.bool_] | None = None,
    scored: NDArray[np.bool_] | None = None,
) -> float:
    """Mean nats per unit of ``test`` under the model counted on ``train``.

    Args:
        counted, scored: positions that are targets; the others only stand as context. All by default.
    """
    counted = np.ones(len(train), np.bool_) if counted is None else counted
    scored = np.ones(len(test), np.bool_) if scored is None else scored
    return list(_losses(train, [(test, scored)], V, order, counted))[-1][0]


def _losses(
    train: Ints, sets: Sequence[tuple[Ints, NDArray[np.bool_]]], V: int, order: int, counted: NDArray[np.bool_]
) -> Iterator[list[float]]:
    """For the orders 1, 2, ... the mean nats per unit of each set: units, and which of them are targets."""
    probabilities = [np.full(len(units), 1.0 / V) for units, _ in sets]
    # grams[i] numbers the run of k units that ends at i; -1: it runs over the beginning, or was never seen.
    grams = [np.zeros(len(units), dtype=np.int64) for units, _ in sets]
    train_grams = np.zeros(len(train), dtype=np.int64)
    contexts = 1
    for k in range(1, order + 1):
        train_keys = _keys(train_grams, train, V, k)
        known, train_grams = np.unique(train_keys, return_inverse=True)
        # Runs that end at a position that is no target are numbered, for they are contexts, but not counted.
        counts = np.bincount(train_grams, weights=counted, minlength=len(known))
        counts[known < 0] = 0
        train_grams = np.where(train_keys < 0, -1, train_grams)
        owner = np.maximum(known, 0) // V  # the context of each run
        total = np.bincount(owner, weights=counts, minlength=contexts)
        types = np.bincount(owner, weights=counts > 0, minlength=contexts)
        for n, (units, _) in enumerate(sets):
            keys = _keys(grams[n], units, V, k)
            place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            seen = (known[place] == keys) & (keys >= 0)
            context = np.maximum(keys, 0) // V
            weight = np.where(keys >= 0, total[context] + types[context], 0.0)
            has, count, p = weight > 0, np.where(seen, counts[place], 0.0), probabilities[n]
            p[has] = (count[has] + types[context[has]] * p[has]) / weight[has]
            grams[n] = np.where(seen, place, -1)
        contexts = len(known)
        yield [float(-np.log(p[scored]).mean()) for p, (_, scored) in zip(probabilities, sets, strict=True)]


def _keys(grams: Ints, units: Ints, V: int, k: int) -> Ints:
    """A number for each run of ``k`` units: that of the run of k - 1 before the last unit, and the last unit."""
    if k == 1:
        return np.array(units)
    keys: Ints = np.full(len(units), -1, dtype=np.int64)
    before = grams[:-1]
    keys[1:] = np.where(before >= 0, before * V + units[1:], -1)
    return keys


def _positions(
    tokens: TokenArray, records: Records | None, part: Part, order: int, limit: int, *, last: bool = False
) -> tuple[Ints, NDArray[np.bool_]]:
    """The part's first (of unbroken text with ``last``: last) ``limit`` targets, and which positions are targets."""
    if records is not None:
        return _lay_out(tokens, records, part, order, limit)
    start = max(part.start, part.stop - limit) if last else part.start
    units = tokens[start : min(part.stop, start + limit)].astype(np.int64)
    return units, np.ones(len(units), np.bool_)


def _lay_out(
    tokens: TokenArray, records: Records, part: Part, order: int, limit: int
) -> tuple[Ints, NDArray[np.bool_]]:
    """The part's first records in a row, up to ``limit`` targets; before each enough record ends to fill a context, so
    that no context reaches into another record. Which positions are targets comes with them."""
    assert part.records is not None
    lead = max(1, order - 1)
    # Every record has at least one target, its end, so no more records than targets are needed.
    spans = records.rows[part.records[: min(len(part.records), limit)], :2]
    lengths = spans[:, 1] - spans[:, 0]
    used = np.cumsum(lengths + 1) <= limit
    starts, lengths = spans[used, 0], lengths[used]
    sizes = lead + lengths + 1
    number = np.repeat(np.arange(len(sizes)), sizes)
    step = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes) - lead
    inside = (step >= 0) & (step < lengths[number])
    laid = np.full(len(number), records.end, dtype=np.int64)
    laid[inside] = tokens[starts[number[inside]] + step[inside]]
    targets: NDArray[np.bool_] = step >= 0
    return laid, targets
