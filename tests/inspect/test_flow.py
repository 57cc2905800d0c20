"""Gradient flow against finite differences on the states themselves, and against laws of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import unrolled
from tests.inspect.networks import CELLS, Net, batch, last_loss
from unrolled import inspect
from unrolled.errors import UserError
from unrolled.inspect.flow import Path
from unrolled.inspect.recording import record


def naive_lstm(net: Net, x: Tensor, y: Tensor, at: int, dh: Tensor, dc: Tensor) -> Tensor:
    """The losses (B,) by a loop of its own; after step ``at`` c is moved by dc before h is made from it, and then h by
    dh with c left alone: the two derivatives that are claimed."""
    w = dict(net.rnn.named_parameters())
    h = c = torch.zeros(x.shape[1], net.rnn.hidden_size, dtype=x.dtype)
    for t, row in enumerate(x):
        gates = F.linear(row, w["weight_ih_l0"], w["bias_ih_l0"]) + F.linear(h, w["weight_hh_l0"], w["bias_hh_l0"])
        i, f, g, o = gates.chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        c = c + dc if t == at else c
        h = torch.sigmoid(o) * torch.tanh(c)
        h = h + dh if t == at else h
    return F.cross_entropy(net.head(h), y, reduction="none")


def differences(net: Net, x: Tensor, y: Tensor, at: int, state: str, step: float = 1e-5) -> Tensor:
    """(B, H) by central differences."""
    columns = []
    for unit in range(net.rnn.hidden_size):
        moved = torch.zeros(net.rnn.hidden_size, dtype=x.dtype)
        moved[unit] = step
        none = torch.zeros_like(moved)
        values = [
            naive_lstm(net, x, y, at, s * moved if state == "h" else none, s * moved if state == "c" else none)
            for s in (1.0, -1.0)
        ]
        columns.append((values[0] - values[1]) / (2 * step))
    return torch.stack(columns, -1)


@pytest.mark.parametrize("state", ["h", "c"])
def test_lstm_flow_is_the_total_derivative_of_c_and_that_of_h_with_c_fixed(state: str) -> None:
    net = Net("lstm")
    x, y = batch()
    path = inspect.gradient_flow(net, last_loss(net, x, y)).path("rnn.l0", state)
    with torch.no_grad():
        for k in (0, 1, 4, 11):
            expected = differences(net, x, y, 11 - k, state).norm(dim=-1)
            np.testing.assert_allclose(path.norms[:, k], expected.numpy(), rtol=1e-7)


@pytest.mark.parametrize("kind", CELLS)
def test_flow_is_the_last_gradient_times_the_step_jacobians(kind: str) -> None:
    """The recursion g_{k+1} = J' g_k with the closed form, from the gradient at lag 0: every lag of every cell."""
    net = Net(kind)
    x, y = batch()
    flow = inspect.gradient_flow(net, last_loss(net, x, y))
    with record(net) as tracks:
        losses = last_loss(net, x, y)()
    moments = tracks[0].moments()
    R, names = tracks[0].cell.output_size, tracks[0].cell.states
    for row in range(3):
        (last,) = torch.autograd.grad(losses[row], moments[-1].after[:1], retain_graph=True)
        g = last[row]  # c's total derivative goes through h; as outputs of the step, the loss sees h alone
        if "c" in names:
            g = torch.cat((g, torch.zeros(5, dtype=g.dtype)))
        for k, moment in enumerate(reversed(moments)):
            path = flow.path("rnn.l0", "h")
            np.testing.assert_allclose(path.norms[row, k], float(g[:R].norm()), rtol=1e-10)
            g = inspect.step_jacobian(moment, row).t() @ g


def test_flow_in_a_stack_with_both_directions_embedding_and_a_carried_state() -> None:
    net = Net("gru", num_layers=2, bidirectional=True)
    ids = torch.randint(0, 7, (9, 2))
    table = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    h = torch.randn(4, 2, 5, dtype=torch.float64)
    y = torch.tensor([1, 2])

    def loss() -> Tensor:
        _, after = net(ids, h, embedding=table)
        return F.cross_entropy(net.head(torch.cat((after[2], after[3]), -1)), y, reduction="none")

    flow = inspect.gradient_flow(net, loss)
    assert [p.layer for p in flow.paths] == ["rnn.l0", "rnn.l0_reverse", "rnn.l1", "rnn.l1_reverse"]
    asked = h.clone().requires_grad_()
    h = asked
    (grad,) = torch.autograd.grad(loss().sum(), asked)
    for k, path in enumerate(flow.paths):  # the largest lag is the state before the first step read
        np.testing.assert_allclose(path.norms[:, 9], grad[k].norm(dim=-1).numpy(), rtol=1e-12)
    assert net.rnn.runner is None


