"""Streams: every unit once, rows that continue, windows, records, positions; held-out text; the n-gram baseline."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from unrolled.data.config import TextConfig
from unrolled.data.corpus import load_corpus
from unrolled.data.heldout import heldout_records, heldout_streams, random_windows
from unrolled.data.ngram import ngram_baseline, witten_bell
from unrolled.data.record_streams import RecordStream, WholeRecordStream
from unrolled.data.records import Permutation, RecordIds, Records
from unrolled.data.streams import Chunk, ChunkStream, fit_batch
from unrolled.data.text import open_source
from unrolled.errors import UserError

COUNT = np.arange(1000, dtype=np.uint16)  # token k is k: a unit's place can be read off it
END = 999


def epoch_of(stream: ChunkStream) -> list[Chunk]:
    return [stream.next() for _ in range(stream.steps_per_epoch)]


def same(a: Chunk, b: Chunk) -> bool:
    fields = ("x", "y", "resets", "lengths")
    arrays = all(np.array_equal(getattr(a, f), getattr(b, f)) for f in fields)
    return arrays and (a.score, a.advance, a.fresh) == (b.score, b.advance, b.fresh)


@pytest.mark.parametrize(("start", "stop"), [(0, 1000), (37, 612), (5, 9)])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("bptt", "stride"), [(1, None), (8, None), (64, None), (12, 4), (12, 5), (8, 1), (7, 7)])
def test_every_unit_is_a_target_once_an_epoch(start: int, stop: int, batch: int, bptt: int, stride: int | None) -> None:
    stream = ChunkStream(COUNT, start, stop, batch=batch, bptt=bptt, stride=stride)
    for epoch in range(2):
        chunks = epoch_of(stream)
        assert [chunk.fresh for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
        scored = np.concatenate([chunk.y[-chunk.score :].ravel() for chunk in chunks])
        rest = (stop - start - 1) % batch
        assert sorted(scored.tolist()) == list(range(start + 1, stop - rest))
        assert len(scored) == stream.units_per_epoch == sum(chunk.scored for chunk in chunks)
        assert stream.epoch == epoch + 1
        for chunk in chunks:
            assert chunk.x.dtype == chunk.y.dtype == np.int64
            assert (chunk.y == chunk.x + 1).all()
            assert chunk.resets is None
            assert len(chunk.x) <= bptt


@pytest.mark.parametrize(("bptt", "stride"), [(8, None), (12, 4), (12, 5), (12, 1)])
def test_rows_continue_where_the_carried_state_stands(bptt: int, stride: int | None) -> None:
    stream = ChunkStream(COUNT, 3, 800, batch=4, bptt=bptt, stride=stride)
    chunks = epoch_of(stream)
    for before, after in itertools.pairwise(chunks):
        assert 0 <= before.advance <= len(before.x)
        # The state after `advance` steps has read up to, not including, the unit that comes next.
        continues = before.x[before.advance] if before.advance < len(before.x) else before.y[-1]
        assert (after.x[0] == continues).all()
        assert (after.y[-after.score] == before.y[-1] + 1).all()


def test_windows_grow_to_their_reach() -> None:
    stream = ChunkStream(COUNT, 0, 31, batch=1, bptt=12, stride=4)
    chunks = epoch_of(stream)
    assert [len(chunk.x) for chunk in chunks] == [4, 8, 12, 12, 12, 12, 12, 10]
    assert [chunk.score for chunk in chunks] == [4] * 7 + [2]
    assert [chunk.advance for chunk in chunks[:-1]] == [0, 0, 4, 4, 4, 4, 4]
    assert chunks[4].x[:, 0].tolist() == list(range(8, 20))


def test_short_last_chunk_can_be_dropped() -> None:
    stream = ChunkStream(COUNT, 0, 100, batch=2, bptt=20, drop_last=True)
    chunks = epoch_of(stream)
    assert [len(chunk.x) for chunk in chunks] == [20, 20]
    assert chunks[0].x[0].tolist() == [0, 49]
    assert stream.next().fresh
    assert len(ChunkStream(COUNT, 0, 10, batch=1, bptt=20, drop_last=True).next().x) == 9


@pytest.mark.parametrize(("bptt", "stride"), [(8, None), (12, 5)])
def test_chunk_stream_can_be_put_back_anywhere(bptt: int, stride: int | None) -> None:
    def make() -> ChunkStream:
        return ChunkStream(COUNT, 3, 200, batch=3, bptt=bptt, stride=stride)

    stream = make()
    for _ in range(3 * stream.steps_per_epoch):
        other = make()
        other.restore(json.loads(json.dumps(stream.position())))
        assert other.epoch == stream.epoch
        assert same(stream.next(), other.next())
        assert other.position() == stream.position()
    with pytest.raises(UserError, match="same settings"):
        stream.restore({"epoch": 0, "offset": 66})


def test_batch_is_halved_until_it_fits() -> None:
    assert fit_batch(1000, 8, 64) == (8, None)
    fitting, note = fit_batch(1000, 32, 64)
    assert fitting == 8
    assert note is not None
    assert "--batch 32" in note
    assert fit_batch(5, 32, 64)[0] == 1
    with pytest.raises(UserError, match="too few to learn from"):
        fit_batch(1, 32, 64)
    with pytest.raises(UserError, match="smaller --batch"):
        ChunkStream(COUNT, 0, 5, batch=8, bptt=4)


def make_records(lengths: list[int]) -> tuple[np.ndarray, Records]:
    stops = np.cumsum(lengths)
    rows = np.stack([stops - lengths, stops, np.array(lengths) + 1, np.array(lengths) + 1], axis=1).astype(np.int64)
    return COUNT[: stops[-1]], Records(rows, END)


LENGTHS = [3, 1, 12, 5, 0, 7, 30, 2, 2, 9, 4, 6, 1]


def pieces(chunks: list[Chunk], row: int) -> list[tuple[list[int], list[int]]]:
    """The records that one row read, as inputs and targets, cut at the resets."""
    x = np.concatenate([chunk.x[:, row] for chunk in chunks])
    y = np.concatenate([chunk.y[:, row] for chunk in chunks])
    resets = np.concatenate([chunk.resets[:, row] for chunk in chunks])  # type: ignore[index]
    starts = [*np.flatnonzero(resets).tolist(), len(x)]
    assert starts[0] == 0
    return [(x[a:b].tolist(), y[a:b].tolist()) for a, b in itertools.pairwise(starts)]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("bptt", [1, 6, 50])
def test_record_stream_reads_every_record_once_an_epoch(batch: int, bptt: int) -> None:
    tokens, records = make_records(LENGTHS)
    stream = RecordStream(tokens, records, np.arange(len(LENGTHS)), batch=batch, bptt=bptt, seed=5)
    chunks = [stream.next() for _ in range(400 // (batch * bptt) + 10)]
    assert [chunk.fresh for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    counts: Counter[tuple[int, ...]] = Counter()
    for row in range(batch):
        read = pieces(chunks, row)
        for x, y in read[:-1]:  # the last one may go on
            assert x[0] == y[-1] == END
            assert x[1:] == y[:-1]
            counts[tuple(y)] += 1
    whole = [tuple([*tokens[a:b].tolist(), END]) for a, b in records.rows[:, :2].tolist()]
    assert set(counts) <= set(whole)
    # Cursors finish at different times, so the counts differ by records still being read.
    assert max(counts.values()) - min(counts[one] for one in whole) <= 1 + batch
    assert stream.epoch == pytest.approx(len(chunks) * batch * bptt / (sum(LENGTHS) + len(LENGTHS)))
    assert stream.units_per_epoch == sum(LENGTHS) + len(LENGTHS)


def test_each_epoch_has_an_order_of_its_own_and_no_record_twice() -> None:
    tokens, records = make_records([2] * 100)
    ids = RecordIds(Permutation(100, 0), 10, 90)
    stream = RecordStream(tokens, records, ids, batch=1, bptt=3 * 80, seed=1)
    first, second = stream.next(), stream.next()
    orders = [(chunk.y[::3, 0] // 2).tolist() for chunk in (first, second)]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(ids[:].tolist())
    assert orders[0] != orders[1]
    other = RecordStream(tokens, records, ids, batch=1, bptt=3 * 80, seed=2).next()
    assert (other.y != first.y).any()
    assert stream.steps_per_epoch == 1


def test_record_stream_can_be_put_back_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.data.record_streams.AHEAD", 4)
    tokens, records = make_records(LENGTHS)

    def make() -> RecordStream:
        return RecordStream(tokens, records, np.arange(len(LENGTHS)), batch=3, bptt=7, seed=5)

    stream = make()
    for _ in range(30):
        other = make()
        other.restore(json.loads(json.dumps(stream.position())))
        assert same(stream.next(), other.next())
        assert other.position() == stream.position()
        assert other.epoch == stream.epoch
    with pytest.raises(UserError, match="same --batch"):
        RecordStream(tokens, records, np.arange(5), batch=2, bptt=7, seed=5).restore(stream.position())
    with pytest.raises(UserError, match="--batch 14; use --batch 13"):
        RecordStream(tokens, records, np.arange(13), batch=14, bptt=7, seed=5)


def test_whole_records_are_padded_and_read_once_an_epoch() -> None:
    tokens, records = make_records(LENGTHS)
    stream = WholeRecordStream(tokens, records, np.arange(len(LENGTHS)), batch=4, seed=5)
    assert stream.longest == 31
    assert stream.steps_per_epoch == 4
    for epoch in range(2):
        seen: list[list[int]] = []
        for _ in range(4):
            again = WholeRecordStream(tokens, records, np.arange(len(LENGTHS)), batch=4, seed=5)
            again.restore(json.loads(json.dumps(stream.position())))
            chunk = stream.next()
            assert same(chunk, again.next())
            assert chunk.fresh
            assert chunk.lengths is not None
            assert len(chunk.x) == chunk.lengths.max()
            assert chunk.scored == chunk.lengths.sum()
            for row, length in enumerate(chunk.lengths.tolist()):
                assert chunk.x[0, row] == chunk.y[length - 1, row] == END
                assert (chunk.x[1:length, row] == chunk.y[: length - 1, row]).all()
                assert not chunk.x[length:, row].any()
                assert not chunk.y[length:, row].any()
                seen.append(chunk.y[: length - 1, row].tolist())
        assert sorted(seen) == sorted(tokens[a:b].tolist() for a, b in records.rows[:, :2].tolist())
        assert stream.epoch == epoch + 1


@pytest.mark.parametrize(("start", "stop"), [(0, 300), (600, 900), (100, 101), (3, 40)])
@pytest.mark.parametrize("streams", [1, 4, 16])
@pytest.mark.parametrize("bptt", [7, 1000])
def test_held_out_units_count_once_each_with_their_warm_up(start: int, stop: int, streams: int, bptt: int) -> None:
    warmup = 50
    chunks = list(heldout_streams(COUNT, start, stop, streams=streams, warmup=warmup, bptt=bptt))
    assert [chunk.fresh for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    x = np.concatenate([chunk.x for chunk in chunks])
    y = np.concatenate([chunk.y for chunk in chunks])
    weight = np.concatenate([chunk.weight for chunk in chunks])
    assert sorted(y[weight].tolist()) == list(range(max(1, start), stop))
    assert x.shape[1] == min(streams, stop - max(1, start))
    for row in range(x.shape[1]):
        steps = int(np.flatnonzero(weight[:, row])[-1]) + 1
        first = int(np.argmax(weight[:, row]))
        assert (x[:steps, row] == x[0, row] + np.arange(steps)).all()  # one run, in order, to the end
        assert (y[:steps, row] == x[:steps, row] + 1).all()
        assert weight[first:steps, row].all()
        assert first == min(warmup, y[first, row] - 1)  # units read before the first one that counts


def test_nothing_held_out_gives_nothing() -> None:
    assert list(heldout_streams(COUNT, 5, 5)) == []
    assert list(heldout_streams(COUNT, 0, 1)) == []
    assert list(random_windows(COUNT, 5, 6, windows=3, length=4)) == []


@pytest.mark.parametrize("streams", [1, 3, 50])
@pytest.mark.parametrize("bptt", [1, 8, 100])
def test_held_out_records_are_read_once_from_the_zero_state(streams: int, bptt: int) -> None:
    tokens, records = make_records(LENGTHS)
    ids = np.array([2, 0, 5, 4, 6, 11])
    chunks = list(heldout_records(tokens, records, ids, streams=streams, bptt=bptt))
    assert [chunk.fresh for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    x, y, weight, resets = (
        np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("x", "y", "weight", "resets")
    )
    assert int(weight.sum()) == records.totals(ids)[0]
    read = []
    for row in range(x.shape[1]):
        steps = int(weight[:, row].sum())
        assert weight[:steps, row].all()
        starts = [*np.flatnonzero(resets[:steps, row]).tolist(), steps]
        for a, b in itertools.pairwise(starts):
            assert x[a, row] == y[b - 1, row] == END
            assert (x[a + 1 : b, row] == y[a : b - 1, row]).all()
            read.append(y[a : b - 1, row].tolist())
    assert sorted(read) == sorted(tokens[a:b].tolist() for a, b in records.rows[ids, :2].tolist())


def test_random_windows_lie_inside_and_are_seeded() -> None:
    def read(seed: int) -> list[np.ndarray]:
        return [c.x for c in random_windows(COUNT, 100, 200, windows=10, length=20, batch=4, seed=seed)]

    first = read(3)
    assert [one.shape for one in first] == [(20, 4), (20, 4), (20, 2)]
    assert all(one.min() >= 100 and one.max() < 199 for one in first)
    assert all((a == b).all() for a, b in zip(first, read(3), strict=True))
    assert any((a != b).any() for a, b in zip(first, read(4), strict=True))


def naive_witten_bell(train: list[list[int]], test: list[list[int]], V: int, order: int) -> float:
    """The docstring's formula with dictionaries; each text is (context..., targets...), targets from index 0 on, and a
    context is as long as the text allows."""
    after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for text in train:
        for place, unit in enumerate(text):
            for k in range(min(order - 1, place) + 1):
                after[tuple(text[place - k : place])][unit] += 1

    def probability(context: tuple[int, ...], unit: int) -> float:
        shorter = 1 / V if not context else probability(context[1:], unit)
        seen = after.get(context)
        if not seen:
            return 1 / V if not context else shorter
        return (seen[unit] + len(seen) * shorter) / (seen.total() + len(seen))

    losses = [
        -math.log(probability(tuple(text[max(0, place - order + 1) : place]), unit))
        for text in test
        for place, unit in enumerate(text)
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_ngram_equals_a_naive_one(order: int) -> None:
    rng = np.random.default_rng(0)
    for V, length in ((3, 400), (40, 300)):
        train, test = rng.integers(0, V - 1, length), rng.integers(0, V, 200)  # one unit is never seen in training
        train[::3] = 0
        naive = naive_witten_bell([train.tolist()], [test.tolist()], V, order)
        assert witten_bell(train, test, V, order) == pytest.approx(naive, rel=1e-12)


def test_ngram_probabilities_sum_to_one() -> None:
    train = np.random.default_rng(1).integers(0, 4, 300)
    for context in ([0, 1], [3, 3], [2, 0]):
        ends = [np.array([*context, unit]) for unit in range(5)]
        last = np.array([False, False, True])
        total = sum(math.exp(-witten_bell(train, end, 5, 3, scored=last)) for end in ends)
        assert total == pytest.approx(1)


def test_ngram_of_a_corpus_and_its_caps(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("".join(f"line {n * n % 97} of the text\n" for n in range(300)))
    source = open_source([str(tmp_path / "t")])
    corpus = load_corpus(source, TextConfig(), cache=tmp_path / "cache")
    V, train, test = len(corpus.units), corpus.parts["train"], corpus.parts["test"]
    made = ngram_baseline(corpus.tokens, corpus.parts, V)
    assert made is not None
    name, nats = made
    dev = corpus.parts["dev"]
    texts = [[corpus.tokens[part.start : part.stop].tolist()] for part in (train, test, dev)]
    best = min(range(1, 7), key=lambda k: naive_witten_bell(texts[0], texts[2], V, k))
    assert name == f"interpolated {best}-gram model"
    assert nats == pytest.approx(naive_witten_bell(texts[0], texts[1], V, best))
    capped = ngram_baseline(corpus.tokens, corpus.parts, V, train_units=500, test_units=100)
    assert capped is not None
    assert f"trained on 500 of {train.units:,} units, tested on the first 100" in capped[0]
    texts = [[texts[0][0][-500:]], [texts[1][0][:100]], [texts[2][0][:100]]]
    best = min(range(1, 7), key=lambda k: naive_witten_bell(texts[0], texts[2], V, k))
    assert capped[0].startswith(f"interpolated {best}-gram model")
    assert capped[1] == pytest.approx(naive_witten_bell(texts[0], texts[1], V, best))
    whole = load_corpus(source, TextConfig(heldout=0.0, dev=0.0), cache=tmp_path / "cache")
    assert ngram_baseline(whole.tokens, whole.parts, V) is None


def test_ngram_of_records_reads_across_none(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("".join(f"{n * n % 97} name{n % 7}\n" for n in range(300)))
    corpus = load_corpus(open_source([str(tmp_path / "t")]), TextConfig(records="line"), cache=tmp_path / "cache")
    records, V, order = corpus.records, len(corpus.units), 4
    assert records is not None
    texts = []
    for name in ("train", "test"):
        spans = [records.span(number) for number in corpus.parts[name].records[:].tolist()]  # type: ignore[index]
        lead = [records.end] * (order - 1)
        texts.append([[*lead, *corpus.tokens[a:b].tolist(), records.end] for a, b in spans])
    after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for text in texts[0]:
        for place in range(order - 1, len(text)):
            for k in range(order):
                after[tuple(text[place - k : place])][text[place]] += 1
    losses = []
    for text in texts[1]:
        for place in range(order - 1, len(text)):
            p = 1 / V
            for k in range(order):
                seen = after.get(tuple(text[place - k : place]))
                p = (seen[text[place]] + len(seen) * p) / (seen.total() + len(seen)) if seen else p
            losses.append(-math.log(p))
    made = ngram_baseline(corpus.tokens, corpus.parts, V, order, records=records)
    assert made is not None
    assert made[1] == pytest.approx(sum(losses) / len(losses))
