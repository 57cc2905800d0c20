"""A character LSTM's whole training step: token input, scores, loss, backward, AdamW; one layer, B 32, T 64, V 65.

"by hand" is the same few lines on our ``LanguageModel`` and on the same model built of ``torch.nn``; "unrolled
train" is the package's own loop, which reads the text, measures the gradient's norm and watches the loss besides,
against the same few lines. The peer in its best form: ``F.cross_entropy`` on flat scores, ``AdamW(fused=True)``,
gradients set to None, the state carried and detached, and for one-hot input the faster of ``F.one_hot`` and a gather
of unit rows.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.bench import parity
from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Bar, Row
from unrolled.bench.measure import Pairs, Side, Yardstick, compare, fastest
from unrolled.bench.parity import ParityError
from unrolled.bench.text import make_corpus
from unrolled.bench.trainer import Training
from unrolled.data.corpus import Corpus
from unrolled.state import detach
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel

B, T, V, CHUNKS, CHECKED = 32, 64, 65, 16, 3
ADAMW = {"lr": 2e-3, "betas": (0.9, 0.99), "weight_decay": 0.0, "fused": True}
BARS = {256: Bar(2.0, 2.5), 512: Bar(1.9, 2.5)}


class Peer(nn.Module):
    """The model in torch.nn alone; ``entry`` says how a token enters."""

    def __init__(self, config: LanguageConfig, entry: str) -> None:
        super().__init__()
        self.entry = entry
        size = config.embedding_size if entry == "embedding" else V
        self.embedding = nn.Embedding(V, size) if entry == "embedding" else None
        self.rnn = nn.LSTM(size, config.hidden)
        self.head = nn.Linear(config.hidden, V)
        self.register_buffer("unit_rows", torch.eye(V), persistent=False)

    def forward(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Scores (T, B, V) and the state."""
        if self.embedding is not None:
            x = self.embedding(ids)
        elif self.entry == "unit rows":
            x = F.embedding(ids, self.unit_rows)  # type: ignore[arg-type]
        else:
            x = F.one_hot(ids, V).float()
        output, state = self.rnn(x, state)
        return self.head(output), state


class Steps:
    """Training steps of a model over the same chunks, again and again."""

    def __init__(self, name: str, model: nn.Module, chunks: list[tuple[Tensor, Tensor]]) -> None:
        self.name, self.model, self.state = name, model, None
        self.optimiser = torch.optim.AdamW(model.parameters(), **ADAMW)  # type: ignore[arg-type]
        self.chunks = itertools.cycle(chunks)

    def run(self) -> None:
        """One step."""
        x, y = next(self.chunks)
        scores, state = self.model(x, self.state)
        loss = F.cross_entropy(scores.flatten(0, 1), y.flatten())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.state = detach(state)

    def after(self, steps: int) -> dict[str, Tensor]:
        """Weights after so many steps, as copies."""
        for _ in range(steps):
            self.run()
        return {name: w.detach().clone() for name, w in self.model.state_dict().items()}


def rows(config: BenchConfig, hidden: tuple[int, ...] = (256, 512), steps: int = 12) -> Iterator[Row]:
    """Two sizes, two ways of input, by hand and in the package's loop."""
    with tempfile.TemporaryDirectory() as name:
        corpus, yardstick = None, None
        for H, entry in itertools.product(hidden, ("one-hot", "embedding")):
            titles = [f"LSTM H{H}, {entry}, {how}" for how in ("by hand", "unrolled train")]
            if not any(config.wants(t) for t in titles):
                continue
            corpus, yardstick = corpus or make_corpus(Path(name), 300_000, V=V), yardstick or Yardstick()
            yield from _rows(titles, H, entry, config, corpus, Path(name), yardstick, steps)


def _rows(
    titles: list[str], H: int, entry: str, config: BenchConfig, corpus: Corpus, folder: Path, yardstick: Yardstick,
    steps: int,
) -> Iterator[Row]:  # fmt: skip
    shape = LanguageConfig(cell="lstm", hidden=H, input=entry, engine=config.engine)
    chunks = _chunks(corpus)
    try:
        torch.manual_seed(1)
        weights = {n: w.clone() for n, w in LanguageModel(V, shape).state_dict().items()}
        make = _maker(shape, weights, chunks)
        ours, peers = (
            make("ours"),
            [make(e) for e in (("embedding",) if entry == "embedding" else ("one-hot", "unit rows"))],
        )
        for peer in peers:
            parity.check(make("ours").after(CHECKED), make(peer.name).after(CHECKED), limit=5e-3)
    except ParityError as error:
        yield Row(titles[0], refused=str(error))
        return
    except ValueError as error:
        yield Row(titles[0], skipped=str(error))
        return
    theirs = fastest([Side(p.name, p.run) for p in peers])
    if config.wants(titles[0]):
        yield _told(titles[0], compare(Side("ours", ours.run), theirs, pairs=config.pairs, yardstick=yardstick), H,
                    theirs.name)  # fmt: skip
    if config.wants(titles[1]):
        train = {"batch": B, "bptt": str(T), "optimiser": "adamw", "lr": 2e-3, "schedule": "constant", "warmup": 0,
                 "clip_norm": 0.0}  # fmt: skip
        model = {"cell": "lstm", "hidden": H, "input": entry, "engine": config.engine}
        loop = Training(corpus, folder, model, train)
        yield _told(
            titles[1], compare(loop.side(steps), theirs, pairs=config.pairs, yardstick=yardstick), H, theirs.name
        )


def _told(title: str, found: Pairs, H: int, peer: str) -> Row:
    figures = {"ratio": found.ratio(BARS.get(H)), "ours, tokens": found.rate(B * T), "torch": found.rate(B * T, "peer"),
               "sgemm": found.sgemm()}  # fmt: skip
    return Row(title, figures, note=f"peer: {peer}")


def _maker(
    shape: LanguageConfig, weights: dict[str, Tensor], chunks: list[tuple[Tensor, Tensor]]
) -> Callable[[str], Steps]:
    def make(which: str) -> Steps:
        model: nn.Module = LanguageModel(V, shape) if which == "ours" else Peer(shape, which)
        model.load_state_dict(weights)
        return Steps(which, model, chunks)

    return make


def _chunks(corpus: Corpus) -> list[tuple[Tensor, Tensor]]:
    """(T, B) ids and targets, cut from the text beforehand."""
    ids = torch.from_numpy(corpus.tokens[: CHUNKS * T * B + B].astype("int64"))
    streams = ids[: (len(ids) // B) * B].view(B, -1).t()
    return [(streams[k * T : (k + 1) * T].contiguous(), streams[k * T + 1 : (k + 1) * T + 1].contiguous())
            for k in range((len(streams) - 1) // T)]  # fmt: skip
