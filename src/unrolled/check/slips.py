"""Slips: a computation that can be made wrong on purpose, at the very place where people make it wrong.

Code that takes a :class:`Slips` names each plausible mistake beside the right value. What a learner's code returned is
compared with what each mistake would have given; a match names the cause.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Arrays = tuple[Array, ...]


class Slips:
    """The right value, or a wrong one where that mistake is among those ``made``.

    Args:
        made: phrases of the mistakes to make.
    Attributes:
        seen: every phrase that was met, in the order of the computation.
    """

    def __init__(self, made: Collection[str] = ()) -> None:
        self.made = frozenset(made)
        self.seen: dict[str, None] = {}

    def __call__(self, right: Any, *wrong: tuple[str, Any]) -> Any:
        """``right``, or the value behind the first phrase of ``wrong`` that is made."""
        for phrase, _ in wrong:
            self.seen[phrase] = None
        return next((value for phrase, value in wrong if phrase in self.made), right)


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * a)))


def blocks(a: Array, n: int) -> list[Array]:
    """``n`` equal parts along the last axis."""
    return np.split(a, n, axis=-1)


def weight_slips(s: Slips, name: str, grad: Array, batch: int) -> Array:
    """What goes wrong with any parameter's gradient at the end of one step."""
    wrong = [
        (f"d{name} is the mean over the batch, where it is the sum", grad / batch),
        ("the weights' gradients are means over the batch, where they are sums", grad / batch),
    ]
    if grad.ndim == 2 and grad.shape[0] == grad.shape[1]:
        wrong.append((f"d{name} is transposed", grad.T))
    return np.asarray(s(grad, *wrong))
