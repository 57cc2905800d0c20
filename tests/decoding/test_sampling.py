"""Law 8 for sampling, the filters against a naive twin, and the draw to the bit."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from unrolled.decoding.config import SampleConfig
from unrolled.decoding.sampling import Uniforms, draw, filter_logits, generate
from unrolled.decoding.text import until
from unrolled.errors import UserError

V = 11


class Counting:
    """A small recurrent model in float64 that counts its steps."""

    def __init__(self) -> None:
        g = torch.Generator().manual_seed(3)
        self.W = torch.randn(V, V, generator=g, dtype=torch.float64).requires_grad_()
        self.E = torch.randn(V, V, generator=g, dtype=torch.float64)
        self.steps = 0

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.steps += 1
        h = torch.tanh(state @ self.W + self.E[ids])
        return 2 * h @ self.W, h


def sample(config: SampleConfig, index: int = 0, model: Counting | None = None, **more: Any) -> list[int]:
    model = model or Counting()
    first, state = model.step(torch.tensor([0]), torch.zeros(1, V, dtype=torch.float64))
    return list(generate(model, state, first, config, index=index, **more))


# ---- law 8


def test_temperature_zero_is_greedy() -> None:
    model = Counting()
    logits, state = model.step(torch.tensor([0]), torch.zeros(1, V, dtype=torch.float64))
    greedy = []
    for _ in range(30):
        greedy.append(int(logits.argmax()))
        logits, state = model.step(torch.tensor(greedy[-1:]), state)
    for config in (
        SampleConfig(length=30, temperature=0),
        SampleConfig(length=30, temperature=0, top_k=3, top_p=0.1, min_p=0.9, seed=5),
        SampleConfig(length=30, temperature=5e-324),  # not a division into infinities
        SampleConfig(length=30, top_k=1),
        SampleConfig(length=30, min_p=1.0),
    ):
        assert sample(config) == greedy


def test_more_samples_never_change_the_first() -> None:
    config = SampleConfig(length=40, seed=7)
    alone = [sample(config, index=0), sample(config, index=1)]
    together = [sample(config, index=i) for i in range(6)]
    assert together[:2] == alone
    assert len({tuple(s) for s in together}) == 6
    # ... nor when they are written in turns.
    in_turns = zip(*(run(config, i) for i in range(3)), strict=True)
    assert [list(s) for s in zip(*in_turns, strict=True)] == together[:3]


def run(config: SampleConfig, index: int) -> Any:
    model = Counting()
    first, state = model.step(torch.tensor([0]), torch.zeros(1, V, dtype=torch.float64))
    return generate(model, state, first, config, index=index)


def test_same_seed_same_text_and_no_other_random_stream_is_touched() -> None:
    before = (torch.get_rng_state(), random.getstate())
    a, b = (sample(SampleConfig(length=50, seed=2)) for _ in range(2))
    assert a == b != sample(SampleConfig(length=50, seed=3))
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()


def test_a_longer_sample_begins_with_the_shorter_one() -> None:
    assert sample(SampleConfig(length=50))[:20] == sample(SampleConfig(length=20))


# ---- the draw


def test_uniform_numbers_are_golden() -> None:
    """Philox 4x64, key (seed, index), counter from 1: another implementation can give the same."""
    u = Uniforms(1, 0)
    first = [u.next() for _ in range(3)]
    assert first == [0.3035680343067586, 0.8487087496857769, 0.1561347780434731]
    u = Uniforms(1, 1)
    assert u.next() not in first
    assert Uniforms(1 << 32 | 1, 0).next() != first[0]  # torch's generator would drop the upper half
    many = [u.next() for _ in range(4000)]
    assert min(many) >= 0
    assert max(many) < 1
    assert abs(sum(many) / 4000 - 0.5) < 0.02


class Fixed(Uniforms):
    """Hands out the numbers it was given."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def next(self) -> float:
        return self.numbers.pop(0)


def test_the_draw_is_the_first_whose_sum_passes_u() -> None:
    p = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0], dtype=torch.float64).log()
    top = math.nextafter(1.0, 0.0)
    cases = {0.0: 1, math.nextafter(0.25, 0): 1, 0.25: 3, math.nextafter(0.75, 0): 3, 0.75: 4, top: 4}
    for u, wanted in cases.items():
        assert draw(p[None], Fixed(u)).tolist() == [wanted], u
    rows = p.repeat(len(cases), 1)
    assert draw(rows, [Fixed(u) for u in cases]).tolist() == list(cases.values())
    assert draw(rows, Fixed(*cases)).tolist() == list(cases.values())


