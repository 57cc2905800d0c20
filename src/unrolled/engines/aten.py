"""torch's own fused kernels: oneDNN and ATen on a CPU, cuDNN on a GPU, a whole stack of layers in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unrolled.engines.spying import record

_FUNCTIONS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "lstm": torch._VF.lstm,
    "gru": torch._VF.gru,
    "rnn-tanh": torch._VF.rnn_tanh,
    "rnn-relu": torch._VF.rnn_relu,
}

CELLS = tuple(_FUNCTIONS)
"""The cells torch has kernels for."""


def run_stack(
    cell: str,
    x: Tensor,
    state: tuple[Tensor, ...],
    weights: Sequence[Tensor],
    *,
    bias: bool,
    num_layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
    lengths: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All layers and directions of a network.

    Args:
        x: (T, B, I). state: (h,) or (h, c), each (L*D, B, N).
        weights: flat, in torch's order. lengths: (B,), or None.
    Returns:
        output (T, B, D*R), and the last states, as they came.
    """
    options = (bias, num_layers, dropout, training, bidirectional)
    if lengths is None:
        return _call(cell, (x,), state, weights, (*options, False))
    return _run_packed(cell, x, state, weights, options, lengths)


def _call(
    cell: str,
    data: tuple[Tensor, ...],
    state: tuple[Tensor, ...],
    weights: Sequence[Tensor],
    options: tuple[object, ...],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    record("aten")
    hx = state if len(state) > 1 else state[0]
    output, *last = _FUNCTIONS[cell](*data, hx, list(weights), *options)
    return output, tuple(last)


def _run_packed(
    cell: str,
    x: Tensor,
    state: tuple[Tensor, ...],
    weights: Sequence[Tensor],
    options: tuple[object, ...],
    lengths: Tensor,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Rows of different lengths, through torch's packed form: any order, zero allowed."""
    on_cpu = lengths.cpu()
    if bool((on_cpu == x.shape[0]).all()):
        return _call(cell, (x,), state, weights, (*options, False))
    on_cpu, order = torch.sort(on_cpu, descending=True, stable=True)
    n = int((on_cpu > 0).sum())
    D, R = (2 if options[-1] else 1), state[0].shape[-1]
    if n == 0:
        return _nothing_to_read(x, state, weights, D * R)
    on_cpu, order = on_cpu[:n], order[:n].to(x.device)
    data, batch_sizes = torch._VF._pack_padded_sequence(x.index_select(1, order), on_cpu, False)
    rows = tuple(s.index_select(1, order) for s in state)
    packed, last = _call(cell, (data, batch_sizes), rows, weights, options)
    padded, _ = torch._VF._pad_packed_sequence(packed, batch_sizes, False, 0.0, x.shape[0])
    output = padded.new_zeros(x.shape[0], x.shape[1], D * R).index_copy(1, order, padded)
    return output, tuple(s.index_copy(1, order, end) for s, end in zip(state, last, strict=True))


def _nothing_to_read(
    x: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor], size: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """No row has a valid step: zeros and the initial states, in the graph, with exactly zero gradients."""
    record("aten")
    everything = torch.stack([tensor.sum().to(x.dtype) for tensor in (x, *state, *weights)]).sum()
    zero = everything.masked_fill(torch.ones_like(everything, dtype=torch.bool), 0.0)  # even where the sum is NaN
    return x.new_zeros(x.shape[0], x.shape[1], size) + zero, tuple(s + zero.to(s.dtype) for s in state)


_STEPS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "lstm": torch._VF.lstm_cell,
    "gru": torch._VF.gru_cell,
    "rnn-tanh": torch._VF.rnn_tanh_cell,
    "rnn-relu": torch._VF.rnn_relu_cell,
}


def run_step(cell: str, x: Tensor, state: tuple[Tensor, ...], weights: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """One step of one cell: x (B, I), each state (B, H); ``weights`` are ih and hh, then the two biases or None."""
    record("aten")
    new = _STEPS[cell](x, state if len(state) > 1 else state[0], *weights)
    return (new,) if isinstance(new, Tensor) else new
