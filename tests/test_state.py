from __future__ import annotations

import pytest
import torch

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
