"""The figures of a held-out part: every unit once, with the right memory before it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from unrolled.data.corpus import Corpus
from unrolled.data.heldout import HeldoutChunk, heldout_records, heldout_streams, random_windows
from unrolled.data.units import TokenArray
from unrolled.tasks.base import Evaluation
from unrolled.tasks.language.measure import BlockSums, Reader, reading, unit_nats
from unrolled.tasks.language.model import State


def measure(model: Reader, chunks: Iterable[HeldoutChunk], units: int) -> BlockSums:
    """Sum the nats of every target that counts; ``units`` of them are expected.

    Chunks that are not ``fresh`` continue from the state of the one before. Neither the model's mode nor any random
    stream is changed.
    """
    sums: BlockSums | None = None
    state: State = None
    with reading(model):
        for chunk in chunks:
            B = chunk.x.shape[1]
            if sums is None:
                sums = BlockSums(units, B)
            nats, state = unit_nats(model, chunk.x, chunk.y, None if chunk.fresh else state, resets=chunk.resets)
            sums.add(nats, chunk.weight)
    return sums or BlockSums(units, 1)


def measure_range(model: Reader, tokens: TokenArray, start: int, stop: int, streams: int) -> BlockSums:
    """Tokens [start, stop) in ``streams`` streams, each warmed on the 512 units before it; 1 is the exact reading."""
    return measure(model, heldout_streams(tokens, start, stop, streams=streams), stop - start)


def evaluate(model: Reader, corpus: Corpus, part: str, streams: int) -> Evaluation:
    """Nats per unit of a whole part, its 95 % interval (see :class:`BlockSums`), and what it is in bits.

    ``bpc`` and ``bpb`` are bits per character and per byte of the original file. Where the part begins with the text's
    very first unit, which nothing predicts, that unit is taken to cost the mean.
    """
    where = corpus.parts[part]
    if where.units < 1:
        return Evaluation(math.nan, 0, (math.nan, math.nan))
    if corpus.records is None or where.records is None:
        sums = measure_range(model, corpus.tokens, where.start, where.stop, streams)
    else:
        sums = measure(
            model, heldout_records(corpus.tokens, corpus.records, where.records, streams=streams), where.units
        )
    if sums.units == 0:
        return Evaluation(math.nan, 0, (math.nan, math.nan))
    bits = sums.mean * where.units / math.log(2)
    figures = {"perplexity": perplexity(sums.mean)}
    figures |= {"bpc": bits / where.chars} if where.chars else {}
    figures |= {"bpb": bits / where.bytes} if where.bytes else {}
    return Evaluation(sums.mean, sums.units, sums.interval(), figures)


def window_nats(model: Reader, corpus: Corpus, part: str, windows: int, length: int, seed: int) -> float:
    """Nats per unit over random windows of ``length`` units, each from a zero state (NaN for records).

    For comparison with projects that report this; it asks more of a network, whose memory is empty at each start.
    """
    where = corpus.parts[part]
    chunks = random_windows(corpus.tokens, where.start, where.stop, windows=windows, length=length, seed=seed)
    total, units = 0.0, 0
    for chunk in chunks:
        sums = measure(model, [chunk], chunk.x.size)
        total, units = total + sums.total, units + sums.units
    return total / units if units else math.nan


def perplexity(nats: float) -> float:
    """exp(nats), inf where that leaves the range of floats."""
    return math.inf if nats > 700 else math.exp(nats)
