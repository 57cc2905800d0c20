"""Attention: where in a sequence to look, and what is seen there."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unrolled.shapes import ShapeError, expect

KINDS = ("dot", "general", "additive")


class Memory(NamedTuple):
    """A sequence prepared to be looked at, once for all queries.

    Attributes:
        values: (B, S, M), zero in the padding. keys: (B, S, K), the same where the kind projects nothing.
        padding: bool (B, 1, S), True from a row's length on; None where there is no padding.
    """

    values: Tensor
    keys: Tensor
    padding: Tensor | None

    def select(self, rows: Tensor) -> Memory:
        """These rows of the batch, (N,) int64, in this order; a row may be taken more than once."""
        padding = None if self.padding is None else self.padding.index_select(0, rows)
        return Memory(self.values.index_select(0, rows), self.keys.index_select(0, rows), padding)


class Attention(nn.Module):
    """A weighted mean of a memory m_1 .. m_S, weighted by how well each m_s answers a query q.

    ``a_s = softmax_s score(q, m_s)``, ``context = sum_s a_s m_s``, and the score is, by ``kind``:

    - ``dot``: ``q . m_s``; query and memory are equally wide, and there is nothing to learn (Luong, Pham & Manning
      2015, arXiv:1508.04025, eq. 8).
    - ``general``: ``q . (W m_s)``, W (Q, M) (the same).
    - ``additive``: ``v . tanh(W q + U m_s + b)``, W (A, Q), U (A, M), b and v (A,) (Bahdanau, Cho & Bengio 2015,
      arXiv:1409.0473, appendix A.1.2; Luong et al. call it concat).

    Positions from a row's length on get a weight of exactly zero, and exactly zero gradient whatever stands there; a
    row of length 0 gets a context of zero. Positions behind the longest row are cut off before anything is computed, so
    that more padding changes no bit, on every engine.

    Args:
        kind: ``dot``, ``general`` or ``additive``. query_size: Q. memory_size: M.
        size: A, the width of the additive kind's comparison (Q where it is not given); the others have none.
    Raises:
        ValueError: an unknown kind; ``dot`` with Q other than M.
    """

    def __init__(self, kind: str, query_size: int, memory_size: int, size: int | None = None) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"attention {kind!r}: not one of {', '.join(KINDS)}")
        if kind == "dot" and query_size != memory_size:
            raise ValueError(
                f"attention 'dot' compares a query of {query_size} with a memory of {memory_size}: they must be "
                "equally wide; use 'general' or 'additive'"
            )
        self.kind, self.query_size, self.memory_size = kind, query_size, memory_size
        self.size = (size or query_size) if kind == "additive" else query_size
        if kind != "dot":
            self.memory_weight = nn.Parameter(torch.empty(self.size, memory_size))
        if kind == "additive":
            self.query_weight = nn.Parameter(torch.empty(self.size, query_size))
            self.bias = nn.Parameter(torch.empty(self.size))
            self.score_weight = nn.Parameter(torch.empty(self.size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Uniform in +- 1/sqrt(fan-in), as ``torch.nn.Linear`` draws; the bias is 0."""
        for name, parameter in self.named_parameters():
            if name == "bias":
                parameter.zero_()
            else:
                bound = 1 / math.sqrt(parameter.shape[-1])
                parameter.uniform_(-bound, bound)

    def prepare(self, memory: Tensor, lengths: Tensor | None = None) -> Memory:
        """Project and mask a memory once; any number of queries may then look at it.

        Args:
            memory: (S, B, M).
            lengths: int64 (B,), in any order, 0 allowed; None: every row has S positions.
        """
        if memory.dim() != 3 or memory.shape[-1] != self.memory_size:
            raise ShapeError(f"memory is {tuple(memory.shape)}, expected (S, B, M) = (*, *, {self.memory_size})")
        S, B, _ = memory.shape
        padding = None
        if lengths is not None:
            expect("lengths", tuple(lengths.shape), (B,), "(B,)")
            lengths = lengths.to(memory.device)
            longest = int(lengths.max()) if B else 0
            if longest > S or (B and int(lengths.min()) < 0):
                raise ShapeError(f"lengths: {int(lengths.min())} to {longest}, expected 0 to S = {S}")
            memory = memory[:longest]
            padding = (torch.arange(longest, device=memory.device) >= lengths[:, None])[:, None]
        values = memory.transpose(0, 1)
        if padding is not None:
            values = values.masked_fill(padding.transpose(1, 2), 0.0)
        keys = values if self.kind == "dot" else nn.functional.linear(values, self.memory_weight)
        return Memory(values, keys, padding)

    def forward(self, query: Tensor, memory: Tensor | Memory, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Look at ``memory`` once for every query.

        Args:
            query: (B, Q), or (T, B, Q) for many at once.
            memory: (S, B, M) with ``lengths`` as :meth:`prepare` takes them, or what :meth:`prepare` returned.
        Returns:
            The contexts, (B, M) or (T, B, M), and the weights, (B, S) or (T, B, S); S is that of the longest row.
        """
        ready = memory if isinstance(memory, Memory) else self.prepare(memory, lengths)
        one = query.dim() == 2
        q = query[:, None] if one else query.transpose(0, 1)  # (B, T, Q)
        B = ready.values.shape[0]
        expect("query", (q.shape[0], q.shape[2]), (B, self.query_size), "(B, Q)")
        scores = self._scores(q, ready.keys)
        if ready.padding is not None:
            # A finite number, not -inf: a row of length 0 would become NaN, and its gradient with it.
            scores = scores.masked_fill(ready.padding, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        if ready.padding is not None:
            weights = weights.masked_fill(ready.padding, 0.0)
        context = weights @ ready.values
        if one:
            return context[:, 0], weights[:, 0]
        return context.transpose(0, 1), weights.transpose(0, 1)

    def _scores(self, q: Tensor, keys: Tensor) -> Tensor:
        """(B, T, Q) queries and (B, S, K) keys to scores (B, T, S)."""
        if self.kind != "additive":
            return q @ keys.transpose(1, 2)
        compared = nn.functional.linear(q, self.query_weight, self.bias)[:, :, None] + keys[:, None]
        return torch.tanh(compared) @ self.score_weight

    def extra_repr(self) -> str:
        return f"{self.kind!r}, query_size={self.query_size}, memory_size={self.memory_size}" + (
            f", size={self.size}" if self.kind == "additive" else ""
        )


class AttentionalOutput(nn.Module):
    """``h~ = tanh(W_c [context; h] + b)``: what a decoder says after it has looked (Luong et al. 2015, eq. 5).

    Args:
        context_size: M. hidden_size: H, also of the result.
    """

    def __init__(self, context_size: int, hidden_size: int) -> None:
        super().__init__()
        self.combine = nn.Linear(context_size + hidden_size, hidden_size)

    def forward(self, context: Tensor, h: Tensor) -> Tensor:
        """(..., M) and (..., H) to (..., H)."""
        return torch.tanh(self.combine(torch.cat((context, h), -1)))
