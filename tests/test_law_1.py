"""Law 1: equality with a loop in plain Python, gradcheck, and back-propagation through time by hand.

The golden values stand in cells/test_cells.py, parity with torch.nn in layers/test_parity.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.cases import CELLS, VARIANTS, I, as_tuple, call_of, cotangent, gradients, hx, layer, pairs, scalar, state_of
from tests.reference import naive
from tests.tolerances import assert_close
from unrolled.engines import masks, reference, spy

T, B = 6, 3
DTYPES = [torch.float32, torch.float64]


def _naive(call: Any, b: int) -> Tensor:
    """Every state of row ``b`` after every step, (T, sum of the sizes), by the loop in plain Python."""
    states = naive.run(
        call.cell.name,
        {name: tensor.tolist() for name, tensor in call.w.items()},
        call.x[:, b].tolist(),
        [s[b].tolist() for s in call.state],
        list(call.zoneout) or [0.0] * len(call.state),
        mask=None if call.mask is None else call.mask[b].tolist(),
        zoned=[z[:, b].tolist() for z in call.zoned] or None,
        resets=None if call.resets is None else call.resets[:, b].tolist(),
    )
    return torch.tensor([[e for part in s for e in part] for s in states], dtype=call.x.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("engine", "variant"), pairs())
def test_law_1_equals_the_naive_loop(engine: str, variant: str, dtype: torch.dtype) -> None:
    net = layer(variant, engine, dtype=dtype)
    x, state = torch.randn(T, B, I, dtype=dtype), state_of(net, B)
    with torch.no_grad():
        output, last = net(x, hx(state))
    call = call_of(net, x, state)
    for b in range(B):
        states = _naive(call, b)
        assert_close(output[:, b], states[:, : output.shape[-1]])
        assert_close(torch.cat([s[0, b] for s in as_tuple(last)]), states[-1])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_law_1_training_and_resets_equal_the_naive_loop(variant: str, batch_first: bool) -> None:
    """Recurrent dropout, zoneout and resets, through the layer: the masks are drawn again from the seed it draws."""
    net = layer(variant, training=True, batch_first=batch_first)
    x, state, resets = torch.randn(T, B, I, dtype=torch.float64), state_of(net, B), torch.rand(T, B) < 0.3
    given = (x.transpose(0, 1), resets.transpose(0, 1)) if batch_first else (x, resets)
    torch.manual_seed(9)
    with torch.no_grad():
        output, last = net(given[0], hx(state), resets=given[1])
    torch.manual_seed(9)
    call = call_of(net, given[0], state, seed=int(masks.draw_seed()))
    call = dataclasses.replace(call, resets=resets)
    assert (call.mask is not None) == (net.recurrent_dropout > 0)
    output = output.transpose(0, 1) if batch_first else output
    for b in range(B):
        states = _naive(call, b)
        assert_close(output[:, b], states[:, : output.shape[-1]])
        assert_close(torch.cat([s[0, b] for s in as_tuple(last)]), states[-1])


@pytest.mark.parametrize(("engine", "variant"), [p for p in pairs(CELLS) if p[0] != "reference"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_law_1_gradcheck_of_the_fused_kernels(engine: str, variant: str, bidirectional: bool) -> None:
    net = layer(variant, engine, num_layers=2, bidirectional=bidirectional)
    names, tensors = zip(*net.named_parameters(), strict=True)
    x, state = torch.randn(3, 2, I, dtype=torch.float64, requires_grad=True), state_of(net, 2, requires_grad=True)

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        w = dict(zip(names, rest[len(state) :], strict=True))
        output, last = torch.func.functional_call(net, w, (x, hx(rest[: len(state)])), {"lengths": [3, 2]})
        return output, *as_tuple(last)

    inputs = (x, *state, *(p.detach().requires_grad_() for p in tensors))
    with spy() as ran:
        assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert set(ran) == {engine}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
def test_law_1_gradcheck(variant: str, training: bool) -> None:
    net = layer(variant, training=training)
    names, tensors = zip(*net.named_parameters(), strict=True)
    x = torch.randn(3, 2, I, dtype=torch.float64, requires_grad=True)
    state = state_of(net, 2, requires_grad=True)

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(5)  # the same masks at every evaluation
        w = dict(zip(names, rest[len(state) :], strict=True))
        output, last = torch.func.functional_call(net, w, (x, hx(rest[: len(state)])))
        return output, *as_tuple(last)

    inputs = (x, *state, *(p.detach().requires_grad_() for p in tensors))
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_law_1_bptt_by_hand_equals_autograd(variant: str, training: bool, reverse: bool, masked: bool) -> None:
    net = layer(variant, training=training)
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    state = state_of(net, B, requires_grad=True)
    options = {"lengths": torch.tensor([4, 0, T]), "resets": torch.rand(T, B) < 0.4} if masked else {}
    call = call_of(net, x, state, seed=7 if training else None, reverse=reverse, **options)
    output, last, _ = reference.run(call)
    names = list(call.w)
    expected = gradients(scalar(output, *last), [x, *state, *call.w.values()])
    by_hand_output, by_hand_last, tape = reference.unroll(call)
    assert torch.equal(by_hand_output, output)
    assert all(torch.equal(a, b) for a, b in zip(by_hand_last, last, strict=True))
    back = reference.backward(tape, cotangent(output, 0), tuple(cotangent(s, k + 1) for k, s in enumerate(last)))
    assert_close(back.x, expected[0], gradient=True, what="dx")
    assert_close([s[None] for s in back.state], expected[1 : 1 + len(state)], gradient=True, what="d_state")
    assert set(back.weights) == set(names)
    for name, grad in zip(names, expected[1 + len(state) :], strict=True):
        assert_close(back.weights[name], grad, gradient=True, what=name)
