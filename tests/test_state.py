from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

import unrolled.layers
from unrolled import state as states
from unrolled.layers import GRU, LSTM


def test_zeros_for_ours_and_for_torchs() -> None:
    for layer in (
        LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2),
        torch.nn.LSTM(3, 4, 2, bidirectional=True),
    ):
        h, c = states.zeros(layer, 5)
        assert h.shape == (4, 5, layer.proj_size or 4)
        assert c.shape == (4, 5, 4)
        assert layer(torch.zeros(2, 5, 3), (h, c))[0].shape[:2] == (2, 5)
    assert states.zeros(GRU(3, 4), None).shape == (1, 4)
    assert states.zeros(GRU(3, 4, dtype=torch.float64), 2).dtype == torch.float64


def test_detach_is_the_truncation() -> None:
    layer = LSTM(3, 4)
    _, state = layer(torch.randn(2, 1, 3))
    h, c = states.detach(state)
    assert state[0].requires_grad
    assert not h.requires_grad
    assert not c.requires_grad
    assert states.detach(None) is None


def test_reset_select_stack_split_round_trip() -> None:
    state = (torch.randn(2, 5, 3), torch.randn(2, 5, 4))
    kept = states.reset(state, torch.tensor([True, False, False, True, False]))
    assert torch.count_nonzero(kept[0][:, [0, 3]]) == 0
    assert torch.equal(kept[1][:, [1, 2, 4]], state[1][:, [1, 2, 4]])
    picked = states.select(state, [4, 4, 0])
    assert torch.equal(picked[1], state[1][:, [4, 4, 0]])
    assert torch.equal(states.select(state, torch.tensor([0, 1, 0, 0, 1]).bool())[0], state[0][:, [1, 4]])
    for sizes in (1, [2, 3]):
        joined = states.stack(states.split(state, sizes))
        assert isinstance(joined, tuple)
        assert all(torch.equal(a, b) for a, b in zip(joined, state, strict=True))
    cell = torch.randn(5, 3)
    assert torch.equal(states.stack(states.split(cell)), cell)
    nested = {"rnn": state, "other": [cell]}
    again = states.stack(states.split(nested, 1))
    assert torch.equal(again["other"][0], cell)


def test_what_is_no_state_is_named() -> None:
    with pytest.raises(TypeError, match="not str"):
        states.detach("h")


class Named(NamedTuple):
    h: Any
    c: Any


def test_zeros_for_cells_ours_and_torchs() -> None:
    for module in (unrolled.layers, torch.nn):
        h, c = states.zeros(module.LSTMCell(3, 4), 5)
        assert h.shape == c.shape == (5, 4)
        assert states.zeros(module.GRUCell(3, 4, dtype=torch.float64), 5).dtype == torch.float64
        assert states.zeros(module.RNNCell(3, 4), None).shape == (4,)
        cell = module.LSTMCell(3, 4)
        assert torch.equal(cell(torch.ones(5, 3), (h, c))[0], cell(torch.ones(5, 3))[0])


def test_nothing_selected_none_kept_and_named_tuples_stay_named() -> None:
    state = Named(torch.randn(2, 5, 3), None)
    assert states.select(state, []).h.shape == (2, 0, 3)
    assert states.select(state, torch.zeros(5, dtype=torch.bool)).h.shape == (2, 0, 3)
    assert isinstance(states.detach(state), Named)
    pieces = states.split(state, 2)
    assert [p.h.shape[1] for p in pieces] == [2, 2, 1]
    assert all(isinstance(p, Named) and p.c is None for p in pieces)
    joined = states.stack(pieces)
    assert isinstance(joined, Named)
    assert torch.equal(joined.h, state.h)
    assert joined.c is None
    assert states.split(None, [2, 3]) == [None, None]
    assert [s.shape[1] for s in states.split(torch.zeros(1, 0, 3))] == [0]
    with pytest.raises(ValueError, match="give a list of sizes"):
        states.split(None, 2)
    with pytest.raises(ValueError, match="some states are None"):
        states.stack([None, state.h])
    with pytest.raises(TypeError, match="not str"):
        states.split("h")
