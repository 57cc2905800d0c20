"""Whole updates in the compiled core do what the loss, autograd, clipping and torch's optimiser do."""

from __future__ import annotations

import random
import signal
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unrolled.data.streams import Chunk
from unrolled.engines import native
from unrolled.tasks.language import whole
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.task import LanguageTask
from unrolled.training.config import TrainConfig
from unrolled.training.loop import Trainer

pytestmark = pytest.mark.skipif(native.missing() is not None, reason="no compiled core")

LETTERS = "abcdefgh ijkl\n"


@pytest.fixture
def corpus(make_corpus):
    rng = random.Random(3)
    words = ["".join(rng.choices(LETTERS, k=rng.randint(2, 7))) for _ in range(40)]
    return make_corpus(LETTERS + " ".join(rng.choices(words, k=700)), heldout=0.1, dev=0.1)


class Spy:
    """Counts whole updates, and how many of them were made in each call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, off: bool = False) -> None:
        self.calls: list[int] = []
        run = whole.WholeUpdates.run

        def spied(inner: Any, chunks: Any, *rest: Any) -> Any:
            self.calls.append(len(chunks))
            return run(inner, chunks, *rest)

        monkeypatch.setattr(whole.WholeUpdates, "run", spied)
        if off:
            monkeypatch.setattr(whole, "refusal", lambda *_: "switched off by the test")


DROPOUT = {"dropout": 0.3, "embedding_mask": "table"}


def trained(
    corpus: Any, folder: Any, model: dict[str, Any], *, resume: bool = False, **train: Any
) -> tuple[Trainer, Any, dict[str, Tensor]]:
    settings = {"steps": 25, "batch": 4, "bptt": "9", "lr": 5e-3, "warmup": 3, "sample_every": 0, "seed": 5,
                "dtype": "float64", "eval_every": 1000, "checkpoint_every": 1000}  # fmt: skip
    config = TrainConfig(**{**settings, **train})
    shape = LanguageConfig(**{"cell": "lstm", "layers": 1, "hidden": 11, **model})
    trainer = Trainer(LanguageTask(corpus, shape, config), config, folder, resume=resume)
    result = trainer.train()
    return trainer, result, {n: w.clone() for n, w in trainer.model.state_dict().items()}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lstm, embedding": ({"input": "embedding", "embedding": 5}, {}),
    "lstm, one-hot, two layers": ({"input": "one-hot", "layers": 2}, {}),
    "gru, embedding, three layers": ({"cell": "gru", "layers": 3}, {"optimiser": "adam"}),
    "gru, one-hot, decay": ({"cell": "gru", "input": "one-hot"}, {"weight_decay": 0.1}),
    "tanh, adagrad": ({"cell": "rnn-tanh"}, {"optimiser": "adagrad", "lr": 0.05}),
    "relu, sgd, decay": ({"cell": "rnn-relu"}, {"optimiser": "sgd", "lr": 0.3, "weight_decay": 0.01}),
    "the lecture's": (
        {"cell": "rnn-tanh", "input": "one-hot", "init": "normal", "single_bias": True},
        {"optimiser": "min-char-rnn-adagrad", "batch": 1, "loss_reduction": "sum", "clip_norm": 0.0,
         "clip_value": 0.05, "lr": 0.01},
    ),
    "both clips": ({}, {"clip_norm": 0.3, "clip_value": 0.02}),
    "lstm, dropout of the table": ({"dropout": 0.3, "embedding_mask": "table"}, {}),
    "gru, three layers, two rates": (
        {"cell": "gru", "layers": 3, "dropout": 0.2, "embedding_dropout": 0.4, "embedding_mask": "table"}, {}
    ),
    "tanh, one-hot, dropout": ({"cell": "rnn-tanh", "input": "one-hot", "dropout": 0.25}, {"optimiser": "adagrad"}),
    "relu, two layers, dropout behind them alone": (
        {"cell": "rnn-relu", "layers": 2, "dropout": 0.5, "embedding_dropout": 0.0}, {"optimiser": "sgd", "lr": 0.3}
    ),
    "lstm, dropout of the table alone": ({"embedding_dropout": 0.5, "embedding_mask": "table", "layers": 2}, {}),
    "a sum": ({}, {"loss_reduction": "sum", "schedule": "constant"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_whole_updates_equal_autograd(corpus, tmp_path, monkeypatch, case: str, dtype: str) -> None:
    model, train = CASES[case]
    steps = 25 if dtype == "float64" else 4  # in float32 an adaptive rule soon enlarges a rounding
    spy = Spy(monkeypatch)
    a, found, ours = trained(corpus, tmp_path / "a", model, **train, steps=steps, dtype=dtype)
    assert sum(spy.calls) == steps
    with monkeypatch.context() as patch:
        off = Spy(patch, off=True)
        b, expected, theirs = trained(corpus, tmp_path / "b", model, **train, steps=steps, dtype=dtype)
        assert not off.calls
    table = {"rtol": 1e-9, "atol": 1e-10} if dtype == "float64" else {"rtol": 1e-4, "atol": 2e-5}
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], **table, msg=lambda m, n=name: f"{n}: {m}")
    for name in a.live.carry:
        torch.testing.assert_close(a.live.carry[name], b.live.carry[name], **table)
    assert found.train == pytest.approx(expected.train, rel=1e-9 if dtype == "float64" else 1e-5)
    assert found.dev.nats == pytest.approx(expected.dev.nats, rel=1e-9 if dtype == "float64" else 1e-5)
    assert torch.equal(a.live.tree()["rng"]["cpu"], b.live.tree()["rng"]["cpu"])
    if dtype == "float64":
        assert a.meter.norms == pytest.approx(b.meter.norms)
    assert (a.meter.clipped, a.meter.units) == (b.meter.clipped, b.meter.units)


@pytest.mark.parametrize("dropout", [{}, DROPOUT], ids=["plain", "dropout"])
def test_neither_threads_nor_the_number_of_updates_in_a_call_change_a_bit(
    corpus, tmp_path, monkeypatch, dropout: dict[str, Any]
) -> None:
    results = []
    for k, (threads, most) in enumerate([(1, 1), (2, 1000), (2, 3)]):
        spy = Spy(monkeypatch)
        ahead = Trainer._ahead
        monkeypatch.setattr(Trainer, "_ahead", lambda t, seconds, most=most, a=ahead: min(most, a(t, 1e-9)))
        model = {"layers": 2, "hidden": 40, **dropout}
        results.append(trained(corpus, tmp_path / str(k), model, dtype="float32", threads=threads, batch=8)[2])
        assert max(spy.calls) == min(most, 10)  # a line is written every ten updates
        monkeypatch.undo()
    for other in results[1:]:
        assert all(torch.equal(results[0][n], other[n]) for n in other)


def test_resumed_with_dropout_equals_uninterrupted(corpus, tmp_path, monkeypatch) -> None:
    """To the bit; by autograd from there on to rounding: the masks go on in the same random stream."""
    model = {"layers": 2, **DROPOUT}
    expected = trained(corpus, tmp_path / "whole", model, schedule="constant")[2]
    for name in ("whole again", "autograd"):
        trained(corpus, tmp_path / name, model, schedule="constant", steps=11)
        torch.rand(5)  # what others draw in between must not matter
        with monkeypatch.context() as patch:
            spy = Spy(patch, off=name == "autograd")
            found = trained(corpus, tmp_path / name, model, schedule="constant", resume=True)[2]
        assert sum(spy.calls) == (0 if name == "autograd" else 14)
        table = {"rtol": 1e-9, "atol": 1e-10} if name == "autograd" else {"rtol": 0, "atol": 0}
        for weight in expected:
            torch.testing.assert_close(found[weight], expected[weight], **table)


@pytest.mark.parametrize("dropout", [{}, {"dropout": 0.1, "embedding_mask": "table"}], ids=["plain", "dropout"])
def test_the_guard_takes_an_update_back(corpus, tmp_path, monkeypatch, dropout: dict[str, Any]) -> None:
    """A rate that explodes trips the guard at the same updates, and with the same end, either way."""
    ended = []
    for name, off in (("whole", False), ("autograd", True)):
        with monkeypatch.context() as patch:
            spy = Spy(patch, off=off)
            rates = {"lr": 0.5, "optimiser": "sgd", "warmup": 0, "clip_norm": 0.0, "guard_spike": 0.12}
            messages: list[str] = []
            patch.setattr(Trainer, "_say", lambda t, text, m=messages: m.append(text))
            _, result, weights = trained(
                corpus, tmp_path / name, {"cell": "rnn-tanh", **dropout}, steps=120, guard_interval=7, **rates
            )
            assert bool(spy.calls) is not off
            ended.append((messages, result.steps, weights))
    assert ended[0][0]
    assert ended[0][:2] == ended[1][:2]
    for name, weight in ended[0][2].items():
        torch.testing.assert_close(weight, ended[1][2][name], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("model", "train"),
    [
        ({"tied": True, "embedding": 11}, {}),
        ({"dropout": 0.1}, {}),
        ({"embedding_dropout": 0.1, "embedding_mask": "token"}, {}),
        ({"layer_norm": True}, {}),
        ({"zoneout": 0.1}, {}),
        ({"engine": "reference"}, {}),
        ({}, {"stride": 3}),
        ({}, {"average": 0.9}),
        ({}, {"optimiser": "sgd", "momentum": 0.9}),
    ],
    ids=str,
)
def test_what_whole_updates_are_not_for(corpus, tmp_path, monkeypatch, model, train) -> None:
    spy = Spy(monkeypatch)
    trained(corpus, tmp_path / "run", model, **{"steps": 3, **train})
    assert not spy.calls


def chunk_of(trainer: Trainer, steps: int = 9) -> Chunk:
    ids = np.arange(steps * 4, dtype=np.int64).reshape(steps, 4) % trainer.model.V
    return Chunk(ids, ids[::-1].copy(), steps, steps, True)


def test_parameters_that_are_no_longer_what_they_were_are_refused(corpus, tmp_path) -> None:
    for k, (change, what) in enumerate((
        (lambda model: model.half(), "rnn.weight_ih_l0 is torch.float16"),
        (lambda model: model.load_state_dict(
            {n: w.t().contiguous().t() if w.dim() == 2 else w for n, w in model.state_dict().items()}, assign=True
        ), "rnn.weight_ih_l0 is another tensor"),
        (lambda model: setattr(model.head.weight, "data", model.head.weight.data.t().contiguous().t()),
         r"head.weight .* not contiguous"),
        (lambda model: setattr(model.head.bias, "data", torch.zeros(3, dtype=torch.float64)), r"head.bias .*\(3,\)"),
    )):  # fmt: skip
        trainer, _, _ = trained(corpus, tmp_path / str(k), {}, steps=3)
        change(trainer.model)
        with pytest.raises(ValueError, match=what):
            trainer.whole.run([chunk_of(trainer)], [1e-3], {}, None)
    assert "not contiguous" in whole.refusal(scattered(corpus, tmp_path), 9, 4)


def scattered(corpus: Any, folder: Any) -> Any:
    """A model one of whose weights lies in columns."""
    model = trained(corpus, folder / "scattered", {}, steps=3)[0].model
    model.head.weight.data = model.head.weight.data.t().contiguous().t()
    return model


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signal here")
def test_a_signal_leaves_the_optimiser_with_what_was_made(corpus, tmp_path) -> None:
    trainer, _, _ = trained(corpus, tmp_path / "run", {"hidden": 200}, steps=3)
    before, many = signal.signal(signal.SIGALRM, signal.default_int_handler), 1 << 13
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            trainer.whole.run([chunk_of(trainer)] * many, [1e-6] * many, {}, None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    steps = {int(trainer.optimiser.state[p]["step"]) for p in trainer.model.parameters()}
    assert len(steps) == 1
    assert 3 < steps.pop() < many
