from __future__ import annotations

import math

import pytest
import torch

import unrolled.layers
from unrolled import cells
from unrolled.layers import GRU, LSTM, RNN


def patterned(cell: cells.Cell) -> dict[str, torch.Tensor]:
    """Weights that are not random: ((7 k) mod 11 - 5) / 10 over each tensor's elements."""
    return {
        p.name: (((torch.arange(math.prod(p.shape)) * 7) % 11 - 5).double() / 10).reshape(p.shape)
        for p in cell.parameters()
    }


GOLDEN = {
    "rnn-tanh": [[-0.4029819003951011, 0.671546458293702, -0.8614052713463749]],
    "lstm": [
        [0.12142773855007316, 0.15575663527605954, -0.02601263628619272],
        [0.27929856497855654, 0.3797164494157811, -0.09018405492068042],
    ],
    "gru": [[0.21809164825103247, 0.21747428871288627, 0.06362167164683023]],
}


@pytest.mark.parametrize("name", ["rnn-tanh", "lstm", "gru"])
def test_law_1_golden_values(name: str) -> None:
    """Two steps of a cell with I = 2, H = 3, from patterned weights, worked out by hand with Python's math module."""
    cell = {"rnn-tanh": cells.RNNCell, "lstm": cells.LSTMCell, "gru": cells.GRUCell}[name](2, 3)
    w = patterned(cell)
    state = tuple(torch.tensor([[0.1, -0.2, 0.3]], dtype=torch.float64) for _ in cell.states)
    for row in ([1.0, -1.0], [0.5, 2.0]):
        state, _ = cell.step(cell.project(torch.tensor([row]).double(), w), state, w)
    for got, expected in zip(state, GOLDEN[name], strict=True):
        assert got[0].tolist() == pytest.approx(expected, rel=1e-13)


def test_parameter_counts_follow_the_formula() -> None:
    for I, H in ((7, 5), (65, 256)):
        for kind, G in ((RNN, 1), (GRU, 3), (LSTM, 4)):
            count = sum(p.numel() for p in kind(I, H, num_layers=2, bidirectional=True).parameters())
            assert count == 2 * G * H * (I + H + 2) + 2 * G * H * (2 * H + H + 2)


def test_orthogonal_blocks_and_forget_bias() -> None:
    layer = LSTM(4, 8, init="orthogonal", forget_bias=1.0, dtype=torch.float64)
    for block in layer.weight_hh_l0.chunk(4):
        assert torch.allclose(block @ block.T, torch.eye(8, dtype=torch.float64), atol=1e-12)
    total = layer.bias_ih_l0 + layer.bias_hh_l0
    assert torch.equal(total[8:16], torch.ones(8, dtype=torch.float64))
    assert torch.count_nonzero(total) == 8


def test_identity_start_carries_the_state() -> None:
    layer = RNN(4, 8, nonlinearity="relu", init="identity")
    state = torch.rand(1, 2, 8)
    assert torch.equal(layer(torch.zeros(50, 2, 4), state)[0][-1], state[0])
    assert layer.weight_ih_l0.std() < 0.002


def test_chrono_biases_span_the_lags() -> None:
    layer = LSTM(4, 2000, init="chrono", t_max=100)
    i, f, _, _ = (layer.bias_ih_l0 + layer.bias_hh_l0).chunk(4)
    assert torch.equal(i, -f)
    assert f.min() >= 0
    assert math.log(95) < f.max() <= math.log(99)
    assert abs(f.exp().mean().item() - 50) < 3
    gru = GRU(4, 2000, init="chrono", t_max=100)
    z = (gru.bias_ih_l0 + gru.bias_hh_l0).chunk(3)[1]  # z near 1 keeps, in torch's order
    assert abs(z.exp().mean().item() - 50) < 3
    with pytest.raises(ValueError, match="t_max=2"):
        LSTM(4, 5, init="chrono", t_max=2)


def test_normal_is_the_lectures_start() -> None:
    layer = RNN(65, 100, init="normal")
    assert 0.0095 < layer.weight_hh_l0.std() < 0.0105
    assert torch.count_nonzero(layer.bias_ih_l0) == torch.count_nonzero(layer.bias_hh_l0) == 0


def test_reset_parameters_starts_again() -> None:
    layer = unrolled.layers.LSTM(4, 8, layer_norm=True, init="orthogonal")
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(7.0)
    layer.reset_parameters()
    assert torch.equal(layer.gain_hh_l0, torch.ones(32))
    assert torch.count_nonzero(layer.shift_c_l0) == 0
    assert layer.weight_hh_l0.abs().max() <= 1
