"""Which examples are trained on, watched and held out, and batches of them."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.data.examples import Ragged, split_by_key
from unrolled.errors import UserError
from unrolled.tasks.classify.config import ClassifyData
from unrolled.tasks.classify.reading import Examples

Ints = NDArray[np.int64]


class Training(Protocol):
    """The settings of training that the task reads."""

    @property
    def batch(self) -> int: ...
    @property
    def bptt(self) -> str: ...
    @property
    def seed(self) -> int: ...


class Batch(NamedTuple):
    """x int64 (T, B) or float32 (T, B, I), lengths int64 (B,), y as :meth:`Coder.targets_of` gives it, (B, ...)."""

    x: Tensor
    lengths: Tensor
    y: Tensor


@dataclasses.dataclass
class Part:
    """Some of the examples, as read and as numbers."""

    examples: Examples
    inputs: Ragged
    y: NDArray[Any]

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, rows: Ints) -> Batch:
        """The examples ``rows`` side by side."""
        x, lengths = self.inputs.padded(rows)
        return Batch(torch.from_numpy(x), torch.from_numpy(lengths), torch.from_numpy(self.y[rows]))


def split(examples: Examples, data: ClassifyData) -> dict[str, Ints]:
    """Which examples are trained on, watched, and held out.

    Raises:
        UserError: too few for the shares asked for.
    """
    n, test = len(examples), examples.official_test
    if test or data.split == "end":
        test = test or round(n * data.heldout)
        dev = round((n - test) * data.dev)
        rows, end = np.arange(n), n - test
        parts = {"train": rows[: end - dev], "dev": rows[end - dev : end], "test": rows[end:]}
    else:
        parts = split_by_key(examples.keys(), data.heldout, data.dev, data.split_seed, data.fold)
    for part, share in (("train", 1.0), ("dev", data.dev), ("test", data.heldout)):
        if share and not len(parts[part]):
            raise UserError(
                f"{examples.label}: {n} examples leave none for the {part} part; give more, or a larger share "
                "(--heldout 0 --dev 0 trains on all)"
            )
    return parts
