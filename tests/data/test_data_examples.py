"""Sequences in a row, shuffled batches of about one length, and parts by key."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.data.examples import ExampleStream, Ragged, batches_by_length, share_of, split_by_key

LENGTHS = [3, 1, 0, 5, 2, 4, 1, 3, 7, 2, 6]


def stream(batch: int = 4, seed: int = 1) -> ExampleStream[list[int]]:
    return ExampleStream(LENGTHS, batch, seed, lambda rows: rows.tolist(), units=LENGTHS)


def test_padding_is_time_first_and_marks_nothing_beyond_the_end() -> None:
    ragged = Ragged.of([[1, 2, 3], [], [4]])
    out, lengths = ragged.padded([2, 0, 1], fill=-1)
    assert out.tolist() == [[4, 1, -1], [-1, 2, -1], [-1, 3, -1]]
    assert lengths.tolist() == [1, 3, 0]
    assert ragged[0].tolist() == [1, 2, 3]
    assert ragged.padded([1])[0].tolist() == [[0]]
    assert ragged.padded([0], least=5)[0][:, 0].tolist() == [1, 2, 3, 0, 0]
    assert Ragged.of([[], []]).padded([0, 1])[0].shape == (1, 2)


def test_vectors_and_chosen_rows() -> None:
    ragged = Ragged.of([np.ones((2, 3)), np.full((1, 3), 2.0)], np.float32)
    out, _ = ragged.padded([1, 0])
    assert out.shape == (2, 2, 3)
    assert out[:, 0].tolist() == [[2.0] * 3, [0.0] * 3]
    taken = Ragged.of([[1, 2], [3], [], [4, 5, 6]]).take([3, 2, 0])
    assert [taken[k].tolist() for k in range(3)] == [[4, 5, 6], [], [1, 2]]
    with pytest.raises(ValueError, match="lengths sum to 3"):
        Ragged(np.zeros(2), [3])


def test_every_example_once_an_epoch_in_another_order() -> None:
    s = stream()
    epochs = [[s.next() for _ in range(s.steps_per_epoch)] for _ in range(3)]
    for batches in epochs:
        assert sorted(k for b in batches for k in b) == list(range(len(LENGTHS)))
    assert epochs[0] != epochs[1] != epochs[2]
    assert (s.epoch, s.units_per_epoch, s.steps_per_epoch) == (3.0, sum(LENGTHS), 3)
    spread = [max(LENGTHS[k] for k in b) - min(LENGTHS[k] for k in b) for b in epochs[0]]
    assert max(spread) <= 3


def test_a_stream_goes_on_from_its_position() -> None:
    s = stream()
    for stop in range(8):
        whole = stream()
        seen = [whole.next() for _ in range(stop)]
        again = stream()
        again.restore(whole.position())
        assert [whole.next() for _ in range(6)] == [again.next() for _ in range(6)]
        assert seen == [s.next() for _ in range(stop)] or stop > 0
        s = stream()
    assert [stream(seed=2).next() for _ in range(3)] != [stream(seed=1).next() for _ in range(3)]


def test_reading_a_part_by_length() -> None:
    batches = batches_by_length(LENGTHS, 4)
    assert [LENGTHS[k] for b in batches for k in b] == sorted(LENGTHS, reverse=True)
    assert [len(b) for b in batches] == [4, 4, 3]


def test_equal_keys_stay_together_and_shares_hold() -> None:
    keys = [f"word {k % 2000}" for k in range(4000)]
    parts = split_by_key(keys, 0.2, 0.1, seed=1)
    found = {name: {keys[k] for k in rows} for name, rows in parts.items()}
    assert not found["train"] & found["test"]
    assert not found["train"] & found["dev"]
    assert sum(map(len, parts.values())) == 4000
    assert len(found["test"]) / 2000 == pytest.approx(0.2, abs=0.03)
    assert len(found["dev"]) / 2000 == pytest.approx(0.08, abs=0.02)
    assert split_by_key(keys, 0.2, 0.1, seed=2)["test"].tolist() != parts["test"].tolist()
    assert share_of("word", 1) == pytest.approx(0.09957534729716988)


def test_folds_hold_out_every_key_once() -> None:
    keys = [str(k) for k in range(500)]
    folds = [split_by_key(keys, 0.25, 0.1, seed=3, fold=k) for k in range(4)]
    assert sorted(k for parts in folds for k in parts["test"]) == list(range(500))
    for parts in folds:
        assert len({*parts["train"], *parts["dev"], *parts["test"]}) == 500
