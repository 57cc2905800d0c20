"""Products of Jacobians against theory, autograd and differences; LSTMs whose gates are held."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unrolled.lab import held
from unrolled.lab.gradients import measure
from unrolled.lab.jacobians import (
    SCALES,
    lstm_jacobians,
    products,
    recurrent_matrix,
    spectral_radius,
    vanilla_jacobians,
)

KIND_SCALES = [(kind, s) for kind in ("orthogonal", "gaussian") for s in SCALES]


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("kind", "s"), KIND_SCALES)
def test_the_largest_singular_value_is_what_was_asked_for(kind: str, s: float) -> None:
    W = recurrent_matrix(kind, 40, s, torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(W)
    assert float(values[0]) == pytest.approx(s, rel=1e-12)
    if kind == "orthogonal":
        assert float(values[-1]) == pytest.approx(s, rel=1e-12)
        assert spectral_radius(W) == pytest.approx(s, rel=1e-12)
    else:  # the circular law: about half
        assert 0.4 * s < spectral_radius(W) < 0.7 * s


@pytest.mark.parametrize("s", SCALES)
def test_a_linear_orthogonal_network_grows_by_ln_s_a_step(s: float) -> None:
    W = recurrent_matrix("orthogonal", 16, s, torch.Generator().manual_seed(2))
    found = products([W] * 1000, 16)  # 2^1000 is near the end of float64, 0.5^1000 too
    steps = torch.arange(1, 1001, dtype=torch.float64)
    assert torch.allclose(found.log_norm, steps * math.log(s), atol=1e-10)
    assert torch.allclose(found.rates, torch.full((16,), math.log(s), dtype=torch.float64), atol=1e-12)


def test_every_rate_of_a_normal_matrix_is_found_not_the_largest_alone() -> None:
    values = torch.tensor([1.5, 1.0, 0.3, 1e-3], dtype=torch.float64)
    Q, _ = torch.linalg.qr(drawn(4, 4))
    W = Q @ torch.diag(values) @ Q.t()
    found = products([W] * 3000, 4)  # a plain product has lost all but the first long ago
    assert torch.allclose(found.rates, values.log(), atol=2e-3)
    assert float(found.log_norm[-1] - found.log_norm[-1001]) / 1000 == pytest.approx(math.log(1.5), abs=1e-10)


def test_a_linear_gaussian_network_grows_by_its_spectral_radius_not_its_singular_value() -> None:
    row = measure("gaussian", 1.1, "linear", 0.0, 400)
    assert row.rate == pytest.approx(math.log(row.radius), abs=2e-3)
    assert row.verdict == "vanishes"


def test_products_are_the_derivative_that_autograd_and_differences_give() -> None:
    H, k = 5, 7
    W, inputs, h = recurrent_matrix("gaussian", H, 1.5, torch.Generator().manual_seed(4)), drawn(k, H), drawn(H, seed=2)

    def last(start: Tensor) -> Tensor:
        for t in range(k):
            start = torch.tanh(W @ start + inputs[t])
        return start

    exact = torch.autograd.functional.jacobian(last, h)
    whole = torch.eye(H, dtype=torch.float64)
    for J in vanilla_jacobians(W, k, "tanh", lambda t: inputs[t], h):
        whole = J @ whole
    assert torch.allclose(whole, exact, rtol=1e-12, atol=1e-15)
    step = 1e-6
    columns = [(last(h + step * e) - last(h - step * e)) / (2 * step) for e in torch.eye(H, dtype=torch.float64)]
    assert torch.allclose(whole, torch.stack(columns, 1), rtol=1e-7, atol=1e-9)
    norms = products(vanilla_jacobians(W, k, "tanh", lambda t: inputs[t], h), H).log_norm
    assert float(norms[-1].exp()) == pytest.approx(float(torch.linalg.matrix_norm(exact, 2)), rel=1e-12)


@pytest.mark.parametrize("kind", ["orthogonal", "gaussian"])
@pytest.mark.parametrize("drive", [0.0, 4.0])
def test_below_one_everything_vanishes_at_least_as_fast_as_sigma_max_to_the_k(kind: str, drive: float) -> None:
    for s in (0.5, 0.9):
        norms = measure(kind, s, "tanh", drive, 100).log10_norm
        bound = [(k + 1) * math.log10(s) for k in range(100)]  # sigma_max^k is a bound, since max |tanh'| is 1
        assert all(n <= b + 1e-9 for n, b in zip(norms, bound, strict=True))


def test_a_driven_tanh_network_of_sigma_two_vanishes_while_the_undriven_one_explodes() -> None:
    assert measure("orthogonal", 2.0, "tanh", 0.0, 200).rate > 0.05
    assert measure("orthogonal", 2.0, "tanh", 4.0, 200).rate < -0.1
    assert measure("orthogonal", 2.0, "linear", 0.0, 200).rate == pytest.approx(math.log(2), abs=1e-10)


def test_a_product_that_is_zero_is_told_as_minus_infinity() -> None:
    found = products([torch.zeros(2, 2, dtype=torch.float64)] * 2, 2)
    assert found.log_norm.tolist() == [-math.inf, -math.inf]
    with pytest.raises(ValueError, match="no Jacobian"):
        products([], 2)
    with pytest.raises(ValueError, match="kind='uniform'"):
        recurrent_matrix("uniform", 2, 1.0, torch.Generator())


@pytest.mark.parametrize("k", [1, 2, 17, 300])
def test_the_held_lstm_keeps_or_halves_to_the_bit(k: int) -> None:
    c, eye = drawn(6), torch.eye(6, dtype=torch.float64)
    kept = held.held_lstm(6, held.OPEN, held.SHUT, 1)
    assert torch.equal(held.cell_gradient(kept, c, k), eye)
    halved = held.held_lstm(6, 0.0, held.SHUT, 1)
    assert torch.equal(held.cell_gradient(halved, c, k), eye * 0.5**k)


def test_the_held_lstm_has_a_path_through_h_that_only_the_gate_shuts() -> None:
    half_open = held.held_lstm(6, held.OPEN, 0.0, 1)  # i = 1/2 lets h through: the identity is gone
    assert not torch.allclose(held.cell_gradient(half_open, drawn(6), 5), torch.eye(6, dtype=torch.float64), atol=1e-3)


@pytest.mark.parametrize("k", [1, 2, 10, 200])
def test_the_doubling_lstm_explodes_although_no_gate_is_above_one(k: int) -> None:
    step, zero = held.doubling_lstm(3), torch.zeros(3, dtype=torch.float64)
    assert torch.equal(held.cell_gradient(step, zero, k), torch.eye(3, dtype=torch.float64) * 2.0 ** (k - 1))


def test_the_joint_jacobians_of_an_lstm_multiply_to_the_derivative() -> None:
    H, k = 3, 6
    step, h, c = held.random_lstm(H, 1.5, 1.0, 2), drawn(H), drawn(H, seed=2)

    def last(s: Tensor) -> Tensor:
        h, c = s[:H], s[H:]
        for _ in range(k):
            h, c = step(h, c)
        return torch.cat((h, c))

    exact = torch.autograd.functional.jacobian(last, torch.cat((h, c)))
    found = products(lstm_jacobians(step, h, c, k), 2 * H).log_norm
    assert float(found[-1].exp()) == pytest.approx(float(torch.linalg.matrix_norm(exact, 2)), rel=1e-12)
