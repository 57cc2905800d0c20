"""Ids over an embedding: the first layer's input product once for each row of the embedding, not for each token.

``W_ih e`` of a row is a column of ``W_ih E^T``, and ids over such a matrix are what the core calls one-hot input: it
gathers, and scatters the gradient. The product is the core's own, with its fixed order of summation, so that whether a
call makes all V columns or only those of its T*B tokens changes no bit of its result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.engines.native import core
from unrolled.engines.native.net import Net, net_of


def rows_once(
    net: Net, ids: Tensor, embedding: Tensor, weights: Sequence[Tensor]
) -> tuple[Net, Tensor, Sequence[Tensor]]:
    """The net, ids and weights of the same call as one over one-hot input."""
    n = ids.numel()
    if n < embedding.shape[0]:
        embedding = F.embedding(ids.reshape(-1), embedding)
        ids = torch.arange(n, device="cpu").view(ids.shape)
    first = net.cells[0]
    weights = list(weights)
    for direction in range(net.directions):
        at = direction * net.per_row
        weights[at] = Columns.apply(embedding.contiguous(), weights[at].contiguous())  # type: ignore[no-untyped-call]
    bidirectional = net.directions == 2
    wide = net_of(first.name, embedding.shape[0], net.H, net.layers, bidirectional, first.bias, net.P, first.layer_norm)
    return wide, ids, weights


def table(embedding: Tensor, weight: Tensor, chains: bool = False) -> Tensor:
    """``W_ih E^T``: (V, I), (G*H, I), both dense, to (G*H, V); with ``chains`` never over tiles."""
    (V, I), GH = embedding.shape, weight.shape[0]
    columns = core.empty(weight, GH, V)
    product = core.module().product64 if weight.dtype is torch.float64 else core.module().product32
    if V:
        product(GH, V, I, weight.data_ptr(), embedding.data_ptr(), columns.data_ptr(), chains, core.threads())
    return columns


class Columns(torch.autograd.Function):
    """:func:`table` under autograd."""

    @staticmethod
    def forward(ctx: Any, embedding: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(embedding, weight)
        return table(embedding, weight)

    @staticmethod
    def backward(ctx: Any, *d_columns: Tensor) -> tuple[Tensor | None, Tensor | None]:
        embedding, weight = ctx.saved_tensors
        (d,) = d_columns
        d_embedding = d.t() @ weight if ctx.needs_input_grad[0] else None
        return d_embedding, d @ embedding if ctx.needs_input_grad[1] else None
