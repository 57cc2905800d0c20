"""The conditional random field against brute force over all V^T sequences."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tests.tolerances import assert_close, assert_same
from unrolled.layers import CRF

T, B, V = 4, 4, 3
LENGTHS = torch.tensor([4, 1, 0, 3])


@pytest.fixture
def crf() -> CRF:
    torch.manual_seed(3)
    made = CRF(V).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


@pytest.fixture
def emissions(crf: CRF) -> Tensor:
    return torch.randn(T, B, V, dtype=torch.float64)


def brute(crf: CRF, emissions: Tensor, length: int) -> dict[tuple[int, ...], Tensor]:
    """The score of every sequence of one row (T, V), written out from the definition."""
    scores = {}
    for tags in itertools.product(range(V), repeat=length):
        if not tags:
            return {(): torch.zeros((), dtype=torch.float64)}
        total = crf.start[tags[0]] + crf.end[tags[-1]]
        for t, tag in enumerate(tags):
            total = total + emissions[t, tag]
        for before, after in itertools.pairwise(tags):
            total = total + crf.transitions[before, after]
        scores[tags] = total
    return scores


@pytest.mark.parametrize("seed", range(6))
def test_log_partition_score_and_best_equal_brute_force(crf: CRF, seed: int) -> None:
    torch.manual_seed(seed)
    emissions = torch.randn(T, B, V, dtype=torch.float64)
    total = crf.log_partition(emissions, LENGTHS)
    tags, best = crf.decode(emissions, LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        scores = brute(crf, emissions[:, b], length)
        assert_close(total[b], torch.logsumexp(torch.stack(list(scores.values())), 0))
        winner = max(scores, key=lambda y: float(scores[y].detach()))
        assert tuple(tags[:length, b].tolist()) == winner
        assert_close(best[b], scores[winner].detach())
        for y, score in scores.items():
            padded = torch.tensor([*y, *[1] * (T - length)])[:, None]
            assert_close(crf.score(emissions[:, b : b + 1], padded, LENGTHS[b : b + 1])[0], score)


def test_probabilities_sum_to_one_and_marginals_are_theirs(crf: CRF, emissions: Tensor) -> None:
    marginals = crf.marginals(emissions, LENGTHS)
    for b, length in enumerate(LENGTHS.tolist()):
        scores = brute(crf, emissions[:, b], length)
        total = torch.logsumexp(torch.stack(list(scores.values())), 0)
        expected = torch.zeros(T, V, dtype=torch.float64)
        for y, score in scores.items():
            for t, tag in enumerate(y):
                expected[t, tag] += (score - total).exp().detach()
        assert_close(marginals[:, b], expected)


def test_gradients_equal_those_of_brute_force(crf: CRF, emissions: Tensor) -> None:
    emissions.requires_grad_()
    tags = torch.tensor([[0, 1, 2, 1], [2, 0, 0, 0], [1, 0, 0, 2], [1, 0, 0, 0]])
    found = torch.autograd.grad(crf(emissions, tags, LENGTHS).sum(), [emissions, *crf.parameters()])
    loss = torch.zeros((), dtype=torch.float64)
    for b, length in enumerate(LENGTHS.tolist()):
        scores = brute(crf, emissions[:, b], length)
        truth = scores[tuple(tags[:length, b].tolist())]
        loss = loss + torch.logsumexp(torch.stack(list(scores.values())), 0) - truth
    expected = torch.autograd.grad(loss, [emissions, *crf.parameters()])
    assert_close(found, expected, gradient=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_padding_changes_no_bit_and_gets_zero_gradient(crf: CRF, emissions: Tensor, dtype: torch.dtype) -> None:
    crf.to(dtype)
    short = emissions.detach().to(dtype).requires_grad_()
    noise = torch.full((3, B, V), 1e30, dtype=dtype)
    long = torch.cat((short.detach(), noise)).requires_grad_()
    tags = torch.randint(V, (T + 3, B))
    losses = crf(short, tags[:T], LENGTHS), crf(long, tags, LENGTHS)
    assert_same(losses[1], losses[0])
    grads = [torch.autograd.grad(loss.sum(), [x, *crf.parameters()]) for loss, x in zip(losses, (short, long))]  # noqa: B905
    assert_same([grads[1][0][:T], *grads[1][1:]], grads[0])
    padding = torch.arange(T + 3)[:, None] >= LENGTHS
    assert torch.count_nonzero(grads[1][0][padding]) == 0
    assert_same(crf.decode(long, LENGTHS)[0][:T], crf.decode(short, LENGTHS)[0])


def test_an_untrained_layer_gives_ln_v_a_step_and_greedy_tags(emissions: Tensor) -> None:
    fresh = CRF(V).double()
    zero = torch.zeros_like(emissions)
    nats = fresh(zero, torch.zeros(T, B, dtype=torch.int64), LENGTHS)
    assert_close(nats, LENGTHS * torch.tensor(V, dtype=torch.float64).log())
    tags, _ = fresh.decode(emissions, LENGTHS)
    real = torch.arange(T)[:, None] < LENGTHS
    assert torch.equal(tags[real], emissions.argmax(-1)[real])


def test_no_steps_at_all(crf: CRF) -> None:
    nothing, lengths = torch.zeros(0, 2, V, dtype=torch.float64), torch.zeros(2, dtype=torch.int64)
    assert crf(nothing, torch.zeros(0, 2, dtype=torch.int64), lengths).tolist() == [0, 0]
    assert crf.decode(nothing, lengths)[0].shape == (0, 2)
    assert crf.marginals(nothing, lengths).shape == (0, 2, V)
