"""Schedules, optimisers, clipping, averages: each against a few lines of numpy in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from unrolled.errors import UserError
from unrolled.training.average import Average
from unrolled.training.clipping import Clipper, clip_norm, clip_value, total_norm
from unrolled.training.config import TrainConfig
from unrolled.training.optimiser import MinCharRnnAdagrad, build_optimiser
from unrolled.training.schedule import CALIBRATION, Schedule

# Schedules.


def test_warm_up_rises_to_the_peak() -> None:
    s = Schedule("constant", 4, 0.0)
    assert [s.factor(k, 100) for k in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert Schedule("constant", 0, 0.0).factor(0, 100) == 1.0


@pytest.mark.parametrize("warmup", [0, 5, 60])
def test_cosine_falls_from_the_peak_to_the_final_rate(warmup: int) -> None:
    s, total, start = Schedule("cosine", warmup, 0.1), 200, max(warmup, CALIBRATION)
    rates = [s.factor(k, total) for k in range(total + 1)]
    assert rates[max(warmup, 1) - 1 : start + 1] == [1.0] * (start + 2 - max(warmup, 1))
    assert rates[-1] == pytest.approx(0.1)
    assert rates[(start + total) // 2] == pytest.approx(0.55)
    for k in range(start, total):
        assert rates[k] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * (k - start) / (total - start))))


def test_the_rate_knows_no_total_before_the_calibration_ends() -> None:
    for warmup in (0, 7, 100):
        s = Schedule("cosine", warmup, 0.0)
        for k in range(max(warmup, CALIBRATION) + 1):
            assert s.factor(k, None) == s.factor(k, 150) == s.factor(k, 10**6)


def test_a_refit_has_no_jump_and_a_replan_has() -> None:
    s = Schedule("cosine", 0, 0.0)
    before = s.factor(500, 1000)
    s.refit(500, 1000)
    assert s.factor(500, 700) == before
    assert s.factor(600, 700) == pytest.approx((1 + math.cos(math.pi * (s.anchor_progress + 1) / 2)) / 2)
    assert s.factor(700, 700) == 0.0
    s.replan()
    assert s.factor(500, 2000) == Schedule("cosine", 0, 0.0).factor(500, 2000)


# Optimisers.

SETTINGS: dict[str, dict[str, Any]] = {
    "adamw": {"weight_decay": 0.1},
    "adam": {"weight_decay": 0.1},
    "rmsprop": {"momentum": 0.5},
    "sgd": {"momentum": 0.9},
    "adagrad": {},
    "min-char-rnn-adagrad": {},
}


def reference(kind: str, c: TrainConfig, w: np.ndarray, grads: list[np.ndarray]) -> np.ndarray:
    """Each optimiser as its paper or program writes it."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    decay = c.weight_decay if w.ndim > 1 else 0.0
    for t, g in enumerate(grads, 1):
        if kind in ("adam", "adamw"):
            if kind == "adamw":
                w = w * (1 - c.lr * decay)
            else:
                g = g + decay * w
            m = c.beta1 * m + (1 - c.beta1) * g
            v = c.beta2 * v + (1 - c.beta2) * g * g
            w = w - c.lr * (m / (1 - c.beta1**t)) / (np.sqrt(v / (1 - c.beta2**t)) + 1e-8)
        elif kind == "rmsprop":
            v = c.beta2 * v + (1 - c.beta2) * g * g
            m = c.momentum * m + g / (np.sqrt(v) + 1e-8)
            w = w - c.lr * m
        elif kind == "sgd":
            m = g if t == 1 else c.momentum * m + g
            w = w - c.lr * m
        elif kind == "adagrad":
            v = v + g * g
            w = w - c.lr * g / (np.sqrt(v) + 1e-10)
        else:
            v = v + g * g
            w = w - c.lr * g / np.sqrt(v + 1e-8)
    return w


@pytest.mark.parametrize("kind", SETTINGS)
def test_optimisers_follow_their_equations(kind: str) -> None:
    c = TrainConfig(steps=1, optimiser=kind, lr=0.03, **SETTINGS[kind])
    torch.manual_seed(3)
    model = nn.Linear(5, 4).double()
    frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    model.register_parameter("frozen", frozen)
    start = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}
    optimiser = build_optimiser(model, c)
    grads: dict[str, list[np.ndarray]] = {"weight": [], "bias": []}
    for _ in range(12):
        for n in grads:
            p = model.get_parameter(n)
            p.grad = torch.randn_like(p)
            grads[n].append(p.grad.numpy().copy())
        optimiser.step()
    for n, gs in grads.items():
        expected = reference(kind, c, start[n], gs)
        np.testing.assert_allclose(model.get_parameter(n).detach().numpy(), expected, rtol=1e-12, atol=1e-13)
    assert torch.equal(frozen, torch.ones(3))


