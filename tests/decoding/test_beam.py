"""Law 8 for beam search: beam 1 is greedy, a wide one exhaustive, n-best and neighbours change nothing."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import unrolled
from unrolled.decoding.beam import Hypothesis, beam_search, coverage, length_penalty
from unrolled.decoding.config import BeamConfig
from unrolled.errors import UserError

V, H, T, END = 3, 6, 4, 2


class Tiny:
    """A random LSTM over V units in float64; the units' scores are sharp enough to differ everywhere. Its attention is
    a function of its state."""

    def __init__(self, V: int = V, seed: int = 1) -> None:
        torch.manual_seed(seed)
        self.V = V
        self.rnn = unrolled.LSTM(V + 1, H).double()
        self.head = 4 * torch.randn(H, V).double()
        self.look = 3 * torch.randn(H, 5).double()
        self.rows: list[int] = []

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.rows.append(len(ids))
        output, state = self.rnn(ids[None], state)
        return output[0] @ self.head, state

    def attention(self, state: Any) -> Tensor:
        return (state[0][-1] @ self.look).softmax(-1)

    def states(self, B: int) -> Any:
        torch.manual_seed(9)
        return torch.randn(1, B, H).double(), torch.randn(1, B, H).double()


def first(model: Tiny, B: int) -> Tensor:
    return torch.full((B,), model.V)


def search(model: Tiny, B: int = 1, **changes: Any) -> list[list[Hypothesis]]:
    more = {"max_length": T, "attention": model.attention} | {
        k: changes.pop(k) for k in list(changes) if k in ("max_length", "lengths", "attention")
    }
    return beam_search(model, model.states(B), first(model, B), BeamConfig(**changes), end=END, **more)


def log_p(model: Tiny, b: int, B: int, ids: list[int]) -> float:
    """The log-probability of ``ids`` for row b, teacher-forced, step by step."""
    state = unrolled.select(model.states(B), [b])
    total, unit = 0.0, model.V
    for wanted in ids:
        logits, state = model.step(torch.tensor([unit]), state)
        total += float(logits[0].log_softmax(-1)[wanted].detach())
        unit = wanted
    return total


def everything(model: Tiny, b: int, B: int) -> list[tuple[bool, float, list[int]]]:
    """Every sequence of at most T units: whether it was cut, minus its log-probability, its ids; best first."""
    found = []
    others = [unit for unit in range(model.V) if unit != END]
    for n in range(T):
        for ids in itertools.product(others, repeat=n):
            found.append((False, -log_p(model, b, B, [*ids, END]), list(ids)))
    for ids in itertools.product(others, repeat=T):
        found.append((True, -log_p(model, b, B, list(ids)), list(ids)))
    return sorted(found)


def greedy(model: Tiny, b: int, B: int, length: int = T) -> list[int]:
    state, ids = unrolled.select(model.states(B), [b]), []
    unit = model.V
    for _ in range(length):
        logits, state = model.step(torch.tensor([unit]), state)
        unit = int(logits[0].argmax())
        if unit == END:
            break
        ids.append(unit)
    return ids


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    model = Tiny(V=7, seed=seed)
    found = search(model, 6, beam=1, max_length=9)
    for b, row in enumerate(found):
        assert len(row) == 1
        assert row[0].ids == greedy(model, b, 6, 9)
        assert row[0].ended == (len(row[0].ids) < 9)


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_v_to_the_t_is_exhaustive(seed: int) -> None:
    model = Tiny(seed=seed)
    K = V**T
    found = search(model, 3, beam=K, nbest=K, length_penalty=0.0)
    for b, row in enumerate(found):
        expected = everything(model, b, 3)
        assert [(not one.ended, one.ids) for one in row] == [(cut, ids) for cut, _, ids in expected]
        for one, (_, nats, _) in zip(row, expected, strict=True):
            assert one.log_probability == pytest.approx(-nats, abs=1e-12)


@pytest.mark.parametrize("beam", [2, 4, 9])
def test_asking_for_more_results_never_changes_the_first(beam: int) -> None:
    model = Tiny(V=6)
    most = search(model, 4, beam=beam, nbest=beam, max_length=8, coverage_penalty=0.3, lengths=[5, 3, 2, 4])
    for n in range(1, beam):
        some = search(model, 4, beam=beam, nbest=n, max_length=8, coverage_penalty=0.3, lengths=[5, 3, 2, 4])
        for row, all_of_it in zip(some, most, strict=True):
            assert len(row) == n
            assert [one.ids for one in row] == [one.ids for one in all_of_it[:n]]
    for row in most:
        assert len(row) == beam
        assert len({tuple(one.ids) for one in row}) == beam


@pytest.mark.parametrize("beam", [1, 3])
def test_a_row_does_not_know_the_rows_beside_it(beam: int) -> None:
    model, limits = Tiny(V=6), [8, 0, 3, 20]
    together = search(model, 4, beam=beam, nbest=beam, max_length=limits)
    for b in range(4):
        alone = beam_search(
            model, unrolled.select(model.states(4), [b]), first(model, 1), BeamConfig(beam=beam, nbest=beam), end=END,
            max_length=limits[b],
        )  # fmt: skip
        assert [one.ids for one in together[b]] == [one.ids for one in alone[0]]
        for one, other in zip(together[b], alone[0], strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-12)
            assert len(one.ids) <= limits[b]
    assert together[1] == [Hypothesis([], 0.0, 0.0, False)]


def test_a_wider_beam_finds_nothing_worse() -> None:
    """Not a law of beam search, but true of these: what follows is a real search and not a decoration of greedy."""
    gained = 0
    for seed in range(20):
        model = Tiny(V=6, seed=seed)
        one, ten = (search(model, 1, beam=k, length_penalty=0.0, max_length=6)[0][0] for k in (1, 10))
        assert (not ten.ended, -ten.log_probability) <= (not one.ended, -one.log_probability + 1e-12)
        gained += ten.log_probability > one.log_probability + 1e-9
    assert gained >= 3


def test_the_penalties_are_those_of_wu_et_al() -> None:
    assert length_penalty(7, 0.5) == math.sqrt(2.0)
    weights = torch.tensor([[0.5, 0.25, 0.25], [0.7, 0.0, 0.3]])
    assert coverage(weights, 2) == pytest.approx(math.log(0.25))
    assert coverage(weights, 3) == pytest.approx(math.log(0.25) + math.log(0.55))
    model = Tiny()
    K = V**T
    found = search(model, 1, beam=K, nbest=K, length_penalty=0.8, coverage_penalty=0.7, lengths=[4])[0]
    plain = search(model, 1, beam=K, nbest=K, length_penalty=0.0)[0]
    assert [one.ids for one in found] != [one.ids for one in plain]
    for one in found:
        written = [*one.ids, END] if one.ended else one.ids
        expected = log_p(model, 0, 1, written) / length_penalty(len(written), 0.8)
        assert one.weights is not None
        assert one.score == pytest.approx(expected + 0.7 * coverage(one.weights, 4), abs=1e-12)
    scores = [(not one.ended, -one.score) for one in found]
    assert scores == sorted(scores)


def test_attention_is_of_the_hypothesis_itself() -> None:
    model = Tiny(V=5)
    for one in search(model, 2, beam=4, nbest=4, max_length=6)[1]:
        state, unit, rows = unrolled.select(model.states(2), [1]), model.V, []
        for wanted in [*one.ids, END] if one.ended else one.ids:
            _, state = model.step(torch.tensor([unit]), state)
            rows.append(model.attention(state)[0])
            unit = wanted
        assert one.weights is not None
        torch.testing.assert_close(one.weights, torch.stack(rows).detach(), rtol=1e-12, atol=1e-12)


def test_the_search_ends_when_all_rows_have() -> None:
    model = Tiny(V=4)

    def step(ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        model.rows.append(len(ids))
        scores = torch.full((len(ids), 4), -9.0).double()
        scores[:, END] = 9.0
        return scores, state

    model.step = step  # type: ignore[method-assign]
    assert search(model, 3, beam=2, max_length=1000)[0][0].ids == []
    assert model.rows == [6, 6]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="--nbest 3: a search with --beam 2 finds 2; use --beam 3"):
        BeamConfig(beam=2, nbest=3)
    model = Tiny()
    model.head[0, 0] = math.nan
    with pytest.raises(UserError, match="not finite"):
        search(model)


def test_no_rows() -> None:
    assert search(Tiny(), 0, beam=2, max_length=[]) == []
