"""Parity with torch.nn: cell x layers x direction x bias x projection x layout, outputs and all gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import unrolled.layers
from tests.cases import as_tuple
from tests.tolerances import assert_close
from unrolled.engines import ENGINES, Request, refusal

T, B, I, H = 5, 3, 4, 6
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {"nonlinearity": "tanh"}),
    ("RNN", {"nonlinearity": "relu"}),
    ("LSTM", {}),
    ("LSTM", {"proj_size": 3}),
    ("GRU", {}),
]
HERE = [e for e in ENGINES if refusal(e, Request("lstm")) is None]


def pair(kind: str, options: dict[str, Any], engine: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """Ours and torch's with the same weights, theirs loaded into ours."""
    theirs = getattr(torch.nn, kind)(I, H, dtype=dtype, **options)
    ours = getattr(unrolled.layers, kind)(I, H, dtype=dtype, engine=engine, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def outputs_and_gradients(net: Any, x: Any, hx: Any, leaves: list[torch.Tensor]) -> tuple[list[Any], list[Any]]:
    output, last = net(x, hx)
    data = output.data if isinstance(output, torch.nn.utils.rnn.PackedSequence) else output
    tensors = [data, *as_tuple(last)]
    loss = sum((t * torch.cos(torch.arange(t.numel(), dtype=t.dtype)).reshape(t.shape)).sum() for t in tensors)
    return tensors, list(torch.autograd.grad(loss, [*leaves, *net.parameters()], retain_graph=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("engine", HERE)
@pytest.mark.parametrize(("kind", "extra"), KINDS)
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("given_state", [True, False])
@pytest.mark.parametrize("layout", ["time", "batch", "unbatched", "packed", "packed batch", "packed sorted"])
def test_outputs_and_all_gradients(
    dtype: torch.dtype, engine: str, kind: str, extra: dict[str, Any], num_layers: int, bidirectional: bool, bias: bool,
    layout: str, given_state: bool,
) -> None:  # fmt: skip
    options = {**extra, "num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    options["batch_first"] = layout in ("batch", "packed batch")
    ours, theirs = pair(kind, options, engine, dtype)
    shape = {"batch": (B, T, I), "packed batch": (B, T, I), "unbatched": (T, I)}.get(layout, (T, B, I))
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    rows, D = num_layers * (2 if bidirectional else 1), () if layout == "unbatched" else (B,)
    sizes = [extra.get("proj_size", H)] + ([H] if kind == "LSTM" else [])
    state = [torch.randn(rows, *D, N, dtype=dtype, requires_grad=True) for N in sizes]
    given: Any = x
    if layout.startswith("packed"):
        lengths = torch.tensor([T, 3, 1] if "sorted" in layout else [2, T, 4])
        given = pack_padded_sequence(x, lengths, options["batch_first"], enforce_sorted="sorted" in layout)
    hx = None if not given_state else tuple(state) if len(state) > 1 else state[0]
    leaves = [x, *state] if given_state else [x]
    mine, my_gradients = outputs_and_gradients(ours, given, hx, leaves)
    other, other_gradients = outputs_and_gradients(theirs, given, hx, leaves)
    assert_close(mine, other, what="outputs")
    assert_close(my_gradients, other_gradients, gradient=True, what="gradients")


@pytest.mark.parametrize(("kind", "extra"), KINDS)
def test_the_same_seed_gives_the_same_weights_as_torch(kind: str, extra: dict[str, Any]) -> None:
    torch.manual_seed(3)
    theirs = getattr(torch.nn, kind)(I, H, num_layers=2, bidirectional=True, **extra)
    torch.manual_seed(3)
    ours = getattr(unrolled.layers, kind)(I, H, num_layers=2, bidirectional=True, **extra)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    theirs.load_state_dict(ours.state_dict())


@pytest.mark.parametrize(("kind", "extra"), KINDS)
def test_dropout_between_layers_draws_as_torch_does_on_its_kernels(kind: str, extra: dict[str, Any]) -> None:
    ours, theirs = pair(kind, {**extra, "num_layers": 3, "dropout": 0.4}, "aten", torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64)
    torch.manual_seed(8)
    mine = ours(x)[0]
    torch.manual_seed(8)
    assert_close(mine, theirs(x)[0])
    assert_close(ours.eval()(x)[0], theirs.eval()(x)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["RNNCell", "LSTMCell", "GRUCell"])
@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batched", [True, False])
def test_cells(kind: str, engine: str, bias: bool, batched: bool, dtype: torch.dtype) -> None:
    theirs = getattr(torch.nn, kind)(I, H, bias=bias, dtype=dtype)
    ours = getattr(unrolled.layers, kind)(I, H, bias=bias, dtype=dtype, engine=engine)
    ours.load_state_dict(theirs.state_dict())
    D = (B,) if batched else ()
    x = torch.randn(*D, I, dtype=dtype, requires_grad=True)
    state = [torch.randn(*D, H, dtype=dtype, requires_grad=True) for _ in range(2 if kind == "LSTMCell" else 1)]
    for hx in (tuple(state) if len(state) > 1 else state[0], None):
        leaves = [x] if hx is None else [x, *state]
        results = []
        for cell in (ours, theirs):
            new = as_tuple(cell(x, hx))
            loss = sum(
                (s * torch.cos(torch.arange(s.numel(), dtype=dtype) + k).reshape(s.shape)).sum()
                for k, s in enumerate(new)
            )
            results.append((new, torch.autograd.grad(loss, [*leaves, *cell.parameters()])))
        (mine, my_gradients), (other, other_gradients) = results
        assert_close(mine, other, what="states")
        assert_close(my_gradients, other_gradients, gradient=True, what="gradients")
