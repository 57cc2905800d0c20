"""The four problems: what goes in, what should come out, and when one counts as solved."""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

SYMBOLS, REMEMBERED = 8, 10
"""Of the copy problem: symbols 1 to 8, of which 10 are to be remembered; 0 is the blank, 9 the delimiter."""
DEEPEST, PER_DEPTH = 8, 24
"""Of the brackets: the deepest nesting, and about how many brackets stand in a sequence whatever its length."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """x: (T, B, I) or ids (T, B). y: (B,) numbers or classes of the last step, or classes (T, B) of every step."""

    x: Tensor
    y: Tensor


class Problem(Protocol):
    """One problem at one length.

    Attributes:
        input_size, outputs: of the network. every_step: whether it answers at every step or at the last one.
        measure: what :meth:`score` gives, in words. bound: solved from there on. rising: larger is better.
        trivial: the score of the best answer that does not look at the input.
    """

    input_size: int
    outputs: int
    every_step: bool
    measure: str
    bound: float
    rising: bool
    trivial: float

    def batch(self, generator: torch.Generator, B: int, part: str = "train") -> Batch:
        """Draw ``B`` examples; ``part`` is train, dev or test, which differ only where examples are given."""

    def loss(self, answer: Tensor, y: Tensor) -> Tensor:
        """The mean loss of answers (B, outputs), or (T, B, outputs)."""

    def score(self, answer: Tensor, y: Tensor) -> float:
        """The measure that decides."""


def solved(problem: Problem, score: float) -> bool:
    """The rule: adding MSE below 0.01, copy recall of at least 0.99, accuracy of at least the problem's bound."""
    return score >= problem.bound if problem.rising else score < problem.bound


def comfortably(problem: Problem, score: float) -> bool:
    """Solved with half the error that the rule allows: there training may stop."""
    return score >= (1 + problem.bound) / 2 if problem.rising else score < problem.bound / 2