def test_lags_count_from_each_rows_own_end_and_stop_at_its_beginning() -> None:
    net = Net("lstm", bidirectional=True)
    x, y = batch(T=8)
    lengths = torch.tensor([8, 3, 5])

    def loss_of(x: Tensor, lengths: Tensor | None, y: Tensor):
        def loss() -> Tensor:
            _, (h, _) = net.rnn(x, lengths=lengths)
            return F.cross_entropy(net.head(torch.cat((h[0], h[1]), -1)), y, reduction="none")

        return loss

    together = inspect.gradient_flow(net, loss_of(x, lengths, y))
    for row, n in enumerate(lengths.tolist()):
        alone = inspect.gradient_flow(net, loss_of(x[:n, row : row + 1], None, y[row : row + 1]))
        for mine, its in zip(together.paths, alone.paths, strict=True):
            np.testing.assert_allclose(mine.norms[row, : n + 1], its.norms[0], rtol=1e-10)
            assert np.isnan(mine.norms[row, n + 1 :]).all()


def test_a_reset_ends_the_flow_exactly() -> None:
    net = Net("gru")
    x, y = batch(T=10)
    resets = torch.zeros(10, 3, dtype=torch.bool)
    resets[6, 1] = True  # cuts between steps 5 and 6: lag 4 is the state after step 5
    path = inspect.gradient_flow(net, last_loss(net, x, y, resets=resets)).paths[0]
    assert (path.norms[1, :4] > 0).all()
    assert (path.norms[1, 4:] == 0).all()
    assert (path.norms[0] > 0).all()


def test_a_layer_called_step_by_step_is_one_sequence() -> None:
    net = Net("lstm")
    x, y = batch(T=7)

    def stepwise() -> Tensor:
        state = None
        for row in x:
            out, state = net(row[None], state)
        return F.cross_entropy(out[0], y, reduction="none")

    whole, steps = inspect.gradient_flow(net, last_loss(net, x, y)), inspect.gradient_flow(net, stepwise)
    for a, b in zip(whole.paths, steps.paths, strict=True):
        np.testing.assert_allclose(a.norms, b.norms, rtol=1e-12)


def test_the_linear_network_with_a_normal_matrix_decays_at_its_known_rate() -> None:
    """W = 0.9 times a rotation: every g_k / g_0 is 0.9^k."""
    net = Net("identity", H=6)
    with torch.no_grad():
        net.rnn.weight_hh_l0.copy_(0.9 * torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q)
    x, y = batch(T=40)
    path = inspect.gradient_flow(net, last_loss(net, x, y)).paths[0]
    decay = path.decay()
    assert decay is not None
    assert decay.log_linear
    assert abs(decay.rate - 0.9) < 1e-6
    assert decay.r2 > 1 - 1e-12
    assert path.reach(0.5) == 7  # 0.9^6 = 0.531
    assert path.reach(1e-3) is None  # 0.9^40 = 0.015
    assert not path.grows


@pytest.mark.parametrize("kind", ["tanh", "lstm", "lstm-norm", "gru", "gru-before", "lstm-proj"])
def test_per_step_summands_add_up_to_the_gradient(kind: str) -> None:
    net = Net(kind, num_layers=2)
    x, y = batch()
    loss = last_loss(net, x, y)
    names = [n for n, _ in net.rnn.named_parameters()]
    expected = torch.autograd.grad(loss().sum(), [net.rnn.get_parameter(n) for n in names])
    for name, grad in zip(names, expected, strict=True):
        summands = inspect.gradient_by_step(net, loss, f"rnn.{name}")
        assert summands.shape == (12, *grad.shape)
        assert float((summands.sum(0) - grad).norm() / grad.norm()) < 1e-12, name
    first = inspect.gradient_by_step(net, loss, "rnn.weight_hh_l0")[0]
    assert float(first.abs().max()) == 0 or kind in ("lstm-norm",)  # h_0 = 0: the first step adds nothing to dW_hh