def test_the_sum_is_kept_in_float64() -> None:
    log_p = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64).log()
    edge, total = log_p.exp().cumsum(-1).tolist()
    assert total == 1.0
    assert edge != float(torch.tensor(edge).float())
    assert draw(log_p[None], Fixed(edge)).item() == 1
    assert draw(log_p[None], Fixed(math.nextafter(edge, 0))).item() == 0


def test_rounding_up_to_the_total_never_draws_the_impossible() -> None:
    top = math.nextafter(1.0, 0.0)
    totals = set()
    for n in range(1, 200):  # totals at, a little below and above 1, all with impossible units at the end
        p = torch.cat([torch.full((n,), 1.0 / n, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)])
        totals.add(float(p.log().exp().cumsum(-1)[-1]))
        assert draw(p.log()[None], Fixed(top)).item() < n
    assert min(totals) < 1 < max(totals)


def test_the_draw_is_float64_and_agrees_with_a_loop() -> None:
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(500, 50, generator=g)
    config = SampleConfig(temperature=0.7, top_p=0.9)
    log_p = filter_logits(logits, config)
    assert log_p.dtype == torch.float64
    drawn = draw(log_p, [Uniforms(3, i) for i in range(500)])
    for i in range(500):
        cumulative = list(itertools.accumulate(log_p[i].exp().tolist()))
        u = Uniforms(3, i).next() * cumulative[-1]
        assert drawn[i] == next(k for k, c in enumerate(cumulative) if c > u)


def test_frequencies_follow_the_probabilities() -> None:
    log_p = filter_logits(torch.tensor([[2.0, 1.0, 0.0, -1.0]]), SampleConfig())
    source, counts = Uniforms(1), torch.zeros(4)
    for _ in range(4000):
        counts[draw(log_p, source)] += 1
    assert ((counts / 4000 - log_p.exp()[0]).abs() < 0.025).all()


# ---- the filters


def naive(logits: list[float], config: SampleConfig, used: set[int]) -> list[float]:
    """The five steps in words, one unit at a time."""
    x = list(logits)
    for i in used:
        x[i] = x[i] / config.repetition_penalty if x[i] > 0 else x[i] * config.repetition_penalty
    if config.temperature == 0:
        return [1.0 if i == x.index(max(x)) else 0.0 for i in range(len(x))]
    x = [v / config.temperature for v in x]
    p = normalised([math.exp(v - max(x)) for v in x])
    if config.top_k is not None:
        best = sorted(range(len(p)), key=lambda i: (-p[i], i))[: config.top_k]
        p = normalised([v if i in best else 0.0 for i, v in enumerate(p)])
    if config.top_p is not None:
        kept: list[int] = []
        for i in sorted(range(len(p)), key=lambda i: (-p[i], i)):
            if sum(p[k] for k in kept) < config.top_p:
                kept.append(i)
        p = normalised([v if i in kept else 0.0 for i, v in enumerate(p)])
    if config.min_p is not None:
        p = normalised([v if v >= config.min_p * max(p) else 0.0 for v in p])
    return p


def normalised(p: list[float]) -> list[float]:
    return [v / sum(p) for v in p]


def test_filters_agree_with_the_naive_twin() -> None:
    dice = random.Random(1)
    for _ in range(400):
        config = SampleConfig(
            temperature=dice.choice([0, 0.3, 1.0, 2.5]),
            top_k=dice.choice([None, 1, 3, V, 100]),
            top_p=dice.choice([None, 1e-6, 0.4, 0.9, 1.0]),
            min_p=dice.choice([None, 0.0, 0.2, 1.0]),
            repetition_penalty=dice.choice([1.0, 1.3, 0.8]),
        )
        rows = [[dice.gauss(0, 2) for _ in range(V)] for _ in range(3)]
        used = [{i for i in range(V) if dice.random() < 0.3} for _ in range(3)]
        mask = torch.tensor([[i in u for i in range(V)] for u in used])
        found = filter_logits(torch.tensor(rows, dtype=torch.float64), config, mask).exp()
        wanted = torch.tensor([naive(r, config, u) for r, u in zip(rows, used, strict=True)], dtype=torch.float64)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-15, msg=str(config))
        assert torch.equal(found > 0, wanted > 0)


