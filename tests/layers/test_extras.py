"""Extras over a layer's life: started again, assigned, shown; half precision; what is made once."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch.nn.utils import parametrizations, parametrize

from tests.tolerances import assert_close
from unrolled.layers import GRU, LSTM, RNN, LSTMCell

T, B, I, H = 5, 3, 4, 6


@pytest.mark.parametrize("make", [lambda: LSTM(I, H), lambda: LSTMCell(I, H)])
def test_parametrised_weights_really_start_again(make: Any) -> None:
    layer = make()
    name = next(n for n, _ in layer.named_parameters() if n.startswith("weight_hh"))
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(7.0)
    parametrizations.weight_norm(layer, name)
    torch.manual_seed(3)
    layer.reset_parameters()
    fresh = make()
    torch.manual_seed(3)
    fresh.reset_parameters()
    x = torch.randn(T, B, I)[0] if isinstance(layer, LSTMCell) else torch.randn(T, B, I)
    assert torch.allclose(getattr(layer, name), getattr(fresh, name))
    assert torch.allclose(layer(x)[0], fresh(x)[0], atol=1e-6)


def test_weights_that_cannot_be_set_are_named() -> None:
    class Halved(torch.nn.Module):
        def forward(self, w: torch.Tensor) -> torch.Tensor:
            return w / 2

    layer = LSTM(I, H)
    parametrize.register_parametrization(layer, "weight_hh_l0", Halved())
    before = layer.weight_ih_l0.detach().clone()
    with pytest.raises(ValueError, match="weight_hh_l0 is parametrised by Halved, which has no right_inverse"):
        layer.reset_parameters()
    assert torch.equal(layer.weight_ih_l0, before)
    layer = LSTM(I, H)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.nn.utils.weight_norm(layer, "weight_hh_l0")
    with pytest.raises(ValueError, match="weight_hh_l0 is computed from other tensors"):
        layer.reset_parameters()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_starts_and_normalises(dtype: torch.dtype) -> None:
    layer = LSTM(I, H, init="orthogonal", layer_norm=True, dtype=dtype)
    for block in layer.weight_hh_l0.chunk(4):
        assert torch.allclose(block.float() @ block.float().T, torch.eye(H), atol=0.03)
    large = torch.full((1, B, I), 300.0, dtype=dtype)  # its square leaves the range of float16
    large[..., 0] = -300.0
    wide = copy.deepcopy(layer).float()
    output = layer(large)[0]
    assert output.dtype == dtype
    assert torch.allclose(output.float(), wide(large.float())[0], atol=0.02)
    output.float().square().sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_t_max_belongs_to_chrono() -> None:
    for make in (LSTM, LSTMCell):
        with pytest.raises(ValueError, match="t_max=256: only init='chrono' takes it, not init='torch'"):
            make(I, H, t_max=256)
        torch.manual_seed(1)
        a = make(I, H, init="chrono")
        torch.manual_seed(1)
        b = make(I, H, init="chrono", t_max=256)
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "identity"])
def test_the_identity_start_is_for_every_vanilla_cell(nonlinearity: str) -> None:
    assert torch.equal(RNN(I, H, nonlinearity=nonlinearity, init="identity").weight_hh_l0, torch.eye(H))


def test_rates_may_be_annealed_and_are_checked() -> None:
    layer = LSTM(I, H, zoneout=0.1)
    layer.zoneout = (0.2, 0.3)
    assert layer.zoneout == (0.2, 0.3)
    layer.zoneout = 0.4
    assert layer.zoneout == (0.4, 0.4)
    layer.recurrent_dropout = 0.25
    assert "recurrent_dropout=0.25, zoneout=(0.4, 0.4)" in repr(layer)
    for name, bad in (("zoneout", 1.0), ("zoneout", (0.1, 0.2, 0.3)), ("recurrent_dropout", -0.1)):
        with pytest.raises(ValueError, match=name):
            setattr(layer, name, bad)
    assert (layer.zoneout, layer.recurrent_dropout) == ((0.4, 0.4), 0.25)
    again = pickle.loads(pickle.dumps(layer))
    assert (again.zoneout, again.recurrent_dropout) == ((0.4, 0.4), 0.25)
    layer.zoneout, layer.recurrent_dropout = 0.0, 0.0
    layer.engine = "aten"
    assert layer.explain(torch.zeros(T, B, I)).engine == "aten"


def test_what_differs_from_torch_is_shown() -> None:
    assert repr(GRU(I, H, reset_after=False)) == "GRU(4, 6, reset_after=False)"
    assert repr(RNN(I, H, nonlinearity="identity")) == "RNN(4, 6, nonlinearity='identity')"
    assert repr(LSTM(I, H, init="chrono", t_max=99)) == "LSTM(4, 6, init='chrono', t_max=99)"


def test_cells_are_made_once_and_again_when_an_attribute_changes() -> None:
    layer, x = RNN(I, H, engine="reference"), torch.randn(T, B, I)
    assert layer._cell(0) is layer._cell(0)
    before = layer(x)[0]
    layer.nonlinearity = "relu"
    assert layer.explain(x).engine == "reference"
    assert layer._cell(0).name == "rnn-relu"
    assert layer(x)[0].min() == 0 > before.min()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other._cell(0) is not layer._cell(0)
        assert_close(other(x)[0], layer(x)[0])
        other.nonlinearity = "tanh"
        assert_close(other(x)[0], before)
    assert layer._cell(0).name == "rnn-relu"


def test_every_layer_and_direction_has_masks_of_its_own() -> None:
    """Recurrent dropout and zoneout of a stack: none is another's, h's zoneout is not c's."""
    layer = LSTM(40, 40, 2, bidirectional=True, recurrent_dropout=0.5, zoneout=0.5)
    from unrolled.layers.border import enter

    entry = enter(layer, torch.zeros(T, B, 40), None, None, None)
    seed = torch.tensor(5)
    calls = [layer._call(entry, entry.x, k // 2, k % 2, seed) for k in range(4)]
    drawn = [call.mask == 0 for call in calls] + [z[0] for call in calls for z in call.zoned]
    for k, a in enumerate(drawn):
        assert 0.3 < a.double().mean() < 0.7
        for b in drawn[:k]:
            assert 0.3 < (a == b).double().mean() < 0.7
    torch.manual_seed(2)
    assert not torch.equal(layer(entry.x)[0], layer(entry.x)[0])  # and each forward call draws new ones


def test_each_state_has_its_own_rate_in_training() -> None:
    layer = LSTM(I, 200, zoneout=(0.1, 0.6))
    from unrolled.layers.border import enter

    entry = enter(layer, torch.zeros(50, B, I), None, None, None)
    h, c = layer._call(entry, entry.x, 0, 0, torch.tensor(1)).zoned
    assert abs(h.double().mean() - 0.1) < 0.01
    assert abs(c.double().mean() - 0.6) < 0.01
