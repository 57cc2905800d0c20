"""Jacobians against autograd, central differences and networks whose spectrum is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.inspect.networks import CELLS, Net, batch, last_loss
from unrolled import inspect
from unrolled.inspect.jacobian import RecurrentMatrix, pushed
from unrolled.inspect.recording import Moment, Track, record


def moments_of(net: Net, x: Tensor, **options) -> tuple[Track, list[Moment]]:
    with torch.no_grad(), record(net) as tracks:
        net(x, **options)
    return tracks[0], tracks[0].moments()


def by_layer(net: Net, x: Tensor, t: int, row: int, step: float | None) -> Tensor:
    """J_t from the layer itself, from outside: the state goes in and comes out of a call of one step. By reverse-mode
    autograd, or by central differences."""
    track, moments = moments_of(net, x)
    sizes = track.cell.state_sizes()
    s = torch.cat([part[row] for part in moments[t].before])

    def f(s: Tensor) -> Tensor:
        state = tuple(part[None, None] for part in s.split(sizes))
        _, hx = net.rnn(x[t, row][None, None], state if len(state) > 1 else state[0])
        return torch.cat([part[0, 0] for part in (hx if isinstance(hx, tuple) else (hx,))])

    if step is None:
        return torch.autograd.functional.jacobian(f, s)
    eye = step * torch.eye(len(s), dtype=s.dtype)
    with torch.no_grad():  # fourth order, so that the differences are good to the tolerance asked for
        return torch.stack([(8 * (f(s + e) - f(s - e)) - f(s + 2 * e) + f(s - 2 * e)) / (12 * step) for e in eye], 1)


@pytest.mark.parametrize("kind", CELLS)
def test_step_jacobian_equals_autograd_and_central_differences(kind: str) -> None:
    net = Net(kind)
    x, _ = batch()
    _, moments = moments_of(net, x)
    for t, row in ((1, 0), (7, 2)):  # not from h = 0, where layer norm is nearly singular
        J = inspect.step_jacobian(moments[t], row)
        size = float(J.norm())
        assert float((J - by_layer(net, x, t, row, None)).norm()) < 1e-12 * size
        assert float((J - by_layer(net, x, t, row, 1e-4)).norm()) < 1e-7 * size


@pytest.mark.parametrize("kind", ["tanh", "relu", "identity", "lstm", "gru"])
def test_closed_forms_equal_forward_mode(kind: str) -> None:
    net = Net(kind)
    _, moments = moments_of(net, batch()[0])
    torch.testing.assert_close(inspect.step_jacobian(moments[5], 1), pushed(moments[5], 1), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", ["lstm", "gru", "lstm-norm", "tanh"])
def test_products_equal_autograd_over_many_steps(kind: str) -> None:
    net = Net(kind)
    x, _ = batch()
    track, moments = moments_of(net, x)
    sizes = track.cell.state_sizes()
    s = torch.cat([part[1] for part in moments[2].before])

    def f(s: Tensor) -> Tensor:
        state = tuple(part[None, None] for part in s.split(sizes))
        _, hx = net.rnn(x[2:10, 1:2], state if len(state) > 1 else state[0])
        return torch.cat([part[0, 0] for part in (hx if isinstance(hx, tuple) else (hx,))])

    P = torch.eye(len(s), dtype=s.dtype)
    for moment in moments[2:10]:
        P = inspect.step_jacobian(moment, 1) @ P
    expected = torch.autograd.functional.jacobian(f, s)
    assert float((P - expected).norm() / expected.norm()) < 1e-12


def test_a_linear_network_with_a_normal_matrix_has_the_known_exponents() -> None:
    known = torch.tensor([1.05, 0.98, 0.9, 0.9, 0.7, 0.5], dtype=torch.float64)  # 0.9 twice: a rotation
    Q = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    D = torch.diag(known)
    D[2, 2] = D[3, 3] = 0.9 * math.cos(0.7)
    D[2, 3], D[3, 2] = -0.9 * math.sin(0.7), 0.9 * math.sin(0.7)
    net = Net("identity", H=6)
    with torch.no_grad():
        net.rnn.weight_hh_l0.copy_(Q @ D @ Q.t())
    x, y = batch(T=600, B=2)
    (found,) = inspect.jacobian_spectrum(net, last_loss(net, x, y))
    np.testing.assert_allclose(np.exp(found.exponents), known.numpy(), rtol=1e-6)
    np.testing.assert_allclose(found.singular, np.tile(known.numpy(), (32, 1)), rtol=1e-12)
    np.testing.assert_allclose(sorted(abs(found.eigenvalues[0])), sorted(known.tolist()), rtol=1e-12)
    np.testing.assert_allclose(found.norms["s"], 1.05**found.lags, rtol=1e-10)
    assert found.recurrent is not None
    assert found.recurrent.radius == pytest.approx(1.05)
    assert "explodes" in found.recurrent.statement()


def held(net: Net, f: float, i: float) -> None:
    """Gates held by their biases alone: sigmoid(b) = f exactly for f of 0, 1/2 and 1."""
    bias = {1.0: 800.0, 0.5: 0.0, 0.0: -800.0}
    with torch.no_grad():
        for name, p in net.rnn.named_parameters():
            if name.startswith("weight"):
                p[:10] = 0.0
            if name.startswith("bias"):
                p[:10] = 0.0
        net.rnn.bias_ih_l0[:5] = bias[i]
        net.rnn.bias_ih_l0[5:10] = bias[f]


@pytest.mark.parametrize(("f", "factor"), [(1.0, 1.0), (0.5, 0.5)])
def test_a_held_lstm_keeps_the_gradient_of_c_exactly(f: float, factor: float) -> None:
    net = Net("lstm")
    held(net, f, 0.0)
    x, y = batch(T=40)
    _, moments = moments_of(net, x)
    P = torch.eye(10, dtype=torch.float64)
    for lag, moment in enumerate(moments, 1):
        P = inspect.step_jacobian(moment, 0) @ P
        assert torch.equal(P[5:, 5:], factor**lag * torch.eye(5, dtype=torch.float64))
    (found,) = inspect.jacobian_spectrum(net, last_loss(net, x, y))
    np.testing.assert_allclose(found.norms["cc"], factor**found.lags, rtol=1e-13)


def test_the_cc_block_is_that_of_the_product_and_not_a_product_of_blocks() -> None:
    net = Net("lstm")
    x, y = batch(T=9, B=1)
    (found,) = inspect.jacobian_spectrum(net, last_loss(net, x, y))
    _, moments = moments_of(net, x)
    J = [inspect.step_jacobian(m, 0) for m in moments[:4]]
    whole = torch.linalg.matrix_norm((J[3] @ J[2] @ J[1] @ J[0])[5:, 5:], 2)
    blocks = torch.linalg.matrix_norm(J[3][5:, 5:] @ J[2][5:, 5:] @ J[1][5:, 5:] @ J[0][5:, 5:], 2)
    assert found.norms["cc"][2] == pytest.approx(float(whole), rel=1e-12)  # lags 1, 2, 4
    assert abs(float(whole / blocks) - 1) > 0.05


def test_exponents_add_up_to_the_volume() -> None:
    """The sum over all exponents is the mean of ln |det J|."""
    net = Net("gru")
    x, y = batch(T=50, B=1)
    (found,) = inspect.jacobian_spectrum(net, last_loss(net, x, y))
    _, moments = moments_of(net, x)
    dets = [float(torch.linalg.slogdet(inspect.step_jacobian(m, 0)).logabsdet) for m in moments]
    np.testing.assert_allclose(found.growth[-1].sum(), sum(dets), rtol=1e-10)
    np.testing.assert_allclose(found.exponents.sum(), np.mean(dets[found.warmup :]), rtol=1e-10)
    assert (np.diff(found.exponents) <= 0).all()


def test_resets_and_padding_are_no_steps_of_the_spectrum() -> None:
    net = Net("lstm")
    x, y = batch(T=30)
    resets = torch.zeros(30, 3, dtype=torch.bool)
    resets[4], resets[20, 1] = True, True
    lengths = torch.tensor([30, 30, 9])
    (found,) = inspect.jacobian_spectrum(net, last_loss(net, x, y, resets=resets, lengths=lengths), samples=500)
    places = {(int(t), int(row)) for t, row in found.sampled}
    expected = {(t, row) for t in range(30) for row in range(3)} - {(4, 0), (4, 1), (4, 2), (20, 1)}
    assert places == {(t, row) for t, row in expected if row != 2 or t < 9}
    assert found.growth.shape == (25, 10)  # row 0 from step 5 on
    assert found.rows == 1
    assert found.notes == [f"rnn.l0: singular values at {len(places)} steps that continue a state, instead of 500."]
    short = inspect.jacobian_spectrum(net, last_loss(net, x[:5], y))[0]
    assert short.exponents.size == 0
    assert "no sequence of 8 steps" in short.notes[-1]


def test_layers_and_directions_each_have_their_own() -> None:
    net = Net("gru", num_layers=2, bidirectional=True)
    x, y = batch(T=20)
    found = inspect.jacobian_spectrum(net, last_loss(net, x, y))
    assert [s.layer for s in found] == ["rnn.l0", "rnn.l0_reverse", "rnn.l1", "rnn.l1_reverse"]
    assert all(s.recurrent is None for s in found)


def test_a_large_layer_gets_less_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.inspect.spectrum.LARGEST", 9)
    net = Net("lstm")
    x, y = batch(T=20)
    (found,) = inspect.jacobian_spectrum(net, last_loss(net, x, y))
    assert found.singular.shape == (32, 1)
    assert found.eigenvalues.size == 0
    assert found.norms == {}
    assert found.exponents.size == 10
    assert "above 9" in found.notes[0]
    monkeypatch.undo()
    (whole,) = inspect.jacobian_spectrum(net, last_loss(net, x, y))
    np.testing.assert_allclose(found.singular[:, 0], whole.singular[:, 0], rtol=1e-3)


def test_what_is_said_of_w_hh_is_true() -> None:
    eigen = np.array([0.5 + 0j, -0.4 + 0j])
    assert "suffices for every gradient to vanish" in RecurrentMatrix(eigen, 0.9, 1.0, False, np.ones(1)).statement()
    said = RecurrentMatrix(eigen, 1.3, 1.0, False, np.ones(1)).statement()
    assert "necessary" in said
    assert "not sufficient" in said
    said = RecurrentMatrix(eigen, 4.0, 1.0, True, np.array([4.0, 2.5, 0.6])).statement()
    assert "vanishes" in said
    assert "may grow first, up to 4 times" in said
    assert "grow first" not in RecurrentMatrix(eigen, 0.5, 1.0, True, np.array([0.5, 0.25])).statement()