def test_equal_scores_keep_their_order() -> None:
    flat = torch.zeros(1, 6)
    for config in (SampleConfig(top_k=2), SampleConfig(top_p=0.3)):
        assert (filter_logits(flat, config).exp() > 0).tolist() == [[True, True, False, False, False, False]]
    assert filter_logits(flat, SampleConfig(temperature=0)).exp()[0, 0] == 1


def test_impossible_units_stay_impossible() -> None:
    logits = torch.tensor([[0.0, -math.inf, 1.0]])
    for config in (
        SampleConfig(),
        SampleConfig(top_k=3),
        SampleConfig(top_p=0.999),
        SampleConfig(repetition_penalty=2),
    ):
        found = filter_logits(logits, config, torch.ones(1, 3, dtype=torch.bool)).exp()
        assert found[0, 1] == 0
        assert abs(found.sum() - 1) < 1e-12


def test_half_precision_is_filtered_in_float64() -> None:
    logits = torch.randn(2, V, generator=torch.Generator().manual_seed(1))
    half = logits.bfloat16()
    assert torch.equal(
        filter_logits(half, SampleConfig(top_p=0.5)), filter_logits(half.double(), SampleConfig(top_p=0.5))
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_diverged_model_is_said_in_one_line(bad: float) -> None:
    with pytest.raises(UserError, match="not finite, its training has diverged"):
        filter_logits(torch.tensor([[0.0, bad]]), SampleConfig())
    with pytest.raises(UserError, match="not finite"):
        filter_logits(torch.full((1, 3), -math.inf), SampleConfig(temperature=0))


# ---- generate


def test_repetition_penalty_reaches_the_prompt_and_what_was_written() -> None:
    class Flat:
        def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
            return torch.arange(V, 0, -1.0)[None], state

    config = SampleConfig(length=V - 2, temperature=0, repetition_penalty=1000.0)
    first = torch.arange(V, 0, -1.0)[None]
    assert list(generate(Flat(), None, first, config, used=[0, 1])) == list(range(2, V))
    assert set(generate(Flat(), None, first, dataclasses.replace(config, repetition_penalty=1.0), used=[0])) == {0}


def test_the_model_steps_only_when_asked_and_keeps_gradients_alone() -> None:
    model = Counting()
    units = run_with(model, SampleConfig(length=5))
    assert model.steps == 1
    next(units)
    assert model.steps == 1
    next(units)
    assert model.steps == 2
    assert torch.is_grad_enabled()
    assert len(list(units)) == 3
    assert model.steps == 5  # the last unit's scores are nobody's
    assert sample(SampleConfig(length=0)) == []


def run_with(model: Counting, config: SampleConfig) -> Any:
    first, state = model.step(torch.tensor([0]), torch.zeros(1, V, dtype=torch.float64))
    return generate(model, state, first, config)


def test_stop_ends_before_the_unit() -> None:
    config = SampleConfig(length=40, seed=4)
    whole = sample(config)
    end = whole[6]
    assert sample(config, stop=lambda unit: unit == end) == whole[: whole.index(end)]


# ---- ending at a text


def test_until_agrees_with_find_wherever_the_pieces_are_cut() -> None:
    text = "aabaabaaabaac"
    for stop in ("aac", "aabaaa", "c", "x", "aabaab", "aaba", "", None):
        wanted = text[: text.find(stop)] if stop and stop in text else text
        for cuts in itertools.combinations(range(1, len(text)), 3):
            pieces = [text[a:b] for a, b in itertools.pairwise((0, *cuts, len(text)))]
            assert "".join(until(pieces, stop)) == wanted, (stop, cuts)
        assert "".join(until(text, stop)) == wanted


def test_until_holds_back_no_more_than_it_must_and_then_stops_reading() -> None:
    assert list(until(["ab", "c\n", "x\n\ny", "z"], "\n\n")) == ["ab", "c", "\nx"]
    source = iter("abSTOPcd")
    assert "".join(until(source, "STOP")) == "ab"
    assert "".join(source) == "cd"
