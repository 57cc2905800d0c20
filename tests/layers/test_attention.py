"""Attention: the papers' equations term by term, masks, gradients, and padding that changes no bit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tolerances import assert_close, assert_same
from unrolled.layers.attention import KINDS, Attention, AttentionalOutput
from unrolled.shapes import ShapeError

T, B, S, Q, A = 3, 4, 6, 5, 7
LENGTHS = torch.tensor([6, 2, 0, 5])


def made(kind: str, M: int = 5, dtype: torch.dtype = torch.float64) -> Attention:
    torch.manual_seed(1)
    layer = Attention(kind, Q, M, A).to(dtype)
    if kind == "additive":
        layer.bias.data.normal_()  # it starts at 0, where a missing one would not show
    return layer


def inputs(M: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(T, B, Q, dtype=dtype), torch.randn(S, B, M, dtype=dtype)


@torch.no_grad()
def by_hand(layer: Attention, q: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One query (Q,) over one memory (S, M): the equations, position by position."""
    scores = []
    for m in memory:
        if layer.kind == "dot":
            scores.append((q * m).sum())
        elif layer.kind == "general":
            scores.append((q * (layer.memory_weight * m).sum(1)).sum())
        else:
            inner = (layer.query_weight * q).sum(1) + (layer.memory_weight * m).sum(1) + layer.bias
            scores.append((layer.score_weight * inner.tanh()).sum())
    exps = [math.exp(float(s)) for s in scores]
    weights = [e / sum(exps) for e in exps]
    context = torch.zeros(memory.shape[1], dtype=memory.dtype)
    for w, m in zip(weights, memory, strict=True):
        context += w * m
    return context, torch.tensor(weights, dtype=memory.dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_its_equation(kind: str) -> None:
    M = Q if kind == "dot" else 8
    layer = made(kind, M)
    query, memory = inputs(M)
    context, weights = layer(query, memory, LENGTHS)
    for t in range(T):
        for b, n in enumerate(LENGTHS.tolist()):
            c, w = by_hand(layer, query[t, b], memory[:n, b]) if n else (torch.zeros(M).double(), torch.zeros(0))
            assert_close(context[t, b], c, what=f"context {t} {b}")
            assert_close(weights[t, b, :n], w.double(), what=f"weights {t} {b}")
            assert not weights[t, b, n:].any()


def test_golden_values() -> None:
    layer = Attention("dot", 2, 2).double()
    memory = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]).double()  # (2, 1, 2)
    context, weights = layer(torch.tensor([[math.log(3.0), 0.0]], dtype=torch.float64), memory)
    assert_close(weights, torch.tensor([[0.75, 0.25]]).double())
    assert_close(context, torch.tensor([[0.75, 0.25]]).double())


@pytest.mark.parametrize("kind", KINDS)
def test_one_query_is_a_row_of_many_and_a_prepared_memory_is_the_same(kind: str) -> None:
    layer, (query, memory) = made(kind), inputs()
    together = layer(query, memory, LENGTHS)
    ready = layer.prepare(memory, LENGTHS)
    assert_same(layer(query, ready), together)
    for t in range(T):
        context, weights = layer(query[t], ready)
        assert_close((context, weights), (together[0][t], together[1][t]))
    rows = torch.tensor([3, 0, 0])
    assert_close(layer(query[:, rows], ready.select(rows)), tuple(x[:, rows] for x in together))


def run(layer: Attention, query: Tensor, memory: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
    """Context and weights, and the gradients of query, memory and every parameter by fixed cotangents."""
    query, memory = query.clone().requires_grad_(), memory.clone().requires_grad_()
    context, weights = layer(query, memory, lengths)
    torch.manual_seed(3)
    loss = (context * torch.randn_like(context)).sum() + (weights * torch.randn_like(weights)).sum()
    leaves = [query, memory, *layer.parameters()]
    return context, weights, *torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_gets_exactly_zero_gradient_and_more_of_it_changes_no_bit(kind: str, dtype: torch.dtype) -> None:
    layer, (query, memory) = made(kind, dtype=dtype), inputs(dtype=dtype)
    lengths = torch.tensor([4, 2, 0, 3])
    tight = run(layer, query, memory[:4], lengths)
    padding = torch.arange(4)[:, None] >= lengths
    assert not tight[3][padding].any()
    assert tight[3][~padding].any()
    for more in (1, 2, 13):
        wide = torch.cat((memory[:4], torch.randn(more, B, Q, dtype=dtype)))
        wide[:4][padding] = torch.inf  # whatever stands in the padding
        wide[4:] = torch.nan
        found = run(layer, query, wide, lengths)
        assert not found[3][4:].any()
        assert_same((*found[:3], found[3][:4], *found[4:]), tight)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind: str) -> None:
    layer, (query, memory) = made(kind), inputs()
    names = [name for name, _ in layer.named_parameters()]

    def function(query: Tensor, memory: Tensor, *weights: Tensor) -> Any:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (query, memory, LENGTHS))

    leaves = [x.detach().clone().requires_grad_() for x in (query, memory, *layer.parameters())]
    assert torch.autograd.gradcheck(function, leaves)


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="not one of dot, general, additive"):
        Attention("cosine", 3, 3)
    with pytest.raises(ValueError, match="equally wide; use 'general'"):
        Attention("dot", 3, 4)
    layer, (query, memory) = made("general"), inputs()
    with pytest.raises(ShapeError, match=r"lengths: 1 to 7, expected 0 to S = 6"):
        layer(query, memory, torch.tensor([1, 7, 2, 2]))
    with pytest.raises(ShapeError, match="lengths: -1"):
        layer(query, memory, torch.tensor([1, -1, 2, 2]))
    with pytest.raises(ShapeError, match="memory is"):
        layer(query, memory[..., :2])
    with pytest.raises(ShapeError, match="query has shape"):
        layer(query[:, :2], memory)


def test_the_attentional_output_is_luong_s_equation_5() -> None:
    layer = AttentionalOutput(3, 2).double()
    c, h = torch.randn(4, 3).double(), torch.randn(4, 2).double()
    W, b = layer.combine.weight, layer.combine.bias
    assert_close(layer(c, h), torch.tanh(c @ W[:, :3].T + h @ W[:, 3:].T + b))