def test_the_summands_of_one_step_are_those_of_back_propagation_by_hand() -> None:
    from unrolled.engines import reference

    net = Net("gru")
    x, y = batch()
    loss = last_loss(net, x, y)
    with record(net) as tracks:
        total = loss().sum()
    made = tracks[0].calls[0]
    (d_last,) = torch.autograd.grad(total, [made.outputs[-1]])
    d_output = torch.zeros(12, 3, 5, dtype=torch.float64)
    d_output[-1] = d_last
    _, _, tape = reference.unroll(made.call)
    hand = reference.backward(tape, d_output, (torch.zeros(3, 5, dtype=torch.float64),), per_step=True)
    summands = inspect.gradient_by_step(net, loss, "rnn.weight_hh_l0")
    torch.testing.assert_close(summands, hand.by_step["weight_hh"], rtol=1e-10, atol=1e-14)


def test_what_curves_say() -> None:
    k = np.arange(41)
    falling = Path("l0", "h", np.stack([0.8**k, 2 * 0.8**k]), 0, 2e-16)
    assert falling.reach(0.5) == 4
    assert falling.reach(1e-3) == 31
    assert falling.top() == (pytest.approx(0.8), 1)
    growing = Path("l0", "h", np.concatenate([np.tile(0.8**k, (50, 1)), 1.1 ** k[None]]), 0, 2e-16)
    assert growing.grows
    assert not falling.grows
    assert growing.reach(0.5) == 4
    bent = Path("l0", "h", (0.5 ** np.minimum(k, 5) * 0.99**k)[None], 0, 2e-16)
    decay = bent.decay()
    assert decay is not None
    assert not decay.log_linear
    nothing = Path("l0", "h", np.where(k > 3, 0.1**k, 0.0)[None], 0, 2e-16)
    assert not nothing.reached
    sunk = Path("l0", "h", (1e-5**k)[None], 0, 2e-16)
    assert sunk.decay() is None  # under the rounding error after four lags: no rate is claimed


def test_rows_outside_the_loss_are_left_out_and_counted() -> None:
    net = Net("tanh")
    x, y = batch()
    path = inspect.gradient_flow(net, lambda: last_loss(net, x, y)()[:2]).paths[0]
    assert path.norms.shape[0] == 2
    assert path.dropped == 1


def test_frozen_weights_are_no_obstacle_and_nothing_changes() -> None:
    net = Net("lstm")
    x, y = batch()
    before = inspect.gradient_flow(net, last_loss(net, x, y)).paths[0].norms
    net.requires_grad_(False)
    with torch.no_grad():
        frozen = inspect.gradient_flow(net, last_loss(net, x, y)).paths[0].norms
    np.testing.assert_array_equal(before, frozen)


def test_misuse_is_named() -> None:
    net = Net("lstm")
    x, y = batch()
    with pytest.raises(ValueError, match=r"expected a tensor \(P,\)"):
        inspect.gradient_flow(net, lambda: last_loss(net, x, y)().sum())
    with pytest.raises(ValueError, match="holds no layer"):
        inspect.gradient_flow(torch.nn.Linear(2, 2), last_loss(net, x, y))
    with pytest.raises(ValueError, match="none of the model's recurrent layers was called"):
        inspect.gradient_flow(unrolled.GRU(2, 3), lambda: torch.zeros(1, requires_grad=True))
    with pytest.raises(ValueError, match=r"there are .*rnn\.bias_hh_l0"):
        inspect.gradient_by_step(net, last_loss(net, x, y), "head.weight")

    def twice() -> Tensor:
        return last_loss(net, x, y)() + last_loss(net, x, y, torch.randn(2, 1, 3, 5, dtype=torch.float64).unbind())()

    with pytest.raises(ValueError, match=r"rnn\.l0 was called twice"):
        inspect.gradient_flow(net, twice)
    assert net.rnn.runner is None


def test_a_weight_that_is_not_a_number_is_named() -> None:
    net = Net("lstm")
    with torch.no_grad():
        net.rnn.bias_hh_l0[3] = math.nan
    with pytest.raises(UserError, match=r"rnn\.bias_hh_l0: 1 of 20 values are not finite \(NaN\)"):
        inspect.double(net)
