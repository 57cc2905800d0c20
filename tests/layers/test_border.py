"""What a caller may hold: lengths, resets, ids and states in every form, and how bad ones are named."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import unrolled.layers
from tests.cases import as_tuple
from tests.tolerances import assert_close
from unrolled.engines import ENGINES, Request, refusal
from unrolled.layers import GRU, LSTM, GRUCell, LSTMCell, RNNCell

T, B, I, H = 5, 4, 3, 6
HERE = [e for e in ENGINES if refusal(e, Request("lstm")) is None]


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("tokens", [False, True])
def test_every_row_equals_itself_alone_at_its_own_length(
    kind: str, bidirectional: bool, batch_first: bool, num_layers: int, tokens: bool
) -> None:
    layer = getattr(unrolled.layers, kind)(
        I, H, num_layers, bidirectional=bidirectional, batch_first=batch_first, dtype=torch.float64
    )
    lengths = [T, 0, 2, 3]
    x = torch.randint(0, I, (T, B)) if tokens else torch.randn(T, B, I, dtype=torch.float64)
    if tokens:
        x[3:, 2] = 99  # ids in the padding may be anything
    resets = torch.rand(T, B) < 0.4
    resets[2, 2] = resets[3, 3] = resets[0, 1] = True  # on the first step of padding
    rows = num_layers * (2 if bidirectional else 1)
    state = tuple(torch.randn(rows, B, H, dtype=torch.float64) for _ in range(2 if kind == "LSTM" else 1))

    def flip(t: torch.Tensor) -> torch.Tensor:
        return t.transpose(0, 1) if batch_first else t

    output, last = layer(
        flip(x), state if kind == "LSTM" else state[0], lengths=torch.tensor(lengths), resets=flip(resets)
    )
    for b, n in enumerate(lengths):
        assert torch.count_nonzero(flip(output)[n:, b]) == 0
        own = tuple(s[:, b : b + 1] for s in state)
        if n == 0:
            assert_close([s[:, b : b + 1] for s in as_tuple(last)], own)
            continue
        given = own if kind == "LSTM" else own[0]
        alone, alone_last = layer(flip(x[:n, b : b + 1]), given, resets=flip(resets[:n, b : b + 1]))
        assert_close(flip(output)[:n, b], flip(alone)[:, 0], what=f"row {b}")
        assert_close([s[:, b] for s in as_tuple(last)], [s[:, 0] for s in as_tuple(alone_last)], what=f"row {b}")


@pytest.mark.parametrize("engine", HERE)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_lengths_of_every_integer_dtype(engine: str, dtype: torch.dtype) -> None:
    layer, x = LSTM(I, H, engine=engine), torch.randn(T, B, I)
    lengths = torch.tensor([5, 0, 2, 3])
    assert_close(layer(x, lengths=lengths.to(dtype))[0], layer(x, lengths=lengths)[0])


def test_unbatched_lengths_are_a_scalar_or_one_row() -> None:
    layer, x = GRU(I, H), torch.randn(T, I)
    expected = layer(x[:2])[1]
    for lengths in (2, [2], torch.tensor(2), torch.tensor([2])):
        assert_close(layer(x, lengths=lengths)[1], expected)
    with pytest.raises(ValueError, match=r"expected \(1,\) or \(\)"):
        layer(x, lengths=[2, 2])
    with pytest.raises(ValueError, match=r"\(B,\)"):
        layer(torch.randn(T, 1, I), lengths=2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_ids_of_every_integer_dtype(dtype: torch.dtype) -> None:
    layer, cell, ids = LSTM(I, H), LSTMCell(I, H), torch.randint(0, I, (T, B))
    assert torch.equal(layer(ids.to(dtype))[0], layer(ids)[0])
    assert torch.equal(cell(ids[0].to(dtype))[0], cell(ids[0])[0])


@pytest.mark.parametrize("make", [RNNCell, LSTMCell, GRUCell])
def test_cells_name_bad_ids_and_inputs(make: Any) -> None:
    cell = make(I, H)
    with pytest.raises(ValueError, match="holds the id 3, expected 0 to 2"):
        cell(torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="holds the id -1"):
        cell(torch.tensor(-1))
    with pytest.raises(TypeError, match="bool"):
        cell(torch.zeros(2, I, dtype=torch.bool))
    with pytest.raises(TypeError, match="must be a Tensor, not list"):
        cell([1.0])
    with pytest.raises(ValueError, match=r"input has dtype torch.float64, the weights have torch.float32"):
        cell(torch.zeros(2, I, dtype=torch.float64))


def test_bool_input_is_refused_and_valid_ids_are_checked_to_the_length() -> None:
    layer = GRU(I, H)
    with pytest.raises(TypeError, match="bool"):
        layer(torch.zeros(T, B, dtype=torch.bool))
    ids = torch.zeros(T, 2, dtype=torch.int64)
    ids[3, 1] = 7
    layer(ids, lengths=[5, 3])
    with pytest.raises(ValueError, match="holds the id 7"):
        layer(ids, lengths=[5, 4])


@pytest.mark.parametrize("name", ["h", "c"])
@pytest.mark.parametrize("cell", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
def test_the_dtype_and_device_of_a_state_are_checked(name: str, cell: bool, tokens: bool) -> None:
    net: Any = LSTMCell(I, H) if cell else LSTM(I, H)
    x = torch.randn(B, I) if cell else torch.randn(T, B, I)
    if tokens:
        x = x[..., 0].long() * 0
    good = torch.zeros(*(() if cell else (1,)), B, H)
    for bad, words in ((good.double(), "dtype torch.float64.* torch.float32"), (good.to("meta"), "meta.*cpu")):
        with pytest.raises(ValueError, match=rf"hx \({name}\).*{words}"):
            net(x, (bad, good) if name == "h" else (good, bad))


@pytest.mark.parametrize("engine", HERE)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_batch_of_nothing_but_padding_has_exact_zero_gradients(engine: str, bidirectional: bool) -> None:
    layer = LSTM(I, H, 2, bidirectional=bidirectional, engine=engine)
    x = torch.full((T, B, I), float("nan"), requires_grad=True)
    state = tuple(torch.randn(4 if bidirectional else 2, B, H, requires_grad=True) for _ in "hc")
    output, last = layer(x, state, lengths=torch.zeros(B, dtype=torch.int64))
    assert torch.count_nonzero(output) == 0
    assert_close(last, state)
    wrt = [x, *layer.parameters()]
    for loss in (output.sum(), last[0].sum()):
        for grad in torch.autograd.grad(loss, wrt, retain_graph=True, allow_unused=engine == "reference"):
            assert grad is None or torch.count_nonzero(grad) == 0
    assert_close(torch.autograd.grad(last[1].sum(), [state[1]])[0], torch.ones_like(state[1]))
    output, last = layer(x.detach(), lengths=torch.zeros(B, dtype=torch.int64))  # and without a given state
    (output.sum() + last[0].sum()).backward()
    assert all(p.grad is not None and torch.count_nonzero(p.grad) == 0 for p in layer.parameters())


@pytest.mark.parametrize("engine", HERE)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_an_empty_batch(kind: str, engine: str) -> None:
    layer = getattr(unrolled.layers, kind)(I, H, engine=engine)
    for lengths in (None, torch.zeros(0, dtype=torch.int64)):
        output, last = layer(torch.zeros(T, 0, I), lengths=lengths)
        assert output.shape == (T, 0, H)
        assert as_tuple(last)[0].shape == (1, 0, H)


@pytest.mark.parametrize("engine", HERE)
def test_what_a_call_hands_out_is_no_part_of_the_next(engine: str) -> None:
    """States that are not given are zeros that calls share: nothing that comes out may be such a one."""
    layer, x = LSTM(I, H, engine=engine), torch.randn(T, B, I)
    with torch.inference_mode():
        first = layer(x, lengths=torch.tensor([T, 0, 2, 0]))
        expected = [first[0].clone(), *(s.clone() for s in first[1])]
        for s in first[1]:
            s.fill_(7.0)
    output, hx = layer(x, lengths=torch.tensor([T, 0, 2, 0]))  # made in inference mode, used in training
    assert_close([output, *hx], [e.clone() for e in expected])
    output.sum().backward()
    if engine != "aten":
        for trace in layer(x, trace=True)[2]:
            for s in trace.states.values():
                s.detach().fill_(7.0)
        assert_close([*layer(x, lengths=torch.tensor([T, 0, 2, 0]))[1]], expected[1:])
