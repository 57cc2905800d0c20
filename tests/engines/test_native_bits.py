"""The native engine to the bit: nothing but its arguments decides a result."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import unrolled
from tests.cases import VARIANTS, I, as_tuple, hx, layer, needs_core, scalar, state_of
from tests.tolerances import assert_close, assert_same
from unrolled.engines import spy
from unrolled.engines.native import core

pytestmark = needs_core
T, B = 7, 5
SIZES = [5, 40, 136]
"""Hidden sizes: less than a register, several with a rest, and what goes over tiles where the processor has them."""


def gradients(net: Any, x: Tensor, state: tuple[Tensor, ...], **options: Any) -> list[Tensor]:
    """Output, last states, and every gradient."""
    output, last = net(x, hx(state), **options)
    wrt = [t for t in (x, *state) if t.requires_grad] + list(net.parameters())
    found = torch.autograd.grad(scalar(output, *as_tuple(last)), wrt, allow_unused=True, materialize_grads=True)
    return [output, *as_tuple(last), *found]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threads_change_no_bit(variant: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_available", [float("inf"), 4])  # whatever this machine has
    for H, rows in ((5, 3), (70, 9), (136, 37)):
        net = layer(variant, "native", hidden_size=H, dtype=dtype, num_layers=2, bidirectional=True, training=True)
        x, state = torch.randn(T, rows, I, dtype=dtype, requires_grad=True), state_of(net, rows, requires_grad=True)
        options = {"lengths": torch.randint(0, T + 1, (rows,)), "resets": torch.rand(T, rows) < 0.2}
        found = []
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            torch.manual_seed(2)
            found.append(gradients(net, x, state, **options))
        for other in found[1:]:
            assert_same(other, found[0])


@pytest.mark.parametrize("H", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_row_is_the_same_alone_and_in_a_batch(variant: str, H: int, dtype: torch.dtype) -> None:
    net = layer(variant, "native", hidden_size=H, dtype=dtype, num_layers=2, bidirectional=True)
    x, state = torch.randn(T, B, I, dtype=dtype, requires_grad=True), state_of(net, B, requires_grad=True)
    whole, last = net(x, hx(state))
    d = torch.autograd.grad(whole.square().sum(), [x, *state])
    for b in range(B):
        x1 = x[:, b : b + 1].detach().requires_grad_()
        state1 = tuple(s[:, b : b + 1].detach().contiguous().requires_grad_() for s in state)
        alone, alone_last = net(x1, hx(state1))
        d1 = torch.autograd.grad(alone.square().sum(), [x1, *state1])
        assert_same(
            (alone[:, 0], *(s[:, 0] for s in as_tuple(alone_last))), (whole[:, b], *(s[:, b] for s in as_tuple(last)))
        )
        assert_same([g[:, 0] for g in d1], [g[:, b] for g in d])


@pytest.mark.parametrize("H", SIZES)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("tokens", [False, True])
def test_a_split_anywhere_changes_no_bit(variant: str, H: int, tokens: bool) -> None:
    """Also where the chunks' products are small and the whole's are not."""
    T = 40
    net = layer(variant, "native", hidden_size=H, dtype=torch.float32, num_layers=2)
    x: Any = torch.randint(0, I, (T, B)) if tokens else torch.randn(T, B, I, requires_grad=True)
    state = state_of(net, B, requires_grad=True)
    handed = [*([] if tokens else [x]), *state]
    whole, last = net(x, hx(state))
    expected = torch.autograd.grad(scalar(whole, *as_tuple(last)), handed)
    for cuts in ([1] * T, [39, 1], [13, 27]):
        outputs, between = [], hx(state)
        for chunk in torch.split(x, cuts):
            output, between = net(chunk, between)
            outputs.append(output)
        joined = torch.cat(outputs)
        assert_same((joined, *as_tuple(between)), (whole, *as_tuple(last)))
        assert_same(torch.autograd.grad(scalar(joined, *as_tuple(between)), handed), expected)


@pytest.mark.parametrize("variant", ["lstm", "gru", "rnn-tanh"])
def test_many_rows_are_the_same_as_few(variant: str) -> None:
    """More rows than a block of the weights' gradients holds."""
    net = layer(variant, "native", dtype=torch.float64)
    x = torch.randn(30, 150, I, dtype=torch.float64)
    output, _ = net(x)
    assert_same([net(x[:, b : b + 1])[0][:, 0] for b in (0, 77, 149)], [output[:, b] for b in (0, 77, 149)])
    slow = layer(variant, "reference", dtype=torch.float64)
    slow.load_state_dict(net.state_dict())
    mine = torch.autograd.grad(scalar(output), list(net.parameters()))
    assert_close(mine, torch.autograd.grad(scalar(slow(x)[0]), list(slow.parameters())), gradient=True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masks_are_those_of_the_reference(variant: str, dtype: torch.dtype) -> None:
    """Recurrent dropout, zoneout and dropout between layers, from the same seed."""
    options = {"num_layers": 3, "bidirectional": True, "dropout": 0.4, "training": True, "dtype": dtype}
    fast, slow = (layer(variant, engine, **options) for engine in ("native", "reference"))
    slow.load_state_dict(fast.state_dict())
    x = torch.randn(T, B, I, dtype=dtype, requires_grad=True)
    found = []
    for net in (fast, slow):
        torch.manual_seed(6)
        found.append(gradients(net, x, state_of(net, B)))
    if dtype is torch.float64:
        assert_close(found[0], found[1], gradient=True)
    else:
        assert all(torch.allclose(a, b, rtol=1e-2, atol=1e-2) for a, b in zip(*found, strict=True))
    torch.manual_seed(7)
    assert not torch.equal(fast(x)[0], found[0][0])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("H", "rows"), [(5, B), (5, 67), (70, 67), (136, 67)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_gradient_to_come_the_result_is_the_same(variant: str, H: int, rows: int, dtype: torch.dtype) -> None:
    """Also with the many rows for which the input's product is then made beside the recurrent one."""
    net = layer(variant, "native", hidden_size=H, num_layers=2, bidirectional=True, dtype=dtype)
    x = torch.randn(T, rows, I, dtype=dtype)
    options = {"lengths": torch.randint(0, T + 1, (rows,)), "resets": torch.rand(T, rows) < 0.2}
    with_tape, last = net(x, **options)
    with torch.no_grad():
        output, state = net(x, **options)
    assert_same((output, *as_tuple(state)), (with_tape, *as_tuple(last)))
    with torch.inference_mode():
        assert_same([net(x, **options)[0]], [with_tape])


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("V", [11, 90])
def test_ids_over_an_embedding(kind: str, V: int) -> None:
    """More rows than tokens, or fewer; a reference that looks up; and to the bit step by step, where both happen."""
    options = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64}
    table = torch.nn.Embedding(V, I, dtype=torch.float64)
    ids, lengths = torch.randint(0, V, (T, B)), torch.tensor([7, 0, 3, 5, 7])
    ids[5, 2] = 10**6  # in the padding anything may stand
    found = []
    for engine in ("native", "reference", "aten"):
        torch.manual_seed(1)
        net = getattr(unrolled, kind)(I, 6, engine=engine, **options)
        with spy() as ran:
            output, last = net(ids, lengths=lengths, embedding=table.weight)
        assert ran == [engine]
        wrt = [table.weight, *net.parameters()]
        found.append((output, *as_tuple(last), *torch.autograd.grad(scalar(output, *as_tuple(last)), wrt)))
    assert_close(found[0], found[1], gradient=True)
    assert_close(found[2], found[1], gradient=True)
    net = getattr(unrolled, kind)(I, 6, engine="native")
    ids, weight = torch.randint(0, V, (T, B)), table.weight.float()
    whole, state = net(ids, embedding=weight)[0], None
    for t in range(T):
        output, state = net(ids[t : t + 1], state, embedding=weight)
        assert torch.equal(output[0], whole[t])
