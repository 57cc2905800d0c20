"""The encoder and decoder: laws 4, 6 and 8, masks, scheduled sampling, and every shape by its formula."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tolerances import assert_close, assert_same
from unrolled.errors import UserError
from unrolled.tasks.translate.config import ATTENTION, TranslateConfig
from unrolled.tasks.translate.model import Translator
from unrolled.tasks.translate.sizes import count_parameters
from unrolled.tasks.translate.task import teacher_forcing

VS, VT, S, T, B = 9, 7, 6, 5, 4
S_LENGTHS, T_LENGTHS = torch.tensor([6, 2, 4, 1]), torch.tensor([3, 5, 1, 0])
CELLS = ["lstm", "gru", "rnn-tanh"]


def made(**changes: Any) -> Translator:
    config = {"hidden": 10, "embedding": 6, "attention": "general"} | changes
    torch.manual_seed(4)
    return Translator(VS, VT, TranslateConfig(**config)).double()


def batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(5)
    return torch.randint(0, VS, (S, B)), S_LENGTHS, torch.randint(0, VT, (T, B)), T_LENGTHS


SHAPES = [
    {"cell": "lstm"}, {"cell": "gru", "layers": 2}, {"cell": "rnn-tanh", "bidirectional": False},
    {"cell": "gru", "decoder_cell": "lstm"}, {"cell": "lstm", "decoder_cell": "rnn-relu"}, {"input_feeding": True},
    {"tied": True, "embedding": 10}, {"layer_norm": True, "layers": 2}, {"hidden": 7, "bidirectional": False},
    *({"attention": kind} for kind in ATTENTION),
]  # fmt: skip
IDS = [" ".join(f"{k}={v}" for k, v in shape.items()) for shape in SHAPES]


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_parameters_come_from_a_formula(shape: dict[str, Any]) -> None:
    model = made(**shape)
    assert sum(p.numel() for p in model.parameters()) == count_parameters(VS, VT, model.config, shared=False)
    shared = Translator(VT, VT, model.config, shared=True)
    assert sum(p.numel() for p in shared.parameters()) == count_parameters(VT, VT, model.config, shared=True)


def test_no_attention_has_the_parameters_of_dot() -> None:
    sizes = {kind: count_parameters(50, 60, TranslateConfig(attention=kind), shared=False) for kind in ATTENTION}
    assert sizes["none"] == sizes["dot"] < sizes["general"] < sizes["additive"]


@pytest.mark.parametrize("cell", [*CELLS, "rnn-relu"])
@pytest.mark.parametrize("tied", [False, True])
def test_the_first_loss_is_ln_v(cell: str, tied: bool) -> None:
    torch.manual_seed(0)
    V = 60
    config = TranslateConfig(cell=cell, hidden=128, tied=tied)
    model = Translator(50, V, config)
    lengths = torch.full((64,), 12)
    scores, wanted = model(torch.randint(0, 50, (12, 64)), lengths, torch.randint(0, V, (12, 64)), lengths)
    loss = torch.nn.functional.cross_entropy(scores, wanted).item()
    assert abs(loss / math.log(V + 1) - 1) < 0.03


@pytest.mark.parametrize("shape", [{}, {"attention": "none"}, {"input_feeding": True}], ids=str)
def test_the_decoder_is_its_equations(shape: dict[str, Any]) -> None:
    model = made(**shape)
    source, s_lengths, target, _ = batch()
    x = torch.nn.functional.embedding(source, model.source_embedding.weight)  # type: ignore[union-attr]
    memory, (h_n, c_n) = model.encoder(x, lengths=s_lengths)
    state = (torch.cat((h_n[0], h_n[1]), -1)[None], torch.cat((c_n[0], c_n[1]), -1)[None])  # forwards, backwards
    summary, feed = state[0][0], torch.zeros(B, 10).double()
    read = model.encode(source, s_lengths)
    seen, _, weights = model.decode(read, target, model.start(read))
    for t in range(T):
        y = model.target_embedding(target[t])
        h, state = model.decoder((torch.cat((y, feed), -1) if shape.get("input_feeding") else y)[None], state)
        context = summary
        if model.attention is not None:
            context, a = model.attention(h[0], memory, s_lengths)
            assert weights is not None
            assert_close(weights[t], a)
        W, b = model.output.combine.weight, model.output.combine.bias
        feed = torch.tanh(torch.cat((context, h[0]), -1) @ W.T + b)
        assert_close(seen[t], feed)


# -- law 4 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_step_by_step_equals_all_at_once(shape: dict[str, Any]) -> None:
    model = made(**shape).eval()
    source, s_lengths, target, t_lengths = batch()
    scores, wanted = model(source, s_lengths, target, t_lengths)
    at = 0
    read = model.encode(source, s_lengths)
    state, ids = model.start(read), torch.full((B,), VT + 1)
    for t in range(T + 1):
        seen, state, _ = model.decode(read, ids[None], state)
        here = (t <= t_lengths).nonzero()[:, 0]
        assert_close(model.scores(seen[0])[here], scores[at : at + len(here)], what=f"step {t}")
        following = target[t] if t < T else ids
        assert wanted[at : at + len(here)].tolist() == [
            VT if t == int(t_lengths[b]) else int(following[b]) for b in here
        ]
        at, ids = at + len(here), following
    assert at == len(scores) == int(t_lengths.sum()) + B


@pytest.mark.parametrize("engine", ["native", "reference", "aten"])
@pytest.mark.parametrize("attention", ATTENTION)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_padding_gets_no_gradient_and_more_of_it_changes_no_bit(
    engine: str, attention: str, dtype: torch.dtype
) -> None:
    model = made(engine=engine, attention=attention).to(dtype)
    source, s_lengths, target, t_lengths = batch()
    plain = gradients(model, source, s_lengths, target, t_lengths)
    for more_s, more_t in ((1, 0), (0, 1), (9, 17)):
        wide = torch.cat((source, torch.randint(0, VS, (more_s, B))))
        long = torch.cat((target, torch.randint(0, VT, (more_t, B))))
        wide[torch.arange(len(wide))[:, None] >= s_lengths] = 1  # another padding, and more of it
        long[torch.arange(len(long))[:, None] >= t_lengths] = 2
        assert_same(gradients(model, wide, s_lengths, long, t_lengths), plain)


def gradients(model: Translator, *given: Tensor) -> tuple[Tensor, ...]:
    scores, wanted = model(*given)
    loss = torch.nn.functional.cross_entropy(scores, wanted)
    return scores, wanted, *torch.autograd.grad(loss, list(model.parameters()))


def test_a_unit_that_is_only_padding_gets_exactly_zero_gradient() -> None:
    model = made()
    source, s_lengths, target, t_lengths = batch()
    source = source.clamp(max=VS - 2)
    target = target.clamp(max=VT - 2)
    source[torch.arange(S)[:, None] >= s_lengths] = VS - 1
    target[torch.arange(T)[:, None] >= t_lengths] = VT - 1
    scores, wanted = model(source, s_lengths, target, t_lengths)
    torch.nn.functional.cross_entropy(scores, wanted).backward()
    assert model.source_embedding is not None
    assert not model.source_embedding.weight.grad[VS - 1].any()  # type: ignore[index]
    assert not model.target_embedding.weight.grad[VT - 1].any()  # type: ignore[index]
    assert model.source_embedding.weight.grad[: VS - 1].any()  # type: ignore[index]


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_a_row_is_alone_in_its_batch(shape: dict[str, Any]) -> None:
    model = made(**shape).eval()
    source, s_lengths, target, t_lengths = batch()
    scores, _ = model(source, s_lengths, target, t_lengths)
    rows = (torch.arange(T + 1)[:, None] <= t_lengths).nonzero()[:, 1]
    for b in range(B):
        alone, _ = model(source[:, b : b + 1], s_lengths[b : b + 1], target[:, b : b + 1], t_lengths[b : b + 1])
        assert_close(scores[rows == b], alone)


def test_an_empty_source_is_taken() -> None:
    model = made()
    scores, _ = model(torch.zeros(1, 1).long(), torch.tensor([0]), torch.zeros(2, 1).long(), torch.tensor([2]))
    assert torch.isfinite(scores).all()


# -- scheduled sampling ------------------------------------------------------------------------------------------


def test_full_teacher_forcing_draws_nothing_and_none_feeds_its_own() -> None:
    model = made()
    assert model.head_weight is not None
    model.head_weight.data.normal_(0.0, 3.0)  # sharp, so that it chooses different units, the end among them
    source, s_lengths, target, _ = batch()
    t_lengths = torch.full((B,), T)
    before = torch.get_rng_state()
    model(source, s_lengths, target, t_lengths)
    assert torch.equal(before, torch.get_rng_state())

    given = torch.cat((torch.full((1, B), VT + 1), target))
    own = model.mixed(source, s_lengths, given, 0.0)
    assert model.training
    assert torch.equal(own[0], given[0])
    assert (own == VT).sum() == 0
    read = model.eval().encode(source, s_lengths)
    state = model.start(read)
    ends = 0
    for t in range(T):  # greedy, by hand; a chosen end is not fed
        seen, state, _ = model.decode(read, own[t : t + 1], state)
        best = model.scores(seen[0]).argmax(-1)
        assert torch.equal(own[t + 1], torch.where(best == VT, given[t + 1], best))
        ends += int((best == VT).sum())
    assert 0 < ends < T * B


def test_forcing_is_a_probability_of_each_step_and_row() -> None:
    torch.manual_seed(1)
    model = Translator(VS, 200, TranslateConfig(hidden=8, embedding=4))
    given = torch.cat((torch.full((1, 300), 201), torch.randint(0, 200, (20, 300))))
    mixed = model.mixed(torch.randint(0, VS, (3, 300)), torch.full((300,), 3), given, 0.7)
    share = (mixed[1:] == given[1:]).double().mean().item()
    assert abs(share - 0.7) < 0.02  # one in 200 is the same by chance
    kept = (mixed[1:] == given[1:]).double().mean(1)
    assert kept.min() > 0.6
    assert kept.max() < 0.8


def test_the_schedules_fall_from_one_to_the_asked_probability() -> None:
    for kind in ("linear", "exponential", "sigmoid"):
        config = TranslateConfig(teacher_forcing=0.2, teacher_schedule=kind, teacher_steps=100)
        values = [teacher_forcing(config, k) for k in range(130)]
        assert values[0] > 0.99
        assert values[100:] == [0.2] * 30
        assert all(a >= b for a, b in itertools.pairwise(values))
    assert teacher_forcing(TranslateConfig(teacher_forcing=0.2, teacher_steps=100), 50) == pytest.approx(0.6)
    assert teacher_forcing(TranslateConfig(teacher_forcing=0.2, teacher_schedule="constant"), 0) == 0.2
    assert teacher_forcing(TranslateConfig(), 0) == 1.0


def test_what_does_not_go_together_is_refused() -> None:
    for changes, words in (
        ({"hidden": 7}, "--hidden 7: a bidirectional encoder halves it"),
        ({"tied": True, "embedding": 3}, "--tied: the embedding"),
        ({"attention": "none", "input_feeding": True}, "--input-feeding"),
        ({"cell": "gru", "forget_bias": 1.0}, "--forget-bias"),
        ({"init": "identity"}, "--init identity"),
        ({"cell": "rnn-tanh", "init": "chrono"}, "--init chrono"),
    ):
        with pytest.raises(UserError, match=words):
            TranslateConfig(**changes)
    assert dataclasses.replace(TranslateConfig(), decoder_cell="gru").decoder == "gru"
