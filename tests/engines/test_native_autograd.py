"""The native engine under autograd: what is kept, what may be done twice, what a trace carries."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch

import unrolled
from tests.cases import VARIANTS, I, as_tuple, call_of, hx, layer, needs_core, scalar, state_of
from tests.tolerances import assert_close, assert_same
from unrolled.engines import native, reference, spy

pytestmark = needs_core
T, B = 5, 3


def pair(variant: str, **options: Any) -> tuple[Any, Any]:
    """The same layer on native and on the reference."""
    fast, slow = layer(variant, "native", **options), layer(variant, "reference", **options)
    slow.load_state_dict(fast.state_dict())
    return fast, slow


def test_a_second_backward_gives_the_same() -> None:
    for variant in VARIANTS:
        net = layer(variant, "native", num_layers=2, bidirectional=True, training=True, dropout=0.2)
        x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
        loss, wrt = scalar(net(x)[0]), [x, *net.parameters()]
        first = torch.autograd.grad(loss, wrt, retain_graph=True)
        assert_same(torch.autograd.grad(loss, wrt, retain_graph=True), first)
        torch.autograd.grad(loss, wrt)
        with pytest.raises(RuntimeError, match="second time"):
            torch.autograd.grad(loss, wrt)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
def test_double_backward(variant: str, training: bool) -> None:
    net = layer(variant, "native", num_layers=2, bidirectional=training, training=training, dropout=0.3)
    names, tensors = zip(*net.named_parameters(), strict=True)
    x, state = torch.randn(3, 2, I, dtype=torch.float64, requires_grad=True), state_of(net, 2, requires_grad=True)

    def run(x: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(5)
        w = dict(zip(names, rest[len(state) :], strict=True))
        output, last = torch.func.functional_call(net, w, (x, hx(rest[: len(state)])), {"lengths": [3, 1]})
        return output, *as_tuple(last)

    inputs = (x, *state, *(p.detach().requires_grad_() for p in tensors))
    with spy() as ran:
        assert torch.autograd.gradcheck(run, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)
    assert set(ran) == {"native"}


def test_a_tied_weight_has_the_gradient_of_both_its_places() -> None:
    net = unrolled.RNN(4, 4, bias=False, engine="native", dtype=torch.float64)
    x = torch.randn(T, B, 4, dtype=torch.float64)
    w = net.weight_ih_l0.detach().clone().requires_grad_()
    output = torch.func.functional_call(net, {"weight_ih_l0": w, "weight_hh_l0": w}, (x,))[0]
    plain = torch.autograd.grad(output.sum(), w, retain_graph=True)
    assert_close(torch.autograd.grad(output.sum(), w, create_graph=True), plain, gradient=True)


def test_only_what_is_asked_for_is_made() -> None:
    net = layer("lstm", "native", num_layers=2)
    x = torch.randn(T, B, I, dtype=torch.float64)
    full = torch.autograd.grad(scalar(net(x)[0]), list(net.parameters()))
    for p in list(net.parameters())[:5]:
        p.requires_grad_(False)
    kept = [p for p in net.parameters() if p.requires_grad]
    output, (h_n, c_n) = net(x)
    assert_same(torch.autograd.grad(scalar(output), kept, retain_graph=True), full[5:])
    for loss in (h_n.sum(), c_n.sum(), output[0].sum()):
        assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, kept, retain_graph=True))
    assert not net.requires_grad_(False)(x)[0].requires_grad


def test_what_was_changed_in_between_is_told() -> None:
    net = layer("gru", "native")
    for changed in ("output", "weight", "x", "resets"):
        x, resets = torch.randn(T, B, I, dtype=torch.float64), torch.zeros(T, B, dtype=torch.bool)
        output, _ = net(x, resets=resets)
        loss = output.square().sum()
        with torch.no_grad():
            {"output": output, "weight": net.weight_hh_l0, "x": x, "resets": resets}[changed].zero_()
        with pytest.raises(RuntimeError, match="inplace operation"):
            loss.backward()


def test_a_dropped_graph_gives_its_tape_back() -> None:
    core = pytest.importorskip("unrolled._native")
    net = unrolled.LSTM(64, 64, engine="native")
    x = torch.randn(64, 32, 64)
    for _ in range(3):
        net(x)[0].sum().backward()
        gc.collect()
        idle = core.idle_bytes()
    net(x)[0].sum().backward()
    assert core.idle_bytes() == idle > 0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("masked", [False, True])
def test_a_trace_is_that_of_the_reference_and_carries_gradients(variant: str, masked: bool) -> None:
    fast, slow = pair(variant, num_layers=2, bidirectional=True, training=True, dropout=0.2)
    options: dict[str, Any] = {"trace": True}
    if masked:
        options |= {"lengths": torch.tensor([T, 0, 2]), "resets": torch.rand(T, B) < 0.3}
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    state = state_of(fast, B, requires_grad=True)
    found = []
    for net in (fast, slow):
        torch.manual_seed(3)
        output, last, traces = net(x, hx(state), **options)
        seen = [t for trace in traces for t in (*trace.states.values(), *trace.gates.values())]
        names = [[*trace.states, *trace.gates] for trace in traces]
        wrt = [x, *state, *net.parameters()]
        grads = torch.autograd.grad(scalar(output, *as_tuple(last), *seen), wrt, create_graph=True, allow_unused=True)
        plain = torch.autograd.grad(scalar(output, *as_tuple(last), *seen), wrt, allow_unused=True)
        found.append((names, [output, *as_tuple(last), *seen], [*grads, *plain]))
    assert found[0][0] == found[1][0]
    assert_close(found[0][1], found[1][1])
    assert_close(found[0][2], found[1][2], gradient=True)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_back_propagation_by_hand_equals_the_references(
    variant: str, training: bool, reverse: bool, masked: bool
) -> None:
    net = layer(variant, training=training)
    x, state = torch.randn(T, B, I, dtype=torch.float64), state_of(net, B)
    options = {"lengths": torch.tensor([4, 0, T]), "resets": torch.rand(T, B) < 0.4} if masked else {}
    call = call_of(net, x, state, seed=7 if training else None, reverse=reverse, **options)
    output, last, tape = reference.unroll(call)
    mine, my_last, my_tape = native.unroll(call)
    assert_close((mine, *my_last), (output, *last))
    d, d_last = torch.randn_like(output), tuple(torch.randn_like(s) for s in last)
    expected = reference.backward(tape, d, d_last, per_step=True)
    found = native.backward(my_tape, d, d_last, per_step=True)
    assert_close((found.x, *found.state), (expected.x, *expected.state), gradient=True)
    assert_close(found.weights, dict(expected.weights), gradient=True)
    assert_close(found.d_h, expected.d_h, gradient=True, what="d_h")
    assert_close(found.d_gates, expected.d_gates, gradient=True, what="d_gates")
    assert_same([native.backward(my_tape, d, d_last).x], [found.x])
    assert native.backward(my_tape, d, d_last).d_h is None