def test_the_two_adagrads_differ_tenfold_at_a_small_first_gradient() -> None:
    moved = []
    for kind in (MinCharRnnAdagrad, torch.optim.Adagrad):
        p = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        p.grad = torch.full_like(p, 1e-5)
        kind([p], lr=0.1).step()
        moved.append(-p.item())
    assert moved[0] == pytest.approx(0.1 * 1e-5 / math.sqrt(1e-10 + 1e-8), rel=1e-12)
    assert moved[1] / moved[0] == pytest.approx(10.05, rel=1e-3)


def test_fused_optimisers_give_the_same_on_every_run() -> None:
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        model = nn.Linear(33, 17)
        optimiser = build_optimiser(model, TrainConfig(steps=1))
        for _ in range(5):
            for p in model.parameters():
                p.grad = torch.randn_like(p)
            optimiser.step()
        found.append(model.weight.detach().clone())
    assert torch.equal(*found)


def test_contradictions_are_refused() -> None:
    with pytest.raises(UserError, match="--momentum"):
        build_optimiser(nn.Linear(2, 2), TrainConfig(steps=1, momentum=0.5))
    with pytest.raises(UserError, match="--weight-decay"):
        build_optimiser(nn.Linear(2, 2), TrainConfig(steps=1, weight_decay=0.5, optimiser="min-char-rnn-adagrad"))


# Clipping.


def test_clipping_by_norm() -> None:
    grads = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert float(total_norm(grads)) == 5.0
    assert not clip_norm(grads, 5.0, 5.0)
    assert grads[0].tolist() == [3.0, 0.0]
    assert clip_norm(grads, 1.0, 5.0)
    assert float(total_norm(grads)) == pytest.approx(1.0, rel=1e-6)
    assert grads[0][0].item() == pytest.approx(0.6, rel=1e-6)


def test_clipping_by_value() -> None:
    grads = [torch.tensor([-9.0, 2.0, 5.0]), torch.tensor([[7.0]])]
    clip_value(grads, 5.0)
    assert [g.tolist() for g in grads] == [[-5.0, 2.0, 5.0], [[5.0]]]


def test_clipping_by_both_says_whether_anything_was_cut() -> None:
    def clip(values: list[float], by_norm: float | None, by_value: float | None) -> tuple[bool, list[float], float]:
        grads = [torch.tensor(values, dtype=torch.float64)]
        clipper = Clipper(by_norm, by_value)
        nats, norm = clipper.measure(torch.tensor(1.5), grads)
        assert nats == 1.5
        return clipper.clip(grads, norm), grads[0].tolist(), norm

    assert clip([3.0, 4.0], 0.0, None) == (False, [3.0, 4.0], 5.0)
    assert clip([3.0, 4.0], None, 4.5) == (False, [3.0, 4.0], 5.0)  # the norm is larger, no element is
    assert clip([3.0, 4.0], None, 3.5) == (True, [3.0, 3.5], 5.0)
    cut, values, norm = clip([30.0, 4.0], 1.0, 3.0)
    assert cut
    assert norm == math.hypot(30, 4)
    assert values == pytest.approx([math.sqrt(0.5)] * 2, rel=1e-6)


# Averages.


def test_the_average_follows_its_equation() -> None:
    torch.manual_seed(1)
    model = nn.Linear(3, 2).double()
    average = Average(model, 0.9)
    expected = model.weight.detach().numpy().copy()
    for n in range(1, 120):
        with torch.no_grad():
            model.weight.add_(torch.randn_like(model.weight))
        average.update()
        d = min(0.9, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * model.weight.detach().numpy()
    np.testing.assert_allclose(average.weights["weight"].numpy(), expected, rtol=1e-12)
    own = model.weight.detach().clone()
    with average.inside():
        assert torch.equal(model.weight, average.weights["weight"])
    assert torch.equal(model.weight, own)
