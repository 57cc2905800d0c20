"""The size of the gradient, and cutting it down."""

from __future__ import annotations

import torch
from torch import Tensor


def total_norm(grads: list[Tensor]) -> Tensor:
    """Euclidean norm over all gradients together, a scalar tensor."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    return norm


def clip_value(grads: list[Tensor], limit: float) -> None:
    """Put every element into ``[-limit, limit]``, in place."""
    for g in grads:
        g.clamp_(-limit, limit)


def clip_norm(grads: list[Tensor], limit: float, norm: float) -> bool:
    """Scale the gradients down, in place, so that their norm is at most ``limit``.

    Args:
        norm: their norm as :func:`total_norm` found it.

    Returns:
        Whether anything was cut. A short gradient is left as it is: no pass over memory.
    """
    if not norm > limit:
        return False
    torch._foreach_mul_(grads, limit / (norm + 1e-6))
    return True


class Clipper:
    """Clipping by value, then by norm; either may be off.

    Args:
        by_norm: largest norm, None or 0 for off.
        by_value: largest absolute element, None for off.
    """

    def __init__(self, by_norm: float | None, by_value: float | None) -> None:
        self.by_norm = by_norm or None
        self.by_value = by_value

    @staticmethod
    def measure(nats: Tensor, grads: list[Tensor]) -> tuple[float, float]:
        """``(nats, norm)`` as numbers, read from the device in one go."""
        values: list[float] = torch.stack([nats, total_norm(grads)]).tolist()
        return values[0], values[1]

    def clip(self, grads: list[Tensor], norm: float) -> bool:
        """Clip in place; whether anything was cut. ``norm`` is that of :meth:`measure`."""
        clipped = False
        # No element is larger than the norm: mostly there is nothing to look for.
        if self.by_value is not None and norm > self.by_value:
            clip_value(grads, self.by_value)
            before, norm = norm, float(total_norm(grads))
            clipped = norm < before
        if self.by_norm is not None and clip_norm(grads, self.by_norm, norm):
            clipped = True
        return clipped
