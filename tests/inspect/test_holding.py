"""A held unit against what the weights say: a constant unit is a shift of biases."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import unrolled
from tests.inspect.planted import Predictor
from unrolled.inspect.features import Feature
from unrolled.inspect.hold import Hold, causal_check, held_nats, holding
from unrolled.inspect.reading import carry, read

V = 7


def predictor(layer) -> Predictor:
    model = Predictor(V, layer).double()
    with torch.no_grad():
        model.head.weight *= 5
    return model.requires_grad_(False).eval()


LAYERS = {
    "rnn": lambda: unrolled.RNN(V, 6, num_layers=2),
    "gru": lambda: unrolled.GRU(V, 6, num_layers=2),
    "lstm": lambda: unrolled.LSTM(V, 6, num_layers=2),
}
EXTRAS = {
    "layer norm": lambda: unrolled.LSTM(V, 6, num_layers=2, layer_norm=True),
    "projection": lambda: unrolled.LSTM(V, 6, num_layers=2, proj_size=4),
    "zoneout": lambda: unrolled.LSTM(V, 6, num_layers=2, zoneout=(0.3, 0.2)),
    "reset before": lambda: unrolled.GRU(V, 6, num_layers=2, reset_after=False),
}


def without(model: Predictor, layer: int, unit: int, value: float) -> Predictor:
    """The network in which nothing reads h of this unit, and biases stand for its constant value."""
    model = copy.deepcopy(model)
    rnn = model.rnn
    readers = [(getattr(rnn, f"weight_hh_l{layer}"), getattr(rnn, f"bias_hh_l{layer}"))]
    above = layer + 1 < rnn.num_layers
    readers += [(getattr(rnn, f"weight_ih_l{layer + 1}"), getattr(rnn, f"bias_ih_l{layer + 1}"))] if above else []
    readers += [] if above else [(model.head.weight, model.head.bias)]
    for weight, bias in readers:
        bias += weight[:, unit] * value
        weight[:, unit] = 0
    return model


def free_nats(model, ids, state=None):
    scores, _ = model(ids[:-1, None], state)
    return F.cross_entropy(scores[:, 0], ids[1:], reduction="none").numpy()


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("layer", [0, 1])
def test_a_held_h_is_a_shift_of_every_bias_behind_it(name, layer):
    model, ids = predictor(LAYERS[name]()), torch.randint(V, (40,))
    state = model.rnn(torch.randint(V, (5, 1)))[1]
    h = (state[0] if name == "lstm" else state).clone()
    h[layer, 0, 2] = 0.4  # what is held before the first step as well
    state = (h, state[1]) if name == "lstm" else h
    found = held_nats(model, ids, [None, Hold(f"h{layer}.2", 0.4)], state=state)
    np.testing.assert_allclose(found[:, 0], free_nats(model, ids, state), rtol=1e-12)
    expected = free_nats(without(model, layer, 2, 0.4), ids, state)
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-11)
    assert np.abs(found[:, 1] - found[:, 0]).max() > 1e-3


def test_a_held_c_is_read_by_h_and_by_the_next_step():
    model, ids = predictor(unrolled.LSTM(V, 5)), torch.randint(V, (30,))
    w = dict(model.rnn.named_parameters())
    h, c, nats = torch.zeros(5).double(), torch.zeros(5).double(), []
    for t in range(29):
        z = w["weight_ih_l0"][:, ids[t]] + w["bias_ih_l0"] + w["weight_hh_l0"] @ h + w["bias_hh_l0"]
        i, f, g, o = z.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        c[3] = -1.7
        h = torch.sigmoid(o) * torch.tanh(c)
        nats.append(float(F.cross_entropy(model.head(h)[None], ids[t + 1, None])))
    np.testing.assert_allclose(held_nats(model, ids, [Hold("c0.3", -1.7)])[:, 0], nats, rtol=1e-12)


@pytest.mark.parametrize("name", {**LAYERS, **EXTRAS})
def test_nothing_held_changes_nothing(name):
    model, ids = predictor({**LAYERS, **EXTRAS}[name]()), torch.randint(V, (40,))
    found = held_nats(model, ids, [None, None])
    np.testing.assert_allclose(found[:, 0], free_nats(model, ids), rtol=1e-11)
    # Not to the bit: the steps are torch's products, whose last bits may depend on the row (MKL with AVX2 on AMD).
    np.testing.assert_allclose(found[:, 0], found[:, 1], rtol=1e-14)
    np.testing.assert_allclose(free_nats(model, ids), read(model, ids).nats[:-1], rtol=1e-12)  # and it is put back


@pytest.mark.parametrize("name", ["layer norm", "projection", "zoneout"])
def test_a_held_c_stays_what_it_is_with_every_extra(name):
    model, ids = predictor(EXTRAS[name]()), torch.randint(V, (12, 2))
    with holding(model, [Hold("c1.2", 0.9), Hold("h0.1", -0.3)]):
        for t in range(12):
            _, (h, c) = model.rnn(ids[: t + 1])
            assert c[1, 0, 2] == 0.9
            assert h[0, 1, 1] == -0.3
    if name == "projection":  # a c that is held anyway feels no forget gate
        with holding(model, [Hold("c1.2", 0.9)]):
            before = model.rnn(ids[:, :1])[0]
            model.rnn.bias_ih_l1[6 + 2] += 3
            assert (model.rnn(ids[:, :1])[0] - before).abs().max() < 1e-15


def test_every_row_has_its_own_unit_held():
    model, ids = predictor(unrolled.LSTM(V, 6)), torch.randint(V, (30,))
    holds = [Hold("h0.1", 0.2), Hold("c0.4", -0.5), None]
    together = held_nats(model, ids, holds)
    for k, hold in enumerate(holds):
        np.testing.assert_allclose(together[:, k], held_nats(model, ids, [hold])[:, 0], rtol=1e-11)


def test_records_start_anew_while_a_unit_is_held():
    model, ids = predictor(unrolled.LSTM(V, 6)), torch.randint(V, (30,))
    fresh = torch.zeros(30, dtype=torch.bool)
    fresh[12] = True
    found = held_nats(model, ids, [Hold("h0.1", 0.2)], fresh=fresh)
    np.testing.assert_allclose(found[12:], held_nats(model, ids[12:], [Hold("h0.1", 0.2)]), rtol=1e-11)
    np.testing.assert_allclose(read(model, ids, fresh=fresh).nats[12:29], free_nats(model, ids[12:]), rtol=1e-11)


def test_a_unit_that_does_not_exist_is_named():
    model = predictor(unrolled.LSTM(V, 6))
    for unit, words in (("h1.0", "names are like h0.0"), ("h0.6", "h0 has 6 units"), ("h0.x", "names are like")):
        with pytest.raises(ValueError, match=words), holding(model, [Hold(unit, 0.0)]):
            pass
    with holding(model, [None]), pytest.raises(ValueError, match="a batch of 1 rows"):
        model(torch.zeros(3, 2, dtype=torch.int64))


def test_holding_the_unit_that_remembers_costs_where_it_is_needed():
    """A latch: unit 0 of a linear network is 1 between the marks 1 and 2, and tells there that 3 comes next, else 4."""
    layer = unrolled.RNN(V, 2, nonlinearity="identity", bias=False)
    model = Predictor(V, layer).double().requires_grad_(False)
    layer.weight_ih_l0.zero_()[0, 1], layer.weight_ih_l0[0, 2] = 1, -1
    layer.weight_hh_l0.zero_()[0, 0] = 1
    model.head.weight.zero_()[3, 0], model.head.weight[4, 0] = 6, -6
    model.head.bias.fill_(-20)
    model.head.bias[3], model.head.bias[4] = -3, 3
    ids = []
    for block in range(40):
        ids += [1 if block % 2 == 0 else 2] + [3 if block % 2 == 0 else 4] * 9
    ids = torch.tensor(ids)
    values = np.cumsum((ids == 1).long().numpy() - (ids == 2).long().numpy()) > 0
    reading = read(model, ids)
    np.testing.assert_array_equal(reading.states["h0"][:, 0], values)
    carried = carry(model, ids, torch.tensor([200]))
    used, idle = causal_check(
        model, ids, [(Feature("f", "f", values), "h0.0"), (Feature("f", "f", values), "h0.1")], reading.states,
        state=carried.state, start=200,
    )  # fmt: skip
    assert used.mean == 0.5
    # from nearly certain to a coin's toss, but for the tenth that is a mark, which neither expects
    assert 0.1 < used.where_low < used.where < np.log(2)
    assert 0.1 < used.elsewhere_low < used.elsewhere < np.log(2)
    assert (idle.where, idle.elsewhere) == (0, 0)
    # without the second pull the unit only matters where it is on
    model.head.weight[:, 0] = 0
    model.head.weight[3, 0] = 40
    model.head.bias[:] = torch.tensor([-20.0, -20, -20, -34, 3, -20, -20])
    there = causal_check(model, ids, [(Feature("f", "f", values), "h0.0")], reading.states, start=0)[0]
    assert there.where > 3
    nats = held_nats(model, ids, [None, Hold("h0.0", 0.5)])
    assert there.where == pytest.approx((nats[:, 1] - nats[:, 0])[values[:-1]].mean(), rel=1e-12)
    assert abs(there.elsewhere) < 0.5
