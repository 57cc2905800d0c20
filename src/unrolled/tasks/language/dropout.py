"""Dropout by masks that whole updates in the compiled core draw again from the same seeds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.engines import native
from unrolled.engines.masks import draw_seed
from unrolled.engines.native import core


class SeededDropout(nn.Module):
    """Inverted dropout: in training each element is 0 with probability ``p``, otherwise x / (1 - p).

    With the compiled core, on a CPU, a call takes one seed from torch's generator and draws its mask from a counter
    (:mod:`unrolled.engines.masks`), the same for any number of threads. Elsewhere it is torch's own dropout.

    Args:
        p: probability, below 1.
        stream: the mask's number, by :func:`unrolled.engines.masks.stream`.
    """

    def __init__(self, p: float, stream: int) -> None:
        super().__init__()
        self.p, self.stream = p, stream

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (T, B, N) or (B, N), masked element by element; itself in evaluation."""
        if not self.training or self.p == 0:
            return x
        if native.missing() or x.device.type != "cpu" or x.dtype not in native.DTYPES or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        T, B, N = (1,) * (3 - x.dim()) + tuple(x.shape)
        mask = core.dropout_mask(self.p, int(draw_seed()), self.stream, T, B, N, x)
        return x * mask.view_as(x)

    def extra_repr(self) -> str:
        """The rate, as torch's own says it."""
        return f"p={self.p}"
