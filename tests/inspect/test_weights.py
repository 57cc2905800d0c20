"""Tensors, the log of a run, loss by kind of character, and the gradient that truncation leaves out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.inspect.networks import Net
from unrolled import inspect
from unrolled.errors import UserError
from unrolled.inspect.kinds import kind_of, unit_losses
from unrolled.inspect.subject import Text
from unrolled.inspect.tensors import history
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel


def language(cell: str = "lstm", seed: int = 0, **options) -> LanguageModel:
    torch.manual_seed(seed)
    model = LanguageModel(7, LanguageConfig(cell=cell, hidden=6, embedding=4, **options)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2.0)
    return model


def test_tensors_are_described() -> None:
    net, before = Net("gru", seed=1), Net("gru", seed=2)
    found = {w.name: w for w in inspect.weights(net, before)}
    assert list(found) == [n for n, _ in net.named_parameters()]
    w, p = found["rnn.weight_hh_l0"], net.rnn.weight_hh_l0.detach()
    assert w.shape == (15, 5)
    assert w.norm == pytest.approx(float(p.norm()))
    assert w.spectral == pytest.approx(float(torch.linalg.matrix_norm(p, 2)), rel=1e-9)
    assert w.std == pytest.approx(float(p.std(correction=0)))
    assert w.largest == pytest.approx(float(p.abs().max()))
    old = before.rnn.weight_hh_l0.detach()
    assert w.change == pytest.approx(float((p - old).norm() / old.norm()))
    assert (int(w.counts.sum()), len(w.edges)) == (75, 41)
    assert math.isnan(inspect.weights(net, net)[0].change)
    assert math.isnan(found["head.bias"].spectral)
    with torch.no_grad():
        net.head.weight[0, 0] = math.inf
    with pytest.raises(UserError, match=r"head\.weight: 1 of 30 values are not finite \(infinity\)"):
        inspect.weights(net)


def test_the_log_of_a_run_is_weighted_by_its_updates(tmp_path: Path) -> None:
    assert history(tmp_path) is None
    lines = [
        {"step": 1, "grad_norm": 4.0, "clipped": 1.0, "grad_norm_after": 1.0},
        {"step": 5, "dev_loss": 2.0},
        {"step": 10, "grad_norm": 2.0, "clipped": 0.5},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = history(tmp_path)
    assert found is not None
    assert found.step.tolist() == [1, 10]
    assert found.before.tolist() == [4.0, 2.0]
    assert found.after[0] == 1.0
    assert math.isnan(found.after[1])
    assert found.share == pytest.approx((1 + 9 * 0.5) / 10)


def test_kinds_of_units() -> None:
    units = ["a", "ß", "Q", "Word", "7", " ", "\t", "\n", ";", "ab1", "12", "\\xff", "--"]
    assert [kind_of(u).split()[0] for u in units] == [
        "lower-case", "lower-case", "upper-case", "upper-case", "digits", "spaces", "spaces", "newlines", "punctuation",
        "lower-case", "digits", "lower-case", "other",
    ]  # fmt: skip


def carried_losses(model: LanguageModel, ids: Tensor, fresh: Tensor | None) -> Tensor:
    resets = None if fresh is None else fresh[:-1, None]
    scores, _ = model(ids[:-1, None], None, resets=resets)
    return F.cross_entropy(scores[:, 0], ids[1:], reduction="none").detach()


@pytest.mark.parametrize("length", [2, 30, 150, 1301])
def test_unit_losses_are_those_of_one_carried_stream(length: int) -> None:
    """A reset 50 units before each stretch makes the stretches' own state exactly the carried one."""
    ids = torch.randint(0, 7, (length,))
    fresh = torch.arange(length) % 50 == 0
    model = language()
    torch.testing.assert_close(
        unit_losses(model, ids, fresh).double(), carried_losses(model, ids, fresh), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(  # without resets 200 units of warming up are enough for this one
        unit_losses(model, ids).double(), carried_losses(model, ids, None), rtol=1e-5, atol=1e-5
    )


def test_loss_by_kind_adds_up() -> None:
    letters = "abA1 \n;"
    ids = torch.randint(0, 7, (400,))
    text = Text(ids, [letters[k] for k in ids], list(letters), ids)
    model = language("gru")
    rows = inspect.loss_by_kind(model, text)
    losses = carried_losses(model, ids, None)
    assert [r.kind for r in rows] == [k for k in ("lower-case letters", "upper-case letters", "digits", "spaces",
                                                  "newlines", "punctuation")]  # fmt: skip
    assert sum(r.units for r in rows) == 399
    assert sum(r.share for r in rows) == pytest.approx(1.0)
    assert rows[0].nats == pytest.approx(float(losses[ids[1:] < 2].mean()), rel=1e-5)
    assert inspect.loss_by_kind(model, Text(ids[:1], ["a"], list(letters), ids)) == []


class Scalar(nn.Module):
    """``s_t = a s_{t-1} + x_t``, scores (s_t, 0): truncation errors of it are geometric sums, written down by hand."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))

    def forward(self, ids: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        s = torch.zeros(ids.shape[1], dtype=torch.float64) if state is None else state
        rows = []
        for x in ids:
            s = self.a * s + x
            rows.append(torch.stack((s, torch.zeros_like(s)), -1))
        return torch.stack(rows), s


def test_truncation_of_a_scalar_recurrence_is_a_cut_geometric_sum() -> None:
    a, T, k = 0.8, 12, 3
    ids = torch.ones(T + 1, 1, dtype=torch.long)
    s, values = 0.0, [0.0]
    for _ in range(T):
        s = a * s + 1
        values.append(s)

    def gradient(k: int) -> float:
        """d loss_T / d a by hand: the loss of target 1 is ln(1 + e^s), so d/ds is sigmoid(s)."""
        reach = range(T - k, T)
        return 1 / (1 + math.exp(-values[T])) * sum(a ** (T - 1 - t) * values[t] for t in reach)

    (found,) = inspect.truncation_error(Scalar(a), ids, [k], 1)
    full, short = gradient(T), gradient(k)
    assert found.relative == pytest.approx((full - short) / full, rel=1e-12)
    assert found.cosine == pytest.approx(1.0)
    assert (found.k, found.reach) == (3, 12)
    assert math.isnan(found.noise)


@pytest.mark.parametrize("k", [3, 4, 6, 8, 20])
def test_truncation_equals_a_loop_that_detaches(k: int) -> None:
    """The gradient of updates of k steps, against one graph over a loop of single steps with a cut where they are."""
    model = language()
    ids = torch.randint(0, 7, (21, 4))
    T, scored = 20, 6

    def loop(cut: int) -> Tensor:
        state, total = None, torch.zeros((), dtype=torch.float64)
        for t in range(T):
            if state is not None and (T - t) % cut == 0:
                state = tuple(s.detach() for s in state)
            scores, state = model(ids[t : t + 1], state)
            if t >= T - scored:
                total = total + F.cross_entropy(scores[0], ids[t + 1], reduction="mean") / scored
        grads = torch.autograd.grad(total, list(model.parameters()))
        return torch.cat([g.flatten() for g in grads])

    (found,) = inspect.truncation_error(model, ids, [k], scored)
    short, full = loop(k), loop(T)
    assert found.relative == pytest.approx(float((short - full).norm() / full.norm()), rel=1e-9, abs=1e-14)
    assert found.cosine == pytest.approx(float(F.cosine_similarity(short, full, dim=0)), rel=1e-12)
    inner = torch.cat([torch.full((p.numel(),), n.startswith("rnn.")) for n, p in model.named_parameters()])
    expected = float((short - full)[inner].norm() / full[inner].norm())
    assert found.recurrent_relative == pytest.approx(expected, rel=1e-9, abs=1e-14)
    if k < T:
        assert found.recurrent_relative > found.relative > 0
    assert -1 <= found.noise < 1


def test_cuts_outside_the_text_are_refused() -> None:
    with pytest.raises(ValueError, match="cuts holds 9, expected 1 to T = 5"):
        inspect.truncation_error(language(), torch.zeros(6, 2, dtype=torch.long), [9], 2)
