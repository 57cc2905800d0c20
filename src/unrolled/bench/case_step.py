"""One sampling step of one stream: an id in, scores over 65 units out, the state kept; one layer.

The peers are ``torch.nn.LSTMCell`` and ONNX Runtime, each in its best form and at its best of 1 and ``--threads``
threads, and the better of the two is held against ours; then ``torch.nn.LSTM`` with T = 1, which is how most
programs sample. Each repetition begins after a rest, so that no side's idle threads are still spinning. int8 means our
weights in 8 bits; what that costs in nats stands beside its speed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from unrolled.bench import parity, peers_step
from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Bar, Row
from unrolled.bench.measure import REST_SECONDS, Side, best_threads, compare, fastest
from unrolled.bench.ours_step import NotThere, ours_step
from unrolled.bench.parity import ParityError
from unrolled.bench.peers_step import Step
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel

V, HIDDEN, CHECKED = 65, (128, 256, 512, 1024), 20
BARS = {"float32": Bar(3.0), "int8": Bar(8.0), "against nn.LSTM": Bar(20.0)}
"""At H 512."""
INT8_LIMIT = 0.2
"""Of the largest score: 8 bits a weight are no parity, only a proof that the right thing is computed."""


def rows(config: BenchConfig, hidden: tuple[int, ...] = HIDDEN) -> Iterator[Row]:
    """For each size: float32 and int8 against the better peer, float32 against nn.LSTM, and the peers themselves."""
    for H in hidden:
        names = {kind: f"LSTM H{H}, {kind}" for kind in BARS}
        if not any(config.wants(name) for name in names.values()):
            continue
        model = example(H)
        weights = {n: t.detach() for n, t in model.state_dict().items()}
        counts = (1, config.threads or torch.get_num_threads())
        try:
            better, words = _better_peer(weights, counts)
        except ParityError as error:
            yield Row(f"LSTM H{H}", refused=f"the peers disagree: {error}")
            continue
        layer = best_threads(_side("nn.LSTM", peers_step.lstm_layer(weights)), counts, rest=REST_SECONDS)
        for kind, name in names.items():
            if config.wants(name):
                peer = layer if kind == "against nn.LSTM" else better
                bar = BARS[kind] if H == 512 else None
                yield _row(name, kind, model, weights, peer, words, bar, config, counts)


def example(H: int) -> LanguageModel:
    """A one-hot LSTM with weights as large as trained ones, so that gates move."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = LanguageModel(V, LanguageConfig(cell="lstm", hidden=H, input="one-hot")).eval()
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(2.0)
    return model


def _row(
    name: str, kind: str, model: LanguageModel, weights: dict[str, Tensor], peer: Side, words: str, bar: Bar | None,
    config: BenchConfig, counts: tuple[int, ...],
) -> Row:  # fmt: skip
    storage = "int8" if kind == "int8" else "float32"
    try:
        parity.check(_scores(ours_step(model, storage)), _scores(peers_step.lstm_cell(weights)),
                     limit=INT8_LIMIT if storage == "int8" else None)  # fmt: skip
    except NotThere as error:
        return Row(name, skipped=str(error))
    except ParityError as error:
        return Row(name, refused=str(error))
    ours = best_threads(_side("ours", ours_step(model, storage)), counts, rest=REST_SECONDS)
    found = compare(ours, peer, pairs=config.pairs, rest=REST_SECONDS)
    note = f"{peer.name}, threads: ours {ours.threads}, peer {peer.threads}; {words}"
    if storage == "int8":
        note += f"; loss {_change_of_loss(model):+.5f} nats"
    figures = {"ratio": found.ratio(bar), "ours": found.milliseconds(), "peer": found.milliseconds("peer")}
    return Row(name, figures, note=note)


def _better_peer(weights: dict[str, Tensor], counts: tuple[int, ...]) -> tuple[Side, str]:
    """The faster of LSTMCell and ONNX Runtime, each in its best form, and a word on what was tried."""
    sides = [best_threads(_side("LSTMCell", peers_step.lstm_cell(weights)), counts, rest=REST_SECONDS)]
    missing = peers_step.onnx_missing()
    if missing is not None:
        return sides[0], missing
    expected = _scores(peers_step.lstm_cell(weights))
    for form, threads in itertools.product(("LSTM", "plain"), dict.fromkeys(counts)):
        parity.check(_scores(peers_step.onnx_runtime(weights, form, threads)), expected)
        step = peers_step.onnx_runtime(weights, form, threads)
        sides.append(_side(f"ONNX Runtime ({form})", step, threads))
    return fastest(sides, rest=REST_SECONDS), "the better of LSTMCell and ONNX Runtime"


def _tokens() -> list[int]:
    return torch.randint(0, V, (4096,), generator=torch.Generator().manual_seed(2)).tolist()


def _side(name: str, step: Step, threads: int | None = None) -> Side:
    token = itertools.cycle(_tokens()).__next__

    def run() -> Any:
        return step(token())

    return Side(name, run, threads)


def _scores(step: Step) -> dict[str, Tensor]:
    """Of some steps from a fresh state."""
    return {f"step {k}": step(token).clone() for k, token in enumerate(_tokens()[:CHECKED])}


def _change_of_loss(model: LanguageModel) -> float:
    """By how much int8 weights change the mean loss over random tokens, which float32 finds as likely as it does."""

    def loss(step: Callable[[int], Tensor]) -> float:
        tokens, nats = _tokens()[:513], 0.0
        for token, after in itertools.pairwise(tokens):
            nats -= float(torch.log_softmax(step(token).view(-1).double(), -1)[after])
        return nats / (len(tokens) - 1)

    return loss(ours_step(model, "int8")) - loss(ours_step(model, "float32"))
