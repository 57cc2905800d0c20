"""Gate use against counts by hand from the layer's own trace."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.inspect.networks import Net, batch, last_loss
from unrolled import inspect


@pytest.mark.parametrize("kind", ["lstm", "gru", "gru-before", "lstm-norm"])
def test_shares_and_time_constants_equal_those_of_the_trace(kind: str) -> None:
    net = Net(kind, num_layers=2)
    with torch.no_grad():
        for p in net.rnn.parameters():
            p.mul_(3.0)  # so that gates do saturate
    x, y = batch(T=20)
    lengths = torch.tensor([20, 7, 13])
    found = inspect.gates(net, last_loss(net, x, y, lengths=lengths))
    _, _, traces = net.rnn(x, lengths=lengths, trace=True)
    assert [use.layer for use in found] == ["rnn.l0", "rnn.l1"]
    for use, trace in zip(found, traces, strict=True):
        gates = {
            name: torch.cat([trace[name][:n, row] for row, n in enumerate(lengths.tolist())]).detach().numpy()
            for name in trace.gates
        }
        assert use.steps == 40
        assert set(use.left) == set(trace.gates) - {"g", "n"}
        for name in use.left:
            np.testing.assert_allclose(use.left[name], (gates[name] < 0.1).mean(0))
            np.testing.assert_allclose(use.right[name], (gates[name] > 0.9).mean(0))
        keep = "f" if "f" in gates else "z"
        assert use.keep == keep
        np.testing.assert_allclose(use.time_constant, -1 / np.log(gates[keep]).mean(0), rtol=1e-12)
        hold = (gates["f"] > 0.9) & (gates["i"] < 0.1) if keep == "f" else gates["z"] > 0.9
        np.testing.assert_allclose(use.hold, hold.mean(0))
    assert any(use.hold.any() for use in found)
    assert use.extreme is None
    assert use.zero is None


def test_a_constant_gate_has_its_time_constant() -> None:
    """f = 1/e at every step: one step. z = 1: for ever, and no sign is lost."""
    net = Net("lstm")
    with torch.no_grad():
        for p in net.rnn.parameters():
            p.zero_()
        net.rnn.bias_ih_l0[5:10] = -math.log(math.e - 1)  # sigmoid of it is 1/e
    x, y = batch()
    (use,) = inspect.gates(net, last_loss(net, x, y))
    np.testing.assert_allclose(use.time_constant, 1.0, rtol=1e-12)
    gru = Net("gru")
    with torch.no_grad():
        gru.rnn.bias_ih_l0[5:10] = 800.0
    (use,) = inspect.gates(gru, last_loss(gru, x, y))
    assert (use.time_constant == np.inf).all()
    np.testing.assert_array_equal(use.hold, 1.0)


def test_vanilla_cells_count_the_state() -> None:
    x, y = batch()
    net = Net("tanh")
    (use,) = inspect.gates(net, last_loss(net, x, y))
    h = net.rnn(x)[0].detach().numpy()
    np.testing.assert_allclose(use.extreme, (abs(h) > 0.9).mean((0, 1)))
    assert use.left == {}
    assert use.time_constant is None
    relu = Net("relu")
    with torch.no_grad():
        relu.rnn.bias_ih_l0[2] = -1000.0
    (use,) = inspect.gates(relu, last_loss(relu, x, y))
    assert use.zero is not None
    assert use.zero[2] == 1
    assert use.dead == int((relu.rnn(x)[0] == 0).all(0).all(0).sum())
    assert 1 <= use.dead < 5
    linear = Net("identity")
    (use,) = inspect.gates(linear, last_loss(linear, x, y))
    assert (use.extreme, use.zero, use.dead) == (None, None, None)
