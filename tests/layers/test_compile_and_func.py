"""torch.compile, torch.export and torch.func: which engine runs, and that nothing is lost on the way."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import unrolled.layers
from tests.tolerances import assert_close
from unrolled.engines import Request, choose, spy
from unrolled.layers import GRU, LSTM, LSTMCell

T, B, I, H = 5, 3, 4, 6


@pytest.fixture(autouse=True)
def _nothing_compiled_yet() -> None:
    torch.compiler.reset()  # dynamo counts the compilations of one code object, whoever asked for them


def test_compiled_calls_pass_torchs_kernels_by_for_the_true_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = choose("auto", Request("lstm", compiled=True))
    assert explanation.engine in ("native", "reference")
    if explanation.engine == "reference":
        assert explanation.reasons["aten"] == "no: torch's kernels do not go through torch.compile"
    with pytest.raises(ValueError, match="do not go through"):
        choose("aten", Request("lstm", compiled=True))
    asked: list[Request] = []
    layer, x = LSTM(I, H), torch.randn(T, B, I)
    original = type(layer)._request

    def seen(self: Any, *args: Any) -> Request:
        request = original(self, *args)
        asked.append(request)
        return request

    monkeypatch.setattr(LSTM, "_request", seen)
    monkeypatch.setattr("unrolled.engines.select.native_at_once", lambda *_: False)  # which asks for no request
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    with spy() as ran:
        output = compiled(x)[0]
    assert ran == []
    assert (asked[-1].compiled, asked[-1].transformed) == (True, False)
    assert layer.explain(x).engine != "reference"
    assert_close(output, layer(x)[0])


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU", "LSTMCell"])
def test_gradients_go_through_aot_autograd(kind: str) -> None:
    layer = getattr(unrolled.layers, kind)(I, H)
    x = torch.randn(B, I) if kind.endswith("Cell") else torch.randn(T, B, I)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    wrt = list(layer.parameters())
    expected = torch.autograd.grad(layer(x)[0].square().sum(), wrt)
    assert_close(torch.autograd.grad(compiled(x)[0].square().sum(), wrt), expected, gradient=True)


def test_exports() -> None:
    layer, x = GRU(I, H).eval(), torch.randn(T, B, I)
    exported = torch.export.export(layer, (x,)).module()
    assert_close(exported(x)[0], layer(x)[0])


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_per_sample_gradients_of_a_character_model(kind: str) -> None:
    layer = getattr(unrolled.layers, kind)(I, H, dtype=torch.float64)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}
    ids, lengths = torch.randint(0, I, (B, T)), torch.tensor([T, 2, 0])

    def loss(parameters: Any, row: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        output = torch.func.functional_call(layer, parameters, (row,), {"lengths": length})[0]
        return output.square().sum()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, ids, lengths)
    for b in range(B):
        output = layer(ids[b], lengths=lengths[b : b + 1])[0]
        alone = torch.autograd.grad(output.square().sum(), list(layer.parameters()))
        for (name, stacked), expected in zip(per_sample.items(), alone, strict=True):
            assert_close(stacked[b], expected, gradient=True, what=name)
    assert all(torch.count_nonzero(stacked[0]) for name, stacked in per_sample.items() if "weight" in name)


def test_cells_map_over_ids() -> None:
    cell, ids = LSTMCell(I, H, dtype=torch.float64), torch.tensor([0, 3, 1])
    mapped = torch.func.vmap(lambda token: cell(token))(ids)
    assert_close(mapped, cell(ids))
