"""Long sequences in pieces: the same gradient, and truncation that is truncation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unrolled.layers import GRU, LSTM, RNN
from unrolled.state import detach
from unrolled.tasks import long
from unrolled.tasks.classify.config import POOLS, ClassifyConfig
from unrolled.tasks.classify.model import Classifier

LENGTHS = torch.tensor([23, 9, 0, 1, 24])
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def grads(model: torch.nn.Module) -> list[torch.Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize(
    ("cell", "pool"), [*(("lstm", pool) for pool in POOLS), ("gru", "last"), ("rnn-tanh", "concat")]
)
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_pieces_along_time_give_the_same_gradient(
    monkeypatch: pytest.MonkeyPatch, pool: str, cell: str, bidirectional: bool, layers: int
) -> None:
    config = ClassifyConfig(
        cell=cell, hidden=4, embedding=5, pool=pool, bidirectional=bidirectional, layers=layers, ngrams=True
    )
    torch.manual_seed(1)
    model, x = Classifier(7, 3, config, numbers=False).double(), torch.randint(0, 7, (24, 5))
    model.head.weight.data.normal_()
    monkeypatch.setattr(long, "SHARE", 2)
    found = []
    for limit in (
        1 << 28,
        model.kept(24, 1) // 2,
    ):  # then rows apart, each in pieces of 6 steps
        monkeypatch.setattr(long, "LIMIT", limit)
        model.zero_grad()
        scores = model(x, LENGTHS)
        scores.square().sum().backward()
        found.append([scores.detach(), *grads(model)])
    assert all(g.abs().sum() > 0 for g in found[0][:2])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@pytest.mark.parametrize("engine", ["native", "reference", "aten"])
def test_a_layer_in_pieces_is_the_layer(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    torch.manual_seed(1)
    more: dict[str, Any] = {} if engine == "aten" else {"layer_norm": True, "zoneout": 0.2}
    layers = [
        LSTM(3, 4, 2, bidirectional=True, engine=engine, **more), GRU(3, 4, 2, engine=engine, **more),
        RNN(3, 4, 1, "relu", bidirectional=True, engine=engine, **more),
    ]  # fmt: skip
    for layer in (one.double().eval() for one in layers):
        x = torch.randn(24, 5, 3, dtype=torch.float64, requires_grad=True)
        D = layer.num_layers * (2 if layer.bidirectional else 1)
        first = [torch.randn(D, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
        state: Any = tuple(first) if layer.mode == "LSTM" else first[0]
        runs = []
        for limit in (1 << 28, 400):
            monkeypatch.setattr(long, "LIMIT", limit)
            output, last = long.read(layer, x, LENGTHS, state)
            parts = last if isinstance(last, tuple) else (last,)
            total = output.square().sum() + sum(part.sin().sum() for part in parts)
            wanted = [x, *first[: len(parts)], *layer.parameters()]
            runs.append([output, *parts, *torch.autograd.grad(total, wanted)])
        for a, b in zip(*runs, strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


def test_what_is_kept_is_what_pieces_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece's tape is thrown away, and made again with the masks that it had."""
    torch.manual_seed(1)
    layer = LSTM(3, 8, 2, bidirectional=True, dropout=0.5, zoneout=0.3, recurrent_dropout=0.2).double()
    x, kept, found = torch.randn(64, 2, 3, dtype=torch.float64), [], []
    lengths = torch.tensor([64, 50])
    for limit, cut in ((1 << 28, 8), (2000, 8)):  # the same pieces, kept and computed again
        monkeypatch.setattr(long, "LIMIT", limit)
        held: dict[int, int] = {}

        def pack(t: torch.Tensor, held: dict[int, int] = held) -> torch.Tensor:
            held[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes() // 8
            return t

        layer.zero_grad()
        torch.manual_seed(2)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            output, _ = long.read(layer, x, lengths, cut=cut)
        kept.append(sum(held.values()))
        output.square().sum().backward()
        found.append([output.detach(), *grads(layer)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    assert kept[1] < kept[0] / 2


def test_truncation_detaches_the_state_every_k_steps_and_spares_the_end() -> None:
    torch.manual_seed(1)
    layer = LSTM(3, 4).double()
    x = torch.randn(23, 1, 3, dtype=torch.float64)
    for T in (7, 8, 11, 23):
        layer.zero_grad()
        output, (h, _) = long.read(layer, x[:T], torch.tensor([T]), cut=4)
        (h.sin().sum() + output.square().sum()).backward()
        found = grads(layer)
        layer.zero_grad()
        state, outputs = None, []
        for t in range(T):  # by hand: cut before 4, 8, ..., where 4 steps are left at least
            state = detach(state) if t and t % 4 == 0 and T - t >= 4 else state
            y, state = layer(x[t : t + 1], state)
            outputs.append(y)
        assert state is not None
        (state[0].sin().sum() + torch.cat(outputs).square().sum()).backward()
        for a, b in zip(found, grads(layer), strict=True):
            torch.testing.assert_close(a, b, **CLOSE)


def test_truncation_of_a_row_does_not_hang_on_its_neighbours_and_is_for_training_only() -> None:
    torch.manual_seed(1)
    layer = GRU(3, 4, 2, bidirectional=True).double()
    x, lengths = torch.randn(24, 5, 3, dtype=torch.float64), LENGTHS
    together = []
    for b in range(5):
        output, h = long.read(layer, x, lengths, cut=4)
        wanted = list(layer.parameters())
        together.append(torch.autograd.grad(h[:, b].sin().sum() + output[:, b].square().sum(), wanted))
    for b, length in enumerate(lengths.tolist()):
        if length:
            output, h = long.read(layer, x[:length, b : b + 1], torch.tensor([length]), cut=4)
            alone = torch.autograd.grad(h.sin().sum() + output.square().sum(), list(layer.parameters()))
            for p, q in zip(together[b], alone, strict=True):
                torch.testing.assert_close(p, q, **CLOSE)
    layer.eval()
    exact = torch.autograd.grad(long.read(layer, x, lengths)[1].sum(), layer.weight_hh_l0)[0]
    assert torch.equal(exact, torch.autograd.grad(long.read(layer, x, lengths, cut=4)[1].sum(), layer.weight_hh_l0)[0])
    layer.train()
    cut = torch.autograd.grad(long.read(layer, x, lengths, cut=4)[1].sum(), layer.weight_hh_l0)[0]
    assert not torch.allclose(exact, cut, rtol=1e-3)


def test_what_is_said() -> None:
    lengths = np.array([3, 20, 19, 500])
    assert long.notes(lengths, 1000, None, "examples") == []
    (told,) = long.notes(lengths, 1000, 10, "examples")
    assert "cut every 10 steps, in 2 of 4 examples; --bptt full" in told
    (told,) = long.notes(lengths, 3 << 28, None, "examples")
    assert "has 500 steps" in told
    assert "about 3.0 GiB, and 1 is the limit" in told
    assert long.cut_of("full") is None
    assert long.cut_of("12") == 12
    assert "--bptt 12" in long.described(12)
