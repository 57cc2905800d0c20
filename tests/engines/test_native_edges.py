"""What reaches the core from its edges: a default device elsewhere, arrays that change, batches of gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import unrolled
from tests.cases import VARIANTS, I, as_tuple, layer, needs_core
from tests.tolerances import assert_close, assert_same
from unrolled.engines import spy
from unrolled.engines.native.autograd import Plan
from unrolled.engines.native.net import Rates, net_of

pytestmark = needs_core
T, B = 6, 4


def gradients(net: Any, output: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(output.square().sum(), list(net.parameters())))


@pytest.mark.parametrize("options", [{}, {"lengths": [6, 0, 3, 1]}, {"trace": True}])
@pytest.mark.parametrize("tokens", [False, True])
def test_a_default_device_elsewhere_changes_nothing(options: dict[str, Any], tokens: bool) -> None:
    x = torch.randint(I, (T, B)) if tokens else torch.randn(T, B, I, dtype=torch.float64)
    for variant in ("lstm", "gru-everything"):
        net = layer(variant, "native")
        expected = net(x, **options)
        with torch.device("meta"):
            net.explain(x, **options)
            inside = net(x, **options)
        assert_same(inside[0], expected[0])
        assert_same(net(x, **options)[0], expected[0])  # nothing of it was kept


def test_an_embedding_under_a_default_device_elsewhere() -> None:
    net, table = layer("lstm", "native"), torch.randn(50, I, dtype=torch.float64)
    for ids in (torch.randint(50, (T, B)), torch.randint(50, (20, B))):
        expected = net(ids, embedding=table)[0]
        with torch.device("meta"):
            assert_same(net(ids, embedding=table)[0], expected)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_ids_and_lengths_in_arrays_that_are_filled_again(bidirectional: bool) -> None:
    net = layer("gru", "native", num_layers=2, bidirectional=bidirectional)
    ids, lengths = np.random.default_rng(1).integers(0, I, (T, B)), np.array([6, 5, 0, 3])
    expected = gradients(net, net(torch.from_numpy(ids), lengths=lengths)[0])
    output = net(torch.from_numpy(ids), lengths=lengths)[0]
    ids[:], lengths[:] = 10**9, 10**7
    assert_same(gradients(net, output), expected)
    output = net(torch.zeros(T, B, dtype=torch.long), lengths=torch.from_numpy(lengths.clip(0, 3)))[0]
    assert output.isfinite().all()


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_the_gradient_of_a_relu_at_nan_is_torchs(engine: str) -> None:
    net = unrolled.RNN(3, 20, nonlinearity="relu", dtype=torch.float64, engine=engine)
    theirs = torch.nn.RNN(3, 20, nonlinearity="relu", dtype=torch.float64)
    theirs.load_state_dict(net.state_dict())
    found = []
    for each in (net, theirs):
        x = torch.arange(12, dtype=torch.float64).view(4, 1, 3)
        x[2] = torch.nan
        x.requires_grad_()
        output = each(x)[0]
        found.append([output, *torch.autograd.grad(output[:2].sum() + output[2:].sum(), [x, each.bias_ih_l0])])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, equal_nan=True, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variant", ["lstm", "gru", "rnn-tanh", "lstm-everything"])
def test_a_batch_of_gradients(variant: str) -> None:
    net, slow = (layer(variant, engine, num_layers=2, bidirectional=True) for engine in ("native", "reference"))
    slow.load_state_dict(net.state_dict())
    x = torch.randn(3, 2, I, dtype=torch.float64)
    found = torch.autograd.functional.jacobian(lambda v: net(v)[0], x, vectorize=True)
    assert_close(found, torch.autograd.functional.jacobian(lambda v: slow(v)[0], x))


def test_twice_through_a_batch_of_no_rows() -> None:
    ids = torch.zeros(7, 0, dtype=torch.long)
    for engine in ("native", "reference"):
        net = layer("gru", engine)
        first = torch.autograd.grad(net(ids)[0].square().sum(), list(net.parameters()), create_graph=True)
        again = torch.autograd.grad(sum(g.square().sum() for g in first), list(net.parameters()), allow_unused=True)
        assert all(g is None or not g.any() for g in again)


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_a_tape_the_results_are_the_same(variant: str) -> None:
    for training in (False, True):
        net = layer(variant, "native", num_layers=4, bidirectional=True, training=training, dropout=0.3)
        x, lengths = torch.randn(T, B, I, dtype=torch.float64), [6, 5, 0, 3]
        torch.manual_seed(3)
        output, state = net(x, lengths=lengths)
        torch.manual_seed(3)
        with torch.no_grad():
            bare, last = net(x, lengths=lengths)
        assert_same([bare, *as_tuple(last)], [output, *as_tuple(state)])


def test_without_a_tape_two_layers_share_its_memory() -> None:
    plans = [Plan(net_of("lstm", I, 5, n, False, True, 0, False), Rates(), None, False) for n in (12, 1)]
    without = [plan.layout(1000, 3, keep=False).total for plan in plans]
    assert without[1] == 0
    assert without[0] <= 2 * (1000 * 3 * plans[0].net.R + 16) < plans[0].layout(1000, 3).total / 20


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_layer_can_be_trained() -> None:
    net, x = layer("gru", "native"), torch.randn(T, B, I, dtype=torch.float64)
    with torch.no_grad():
        bare = torch.jit.trace(net, (x,), check_trace=False)
    for traced in (torch.jit.trace(net, (x,)), bare):
        longer = torch.randn(T + 3, B + 1, I, dtype=torch.float64)
        assert_same(gradients(net, traced(longer)[0]), gradients(net, net(longer)[0]))


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_onnx_sees_torchs_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(T, B, I)
    for net in (unrolled.GRU(I, 5), unrolled.GRUCell(I, 5)):
        with spy() as engines:
            torch.jit.trace(net, (x if net.__class__ is unrolled.GRU else x[0],), check_trace=False)
        assert set(engines) == {"native"}
        monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
        with spy() as engines:
            torch.jit.trace(net, (x if net.__class__ is unrolled.GRU else x[0],), check_trace=False)
        assert set(engines) == {"aten"}
        monkeypatch.undo()
