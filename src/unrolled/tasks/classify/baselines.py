"""What something simple makes of the same examples: the figure a network has to beat to have earned its minutes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.data.examples import Ragged

Ints = NDArray[np.int64]
STRENGTHS = (0.03, 0.3, 3.0)
"""Weights of the data against the penalty (one over the variance of the prior), of which the dev part chooses."""
ITERATIONS = 60
NEIGHBOURS_MOST = 10_000
"""Training examples that the nearest neighbour is looked for among."""


def ngrams(ids: Ragged, order: int) -> tuple[Ints, Ints]:
    """Every run of 1 to ``order`` units of each sequence: whose it is, and its number (equal runs, equal numbers).

    A run's number is a hash of 64 bits: among a million different ones two are alike once in 37 million times.
    """
    owner, units = np.repeat(np.arange(len(ids)), ids.lengths), ids.values.astype(np.uint64) + np.uint64(1)
    keys = np.zeros(len(units), np.uint64)
    rows, numbers = [], []
    for n in range(1, min(order, len(units)) + 1):
        starts = len(units) - n + 1
        keys = _mix(keys[:starts] * np.uint64(31) + units[n - 1 :])
        inside = owner[:starts] == owner[n - 1 :]
        rows.append(owner[:starts][inside])
        numbers.append(keys[inside])
    return np.concatenate(rows), np.concatenate(numbers).view(np.int64)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64's finaliser."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return out


class Linear:
    """A linear model on the n-grams that an input has (each once): logistic, or least squares for a number.

    Args:
        ids: the training inputs. y: (N,) classes, (N, K) of 0 and 1, or (N,) float numbers.
        outputs: K.
        order: longest run.
    """

    def __init__(self, ids: Ragged, y: NDArray[Any], outputs: int, order: int) -> None:
        self.order, self.outputs, self.y = order, outputs, torch.from_numpy(y)
        rows, numbers = ngrams(ids, order)
        self.known = np.unique(numbers)
        self.x, self.xt = self._matrices(rows, numbers, len(ids))

    def _matrices(self, rows: Ints, numbers: Ints, N: int) -> tuple[Sparse, Sparse]:
        """(N, F) with 1 where an input has a run, then a bias; and its transpose."""
        place = np.minimum(np.searchsorted(self.known, numbers), len(self.known) - 1)
        seen = self.known[place] == numbers
        F = len(self.known) + 1
        cells = np.unique(np.concatenate((rows[seen] * F + place[seen], np.arange(N) * F + F - 1)))
        row, column = cells // F, cells % F
        values = np.ones(len(cells), np.float32)
        by_column = np.lexsort((row, column))
        x = Sparse(row, column, values, N, F)
        return x, Sparse(column[by_column], row[by_column], values[by_column], F, N)

    def fit(self, strength: float, start: Tensor | None = None) -> Tensor:
        """The weights (F, K) that minimise loss + |W|^2 / (2 strength), the bias free."""
        F, K, N = self.x.shape[1], self.outputs, len(self.y)
        W = torch.zeros(F, K) if start is None else start.clone()
        W.requires_grad_(True)
        solver = torch.optim.LBFGS([W], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe")
        number = self.y.dtype.is_floating_point and self.y.dim() == 1

        def closure() -> Tensor:
            with torch.no_grad():
                scores = self.x @ W.detach()
                if number:
                    residual = scores[:, 0] - self.y
                    loss, gradient = 0.5 * residual.square().sum(), residual[:, None]
                elif self.y.dim() == 2:
                    loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, self.y, reduction="sum")
                    gradient = torch.special.expit(scores) - self.y
                else:
                    loss = torch.nn.functional.cross_entropy(scores, self.y, reduction="sum")
                    gradient = scores.softmax(1)
                    gradient[torch.arange(N), self.y] -= 1
                penalised = W.detach().clone()
                penalised[-1] = 0
                W.grad = (self.xt @ gradient + penalised / strength) / N
                return (loss + penalised.square().sum() / (2 * strength)) / N

        solver.step(closure)  # type: ignore[no-untyped-call]
        return W.detach()

    def scores(self, W: Tensor, ids: Ragged) -> NDArray[np.float64]:
        """(N, K) of other inputs."""
        rows, numbers = ngrams(ids, self.order)
        x, _ = self._matrices(rows, numbers, len(ids))
        found: NDArray[np.float64] = (x @ W).double().numpy()
        return found


class Sparse:
    """A sparse matrix (N, F) that is multiplied from the left: its cells by row.

    Args:
        row, column, values: of each cell, the rows ascending.
    """

    def __init__(self, row: Ints, column: Ints, values: NDArray[np.float32], N: int, F: int) -> None:
        self.shape = (N, F)
        self._columns, self._values = torch.from_numpy(column), torch.from_numpy(values)
        self._starts = torch.from_numpy(np.searchsorted(row, np.arange(N)))

    def __matmul__(self, other: Tensor) -> Tensor:
        """(F, K) to (N, K)."""
        return torch.nn.functional.embedding_bag(
            self._columns, other, self._starts, mode="sum", per_sample_weights=self._values
        )


def nearest(train: Ragged, test: Ragged, chunk: int = 500) -> Ints:
    """For each test sequence the number of the training sequence with the least squared distance, step by step; steps
    that only one of them has count whole."""
    T = int(max(train.lengths.max(initial=1), test.lengths.max(initial=1)))
    known = _flat(train, np.arange(min(len(train), NEIGHBOURS_MOST)), T)
    size = known.square().sum(1)
    found = []
    for first in range(0, len(test), chunk):
        rows = _flat(test, np.arange(first, min(first + chunk, len(test))), T)
        found.append((size - 2 * (rows @ known.T)).argmin(1).numpy())
    return np.concatenate(found).astype(np.int64)


def _flat(ragged: Ragged, rows: Ints, T: int) -> Tensor:
    padded, _ = ragged.padded(rows, least=T)
    return torch.from_numpy(np.ascontiguousarray(padded.transpose(1, 0, *range(2, padded.ndim)))).float().flatten(1)
