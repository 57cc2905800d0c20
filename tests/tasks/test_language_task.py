"""The language-model task: its loss over streams, its figures, what it says of itself."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unrolled.data import TextConfig
from unrolled.data.streams import Chunk
from unrolled.errors import UserError
from unrolled.state import reset
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.loading import load_model
from unrolled.tasks.language.task import LanguageTask
from unrolled.training.config import TrainConfig

SHAPE = LanguageConfig(hidden=8, embedding=4)
LINES = ["anna", "otto", "ida", "emil", "a", "mia", "leo", "noah", "tom", "lina"]


def words(length, seed=1):
    rng = np.random.default_rng(seed)
    stock = ["the ", "net ", "réads ", "and ", "writes\n"]
    return "".join(stock[i] for i in rng.integers(len(stock), size=length))[:length]


def build(task, seed=3):
    torch.manual_seed(seed)
    return task.build().double().eval()


def task_for(corpus, shape=SHAPE, **options):
    options = {"batch": 2, "bptt": "7", **options}
    return LanguageTask(corpus, shape, TrainConfig(**options))


def epoch(task, model):
    """Total nats and units of one epoch with the weights held still, and all gradients of the objectives."""
    stream, carry, total, units = task.stream(), {}, 0.0, 0
    for _ in range(stream.steps_per_epoch):
        loss = task.loss(model, stream.next(), carry)
        carry = loss.carry
        total, units = total + loss.nats.item() * loss.units, units + loss.units
        assert not any(part.requires_grad for part in carry.values())
    return total, units


def exact_nats(model, tokens):
    scores, _ = model(torch.from_numpy(np.asarray(tokens[:-1], np.int64))[:, None])
    return F.cross_entropy(scores[:, 0], torch.from_numpy(np.asarray(tokens[1:], np.int64)), reduction="sum").item()


@pytest.mark.parametrize("cell", ["rnn-tanh", "lstm", "gru"])
@pytest.mark.parametrize("stride", [None, 1, 3])
def test_an_epoch_in_chunks_costs_what_the_text_costs(make_corpus, cell, stride):
    corpus = make_corpus(words(120), heldout=0.0, dev=0.0)
    task = task_for(corpus, LanguageConfig(cell=cell, hidden=8, layers=2), batch=1, stride=stride)
    model = build(task)
    total, units = epoch(task, model)
    assert units == 119
    assert total == pytest.approx(exact_nats(model, corpus.tokens), rel=1e-12)


def test_a_window_reaches_back_k2_steps_and_no_further(make_corpus):
    """The gradient of one chunk under a stride equals that of the last k1 losses of a window run whole."""
    corpus = make_corpus(words(120), heldout=0.0, dev=0.0)
    task = task_for(corpus, batch=1, bptt="8", stride=3)
    model, stream, carry = build(task), task.stream(), {}
    for _ in range(6):
        loss = task.loss(model, stream.next(), carry)
        carry = loss.carry
    chunk = stream.next()  # scores targets 18..20; the window begins at 13
    model.zero_grad()
    task.loss(model, chunk, carry).objective.backward()
    ours = [p.grad.clone() for p in model.parameters()]
    ids = torch.from_numpy(np.asarray(corpus.tokens[:22], np.int64))[:, None]
    assert (len(chunk.x), chunk.score, chunk.advance) == (8, 3, 3)
    assert np.array_equal(chunk.y[-3:, 0], corpus.tokens[19:22])
    with torch.no_grad():
        _, before = model(ids[:13])
    model.zero_grad()
    scores, _ = model(ids[13:21], before)
    F.cross_entropy(scores[-3:, 0], ids[19:22, 0]).backward()
    for mine, p in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(mine, p.grad)


def test_truncated_bptt_over_all_of_a_text_is_full_bptt(make_corpus):
    corpus = make_corpus(words(30), heldout=0.0, dev=0.0)
    task = task_for(corpus, batch=1, bptt="29")
    model = build(task)
    task.loss(model, task.stream().next(), {}).objective.backward()
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    ids = torch.from_numpy(np.asarray(corpus.tokens, np.int64))[:, None]
    F.cross_entropy(model(ids[:-1])[0][:, 0], ids[1:, 0]).backward()
    for mine, p in zip(ours, model.parameters(), strict=True):
        torch.testing.assert_close(mine, p.grad)


def test_fresh_zeroes_the_carry_and_sum_is_a_sum_over_steps(make_corpus):
    corpus = make_corpus(words(60), heldout=0.0, dev=0.0)
    mean, summed = task_for(corpus), task_for(corpus, loss_reduction="sum")
    model = build(mean)
    first = mean.stream().next()
    loss = mean.loss(model, first, {})
    odd = {name: torch.ones_like(value) for name, value in loss.carry.items()}
    assert torch.equal(mean.loss(model, first, odd).nats, loss.nats)
    other = summed.loss(model, first, {})
    assert other.objective.item() == pytest.approx(7 * loss.objective.item(), rel=1e-12)
    assert other.nats.item() == pytest.approx(loss.objective.item(), rel=1e-12)
    assert set(odd) == {"h", "c"}
    later = Chunk(first.x, first.y, score=7, advance=7, fresh=False)
    assert not torch.equal(mean.loss(model, later, odd).nats, loss.nats)


@pytest.mark.parametrize("bptt", ["5", "full"])
def test_records_cost_the_same_in_streams_whole_and_held_out(make_corpus, bptt):
    corpus = make_corpus("\n".join(LINES) + "\n", records="line", heldout=0.2, dev=0.0)
    task = task_for(corpus, batch=3, bptt=bptt)
    model = build(task)
    part = corpus.parts["train"]
    expected = 0.0
    for k in range(len(part.records)):
        start, stop = corpus.records.span(part.records[k])
        end = corpus.records.end
        expected += exact_nats(model, np.concatenate(([end], corpus.tokens[start:stop], [end])))
    held = task.evaluate(model, "train")
    assert held.units == part.units
    assert held.nats * held.units == pytest.approx(expected, rel=1e-12)
    if bptt == "full":
        total, units = epoch(task, model)
        assert units == part.units
        assert total == pytest.approx(expected, rel=1e-12)


def test_a_chunk_of_records_forgets_at_each_start(make_corpus):
    corpus = make_corpus("\n".join(LINES) + "\n", records="line", heldout=0.0, dev=0.0)
    task = task_for(corpus, LanguageConfig(hidden=8, forget_bias=6.0), batch=3, bptt="9")
    model, stream, carry = build(task), task.stream(), {}
    state = model.initial_state(3)
    for _ in range(3):
        chunk = stream.next()
        loss = task.loss(model, chunk, carry)
        carry, total = loss.carry, 0.0
        for x, y, resets in zip(*map(torch.from_numpy, (chunk.x, chunk.y, chunk.resets)), strict=True):
            scores, state = model.step(x, reset(state, resets))
            total += F.cross_entropy(scores, y, reduction="sum").item()
        assert loss.nats.item() * 27 == pytest.approx(total, rel=1e-12)


def test_padding_gets_no_gradient(make_corpus):
    corpus = make_corpus("\n".join(LINES) + "\n", records="line", heldout=0.0, dev=0.0)
    task = task_for(corpus, batch=4, bptt="full")
    model, chunk = build(task), task.stream().next()
    assert chunk.lengths.min() < len(chunk.x)
    gradients = []
    for filler in (0, 3):
        padding = np.arange(len(chunk.x))[:, None] >= chunk.lengths
        chunk.x[padding] = chunk.y[padding] = filler
        model.zero_grad()
        task.loss(model, chunk, {}).objective.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_evaluation_reads_every_unit_once_and_counts_bits(make_corpus):
    text = words(400)
    corpus = make_corpus(text, heldout=0.25, dev=0.1)
    shape = LanguageConfig(hidden=8, forget_bias=6.0)  # a memory that lasts from one chunk to the next
    exact, wide = task_for(corpus, shape, eval_streams=1), task_for(corpus, shape, eval_streams=5)
    model = build(exact).train()
    before = torch.get_rng_state()
    part = corpus.parts["test"]
    result = exact.evaluate(model, "test")
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    model.eval()
    expected = exact_nats(model, corpus.tokens) - exact_nats(model, corpus.tokens[: part.start])
    assert result.units == 100
    assert result.nats * 100 == pytest.approx(expected, rel=1e-9)
    assert wide.evaluate(model, "test").nats == pytest.approx(result.nats, rel=1e-12)  # all warmed from the beginning
    size = len(text[-100:].encode())
    assert size > 100
    assert result.figures["bpc"] == pytest.approx(expected / math.log(2) / 100, rel=1e-9)
    assert result.figures["bpb"] == pytest.approx(expected / math.log(2) / size, rel=1e-9)
    assert result.figures["perplexity"] == pytest.approx(math.exp(result.nats))
    assert result.interval[0] < result.nats < result.interval[1]


def test_random_windows_start_from_nothing(make_corpus):
    corpus = make_corpus(words(400), heldout=0.25)
    task = task_for(corpus)
    figures = [task.evaluate(build(task), "test", windows=40).figures for _ in range(2)]
    assert figures[0] == figures[1]
    assert figures[0]["window_nats"] == pytest.approx(math.log(task.V), rel=0.1)


def test_an_empty_part_has_no_figure(make_corpus):
    task = task_for(make_corpus(words(60), heldout=0.0, dev=0.0))
    result = task.evaluate(build(task), "dev")
    assert result.units == 0
    assert math.isnan(result.nats)
    assert task.baseline() is None


def test_samples_repeat_and_leave_the_random_stream_alone(make_corpus):
    corpus = make_corpus(words(200))
    task = task_for(corpus, LanguageConfig(hidden=8, dropout=0.5))
    model = build(task).train()
    stream = task.stream()
    carry = task.loss(model, stream.next(), {}).carry
    before = torch.get_rng_state()
    texts = [task.sample(model, carry, 50, seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert len(texts[0]) == 50
    assert texts[0] == texts[1] != texts[2]
    assert len(task.sample(model, {}, 10, 1)) == 10
    for row, same in ((0, False), (1, True)):
        other = {name: value.clone() for name, value in carry.items()}
        other["h"][:, row] = 30.0
        assert (task.sample(model, other, 50, 1) == texts[0]) == same


def test_samples_of_records_are_lines(make_corpus):
    corpus = make_corpus("\n".join(LINES) + "\n", records="line", heldout=0.0, dev=0.0)
    task = task_for(corpus, LanguageConfig(hidden=32, cell="gru"), batch=5, bptt="full", lr=0.01)
    torch.manual_seed(1)
    model, stream = task.build(), task.stream()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        loss = task.loss(model, stream.next(), {})
        optimiser.zero_grad()
        loss.objective.backward()
        optimiser.step()
    written = task.sample(model, {}, 120, 1).split("\n")
    assert len(written) > 10
    assert set(written[:-1]) <= set(LINES)
    assert len(set(written)) > 4


def test_ten_examples_are_learnt_to_zero_error(make_corpus):
    """Ten records that the first letter tells apart: after training every later unit is predicted."""
    lines = [a + b * 3 for a, b in zip("abcdefghij", "jihgfedcba", strict=True)]
    corpus = make_corpus("\n".join(lines) + "\n", records="line", heldout=0.0, dev=0.0)
    task = task_for(corpus, LanguageConfig(hidden=32), batch=10, bptt="full")
    torch.manual_seed(1)
    model, chunk = task.build(), task.stream().next()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        loss = task.loss(model, chunk, {})
        optimiser.zero_grad()
        loss.objective.backward()
        optimiser.step()
    scores, _ = model(torch.from_numpy(chunk.x))
    assert np.array_equal(scores.argmax(-1).numpy()[1:], chunk.y[1:])


def test_full_bptt_on_an_unbroken_text_says_what_it_would_need(make_corpus):
    corpus = make_corpus(words(5000), heldout=0.0, dev=0.0)
    with pytest.raises(UserError, match=r"--bptt full: .* 5,000 units would need about \d+\.\d MiB .*--records"):
        task_for(corpus, bptt="full")


def test_short_text_shrinks_the_batch_with_a_note(make_corpus):
    task = task_for(make_corpus(words(60), heldout=0.0, dev=0.0), batch=32)
    assert task.batch == 8
    assert "--batch 32" in task.notes[0]
    corpus = make_corpus("\n".join(LINES) + "\n", records="line", heldout=0.0, dev=0.0)
    task = task_for(corpus, batch=32)
    assert task.notes == ["--batch 32 is too large for 10 records; 8 is used"]
    assert task.stream().next().x.shape == (7, 8)


def test_settings_that_do_not_go_together_are_named(make_corpus):
    corpus = make_corpus(words(60), heldout=0.0, dev=0.0)
    with pytest.raises(UserError, match="--skip-tail"):
        task_for(corpus, skip_tail=True)
    records = make_corpus("\n".join(LINES) + "\n", records="line", heldout=0.0, dev=0.0)
    with pytest.raises(UserError, match="--stride 2: records"):
        task_for(records, stride=2)


def test_a_saved_model_comes_back(make_corpus):
    corpus = make_corpus(words(200))
    task = LanguageTask(corpus, LanguageConfig(hidden=8, tied=True), TrainConfig(batch=2, bptt="7"))
    model = build(task)
    config, tokens = json.loads(json.dumps(task.settings())), json.loads(json.dumps(task.tokens()))
    assert config["data"]["digest"] == corpus.digest
    loaded, units, text = load_model(config, model.state_dict(), tokens, "runs/x")
    ids = torch.randint(task.V, (4, 2))
    assert torch.equal(loaded(ids)[0], model(ids)[0])
    assert not loaded.training
    assert units.decode(units.encode("the net")) == "the net"
    assert text == TextConfig()
    config["model"]["hidden"] = 9
    with pytest.raises(UserError, match="runs/x: the weights do not fit"):
        load_model(config, model.state_dict(), tokens, "runs/x")
    with pytest.raises(UserError, match="'model'"):
        load_model({}, model.state_dict(), tokens, "runs/x")


def test_old_weights_start_a_new_task(make_corpus):
    old = task_for(make_corpus("abcabcabc" * 9))
    weights = old.build().state_dict()
    new = LanguageTask(
        make_corpus("bcdbcd" * 20), SHAPE, TrainConfig(batch=2, bptt="7"), start_from=(weights, old.corpus.units)
    )
    model = new.build()
    here, there = new.corpus.units.encode("bc"), old.corpus.units.encode("bc")
    assert torch.equal(model.embedding.weight[here], weights["embedding.weight"][there])
    assert new.notes[-1] == "vocabulary: 2 units kept, 1 new: d, 1 dropped"


def test_it_describes_itself(make_corpus):
    corpus = make_corpus(words(2000))
    task = task_for(corpus)
    told = json.loads(json.dumps(task.describe()))
    assert told["parameters"] == sum(p.numel() for p in task.build().parameters())
    assert told["first_loss"] == pytest.approx(math.log(len(corpus.units)))
    assert sum(told["parts"].values()) == 2000
    memory = told["memory"]
    assert memory["weights"] == memory["optimiser"] == 8 * told["parameters"]  # gradients; two moments
    assert memory["total"] == memory["weights"] + memory["optimiser"] + memory["activations"]
    name, nats = task.baseline()
    assert "gram" in name
    assert 0 < nats < math.log(len(corpus.units))
