"""What the problems give: targets recomputed in plain Python, trivial answers from their formulas."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
import torch

from unrolled.errors import UserError
from unrolled.lab.drawn import drawn, drawn_parts, mnist_parts
from unrolled.lab.problems import Adding, Brackets, Copy, Digits, comfortably, solved


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("T", [2, 7, 50])
def test_adding_marks_one_number_of_each_half_and_asks_for_their_sum(T: int) -> None:
    batch = Adding(T).batch(seeded(), 64)
    assert batch.x.shape == (T, 64, 2)
    numbers, marks = batch.x.unbind(-1)
    assert set(marks.unique().tolist()) <= {0.0, 1.0}
    assert marks[: T // 2].sum(0).tolist() == [1.0] * 64
    assert marks[T // 2 :].sum(0).tolist() == [1.0] * 64
    for b in range(64):
        wanted = sum(float(numbers[t, b]) for t in range(T) if marks[t, b] == 1)
        assert float(batch.y[b]) == pytest.approx(wanted, abs=1e-6)
    assert numbers.min() >= 0
    assert numbers.max() < 1


def test_to_answer_one_has_the_trivial_error() -> None:
    problem = Adding(10)
    y = problem.batch(seeded(), 40_000).y
    assert problem.score(torch.ones(len(y), 1), y) == pytest.approx(problem.trivial, rel=0.02)
    assert problem.trivial == 1 / 6


def test_copy_is_laid_out_as_published() -> None:
    T, problem = 6, Copy(6)
    batch = problem.batch(seeded(), 5)
    assert batch.x.shape == batch.y.shape == (T + 20, 5)
    for x, y in zip(batch.x.t().tolist(), batch.y.t().tolist(), strict=True):
        symbols = x[:10]
        assert all(1 <= s <= 8 for s in symbols)
        assert x[10:] == [0] * (T - 1) + [9] * 11
        assert y == [0] * (T + 10) + symbols


@pytest.mark.parametrize("T", [6, 1000])
def test_the_trivial_loss_of_copy_is_ten_ln_eight_over_the_steps(T: int) -> None:
    problem = Copy(T)
    y = problem.batch(seeded(), 4).y
    answer = torch.full((*y.shape, 10), -1e4)
    answer[: T + 10, :, 0] = 0.0  # sure of the blanks,
    answer[T + 10 :, :, 1:9] = 0.0  # and of one in eight after them
    assert float(problem.loss(answer, y)) == pytest.approx(problem.trivial_loss, rel=1e-4)
    assert problem.trivial_loss == pytest.approx(10 * math.log(8) / (T + 20))
    assert Copy(1000).trivial_loss == pytest.approx(0.0204, abs=5e-5)  # as published


def test_copy_recall_looks_at_the_last_ten_steps_alone() -> None:
    problem = Copy(5)
    y = problem.batch(seeded(), 8).y
    right = torch.nn.functional.one_hot(y, 10).float()
    assert problem.score(right, y) == 1.0
    wrong = right.clone()
    wrong[:15] = 0.0
    wrong[:15, :, 3] = 1.0
    assert problem.score(wrong, y) == 1.0
    wrong[-1] = 0.0
    wrong[-1, :, 9] = 1.0
    assert problem.score(wrong, y) == pytest.approx(0.9)


@pytest.mark.parametrize("T", [5, 24, 200])
def test_bracket_depths_follow_from_the_brackets(T: int) -> None:
    batch = Brackets(T).batch(seeded(), 32)
    for x, y in zip(batch.x.t().tolist(), batch.y.t().tolist(), strict=True):
        depth = 0
        for token, wanted in zip(x, y, strict=True):
            depth += {0: 1, 1: -1}.get(token, 0)
            assert depth == wanted
            assert 0 <= depth <= 8
            assert 0 <= token < 6
    share = (batch.x < 2).float().mean().item()
    assert share == pytest.approx(min(1.0, 24 / T), abs=0.03)


def test_digits_read_in_pieces_are_the_same_pixels() -> None:
    parts = {part: drawn(30, k) for k, part in enumerate(("train", "dev", "test"))}
    for T in (28, 112, 784):
        problem = Digits(T, parts)
        batch = problem.batch(seeded(), 20, "test")
        assert batch.x.shape == (T, 20, 784 // T)
        whole = (batch.x.transpose(0, 1).reshape(20, 784) * 255).round().to(torch.uint8)
        assert torch.equal(whole, parts["test"][0][:20])
        assert torch.equal(batch.y, parts["test"][1][:20])
    with pytest.raises(ValueError, match="784 pixels"):
        Digits(30, parts)


def test_drawn_digits_are_balanced_seeded_and_look_unlike_each_other() -> None:
    pixels, classes = drawn(100, 5)
    assert classes.bincount().tolist() == [10] * 10
    assert torch.equal(drawn(100, 5)[0], pixels)
    assert not torch.equal(drawn(100, 6)[0], pixels)
    train, test = drawn(400, 7), drawn(200, 8)
    nearest = torch.cdist(test[0].float(), train[0].float()).argmin(1)  # the nearest picture names most of them
    assert (train[1][nearest] == test[1]).float().mean() > 0.8
    assert set(drawn_parts(10, 10)) == {"train", "dev", "test"}


def test_the_rule_for_solved() -> None:
    assert solved(Adding(4), 0.0099)
    assert not solved(Adding(4), 0.01)
    assert solved(Copy(4), 0.99)
    assert not solved(Copy(4), 0.9899)
    assert not solved(Adding(4), math.nan)
    assert comfortably(Adding(4), 0.0049)
    assert not comfortably(Adding(4), 0.006)
    assert comfortably(Copy(4), 0.995)
    assert not comfortably(Copy(4), 0.99)


def idx(sizes: tuple[int, ...], data: bytes) -> bytes:
    return bytes((0, 0, 8, len(sizes))) + b"".join(n.to_bytes(4, "big") for n in sizes) + data


def mnist(folder: Path, n: int = 20) -> None:
    for part in ("train", "t10k"):
        pixels = bytes(k % 251 for k in range(n * 784))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx((n, 28, 28), pixels))
        labels = gzip.compress(idx((n,), bytes(k % 10 for k in range(n))))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(labels)


def test_mnist_files_are_read_packed_or_not(tmp_path: Path) -> None:
    mnist(tmp_path)
    parts = mnist_parts(str(tmp_path))
    assert [len(parts[p][1]) for p in ("train", "dev", "test")] == [18, 2, 20]
    assert parts["test"][0][1].tolist() == [k % 251 for k in range(784, 2 * 784)]
    assert parts["dev"][1].tolist() == [8, 9]


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("train-images-idx3-ubyte", None, "no train-images-idx3-ubyte"),
        ("train-images-idx3-ubyte", b"PNG", "no idx file"),
        ("train-images-idx3-ubyte", idx((20, 28, 28), b"12"), "2 bytes are not"),
        ("train-images-idx3-ubyte", idx((20, 14, 56), bytes(20 * 784)), "says sizes"),
        ("train-images-idx3-ubyte", idx((1, 28, 28), bytes(784)), "files that belong together"),
        ("t10k-labels-idx1-ubyte.gz", b"not packed", "cannot be read"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx((20,), bytes([11] * 20)), mtime=0), "digits go from 0 to 9"),
    ],
)
def test_bad_mnist_files_are_named(tmp_path: Path, name: str, raw: bytes | None, words: str) -> None:
    mnist(tmp_path)
    (tmp_path / name).unlink() if raw is None else (tmp_path / name).write_bytes(raw)
    with pytest.raises(UserError, match=words) as caught:
        mnist_parts(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