class Adding:
    """Add two marked numbers among T (Hochreiter & Schmidhuber 1997, section 5.4, in the form of Le, Jaitly & Hinton
    2015, arXiv:1504.00941).

    Each step brings a number from U(0, 1) and a mark, 1 at one step of the first half and one of the second, else 0.
    The answer at the last step is the sum of the two marked numbers. To answer 1 always has a mean squared error of
    2/12 = 1/6, the variance of the sum.
    """

    input_size, outputs, every_step = 2, 1, False
    measure, bound, rising, trivial = "MSE", 0.01, False, 1 / 6

    def __init__(self, T: int) -> None:
        if T < 2:
            raise ValueError(f"T={T}: adding needs at least 2 steps")
        self.T = T

    def batch(self, generator: torch.Generator, B: int, part: str = "train") -> Batch:
        """x (T, B, 2): number and mark; y (B,)."""
        numbers, marks, row = torch.rand(self.T, B, generator=generator), torch.zeros(self.T, B), torch.arange(B)
        first = torch.randint(0, self.T // 2, (B,), generator=generator)
        second = torch.randint(self.T // 2, self.T, (B,), generator=generator)
        marks[first, row] = marks[second, row] = 1.0
        return Batch(torch.stack((numbers, marks), -1), numbers[first, row] + numbers[second, row])

    def loss(self, answer: Tensor, y: Tensor) -> Tensor:
        """Mean squared error."""
        return F.mse_loss(answer[:, 0], y)

    def score(self, answer: Tensor, y: Tensor) -> float:
        """The same."""
        return float(self.loss(answer, y).item())


class _Classes:
    """What classification problems share: cross-entropy, accuracy."""

    measure, rising = "accuracy", True

    def loss(self, answer: Tensor, y: Tensor) -> Tensor:
        """Mean cross-entropy in nats."""
        return F.cross_entropy(answer.flatten(0, -2), y.flatten())

    def score(self, answer: Tensor, y: Tensor) -> float:
        """Share of right answers."""
        return float((answer.argmax(-1) == y).double().mean().item())


class Copy(_Classes):
    """Repeat ten symbols after T blanks (Hochreiter & Schmidhuber 1997; laid out as in Bai, Kolter & Koltun 2018,
    arXiv:1803.01271).

    T+20 steps: ten symbols from 1 to 8, T-1 blanks (0), then eleven times the delimiter (9). The answer is 0 but for
    the last ten steps, where the symbols are due in order. Whoever knows that and forgets the symbols has a mean loss
    of 10 ln 8 / (T+20) nats and recalls 1 in 8.
    """

    input_size = outputs = SYMBOLS + 2
    every_step, measure, bound, trivial = True, "recall", 0.99, 1 / SYMBOLS

    def __init__(self, T: int) -> None:
        self.T = T
        self.trivial_loss = REMEMBERED * math.log(SYMBOLS) / (T + 2 * REMEMBERED)

    def batch(self, generator: torch.Generator, B: int, part: str = "train") -> Batch:
        """x and y: ids (T+20, B)."""
        symbols = torch.randint(1, SYMBOLS + 1, (REMEMBERED, B), generator=generator)
        x = torch.zeros(self.T + 2 * REMEMBERED, B, dtype=torch.long)
        y = torch.zeros_like(x)
        x[:REMEMBERED], x[-REMEMBERED - 1 :], y[-REMEMBERED:] = symbols, SYMBOLS + 1, symbols
        return Batch(x, y)

    def score(self, answer: Tensor, y: Tensor) -> float:
        """Share of the remembered symbols that are given back."""
        return super().score(answer[-REMEMBERED:], y[-REMEMBERED:])


class Brackets(_Classes):
    """How deep are the brackets after each of T steps?

    ``[``, ``]`` and four letters; the answer at each step is the number of brackets open after it, 0 to 8. About 24
    brackets stand in a sequence whatever T is, the rest are letters: the longer the sequence, the longer the count has
    to be held. At depth 0 every bracket opens, at 8 every one closes.
    """

    LETTERS = 4
    input_size, outputs, every_step, bound = 2 + LETTERS, DEEPEST + 1, True, 0.99

    def __init__(self, T: int) -> None:
        self.T, self.share = T, min(1.0, PER_DEPTH / T)
        sample = self.batch(torch.Generator().manual_seed(0), 2000).y
        # the most frequent depth of each step, step by step: what a clock alone can say
        self.trivial = float((F.one_hot(sample, self.outputs).double().mean(1).amax(-1)).mean())

    def batch(self, generator: torch.Generator, B: int, part: str = "train") -> Batch:
        """x: ids (T, B), 0 opens, 1 closes, 2 to 5 are letters; y: depths (T, B)."""
        bracket = torch.rand(self.T, B, generator=generator) < self.share
        opens = torch.rand(self.T, B, generator=generator) < 0.5
        letters = torch.randint(2, 2 + self.LETTERS, (self.T, B), generator=generator)
        depth, depths, signs = torch.zeros(B, dtype=torch.long), [], []
        for t in range(self.T):
            up = (opens[t] | (depth == 0)) & (depth < DEEPEST)
            signs.append((~up).long())
            depth = depth + torch.where(bracket[t], torch.where(up, 1, -1), 0)
            depths.append(depth)
        return Batch(torch.where(bracket, torch.stack(signs), letters), torch.stack(depths))


class Digits(_Classes):
    """Which digit is it? 28 x 28 grey pixels, read in T equal pieces of 784/T pixels, from the top left.

    T = 28 is row by row, T = 784 pixel by pixel: the pictures are the same, only the way back gets longer. Solved is an
    accuracy of 0.95, a bound of this project.
    """

    outputs, every_step, bound, trivial = 10, False, 0.95, 0.1

    def __init__(self, T: int, parts: dict[str, tuple[Tensor, Tensor]]) -> None:
        if 784 % T:
            raise ValueError(f"T={T}: a digit has 784 pixels, which do not make {T} equal pieces")
        self.T, self.input_size, self.parts = T, 784 // T, parts

    def batch(self, generator: torch.Generator, B: int, part: str = "train") -> Batch:
        """x (T, B, 784/T) from 0 to 1, y (B,) classes; dev and test come in their own order, from the first on."""
        pixels, classes = self.parts[part]
        rows = torch.arange(min(B, len(classes)))
        if part == "train":
            rows = torch.randint(0, len(classes), (B,), generator=generator)
        x = pixels[rows].float().div_(255).reshape(len(rows), self.T, self.input_size)
        return Batch(x.transpose(0, 1).contiguous(), classes[rows])
