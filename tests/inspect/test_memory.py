"""Memory against networks whose memory is known, and against the definitions carried out the long way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import unrolled
from tests.inspect.planted import Predictor, shift_register, train_delay
from unrolled.inspect.bootstrap import in_blocks, mean_interval
from unrolled.inspect.memory import (
    Context,
    Memory,
    _unigram_draws,
    carried_to,
    context_loss,
    memory_horizon,
    spread_positions,
)


def test_a_shift_register_remembers_one_lag_and_no_other():
    model, ids = shift_register(5, 4), torch.randint(5, (600,))
    memory = memory_horizon(model, ids, ids.roll(4), lags=range(9))
    assert memory.horizon == 4
    others = memory.lags != 4
    assert memory.change[4] > 5
    assert memory.kl[4] > 5
    assert np.abs(memory.change[others]).max() < 1e-12
    assert np.abs(memory.kl[others]).max() < 1e-12


def test_a_network_trained_to_repeat_its_input_late_peaks_at_that_lag():
    model, right = train_delay(4, 3, 220)
    assert right > 0.9
    ids = torch.randint(4, (500,))
    memory = memory_horizon(model, ids, ids.roll(3), lags=range(9))
    assert memory.lags[memory.change.argmax()] == 3
    assert memory.lags[memory.kl.argmax()] == 3
    assert memory.change[3] > 10 * np.delete(memory.change, 3).max()


@pytest.fixture
def lstm() -> Predictor:
    torch.manual_seed(3)
    model = Predictor(6, unrolled.LSTM(6, 9, num_layers=2, init="orthogonal")).double()
    with torch.no_grad():
        model.rnn.weight_hh_l0 *= 2
        model.head.weight *= 6
    return model.requires_grad_(False)


def test_every_lag_is_what_running_the_whole_changed_text_gives(lstm):
    ids, lags = torch.randint(6, (90,)), (1, 2, 5, 9)
    memory = memory_horizon(lstm, ids, lags=lags, draws=5, positions=40)
    at = carried_to(lstm, ids[:-1], longest=9, positions=40).positions
    drawn = _unigram_draws(ids, (5, len(at)), 1)
    free = F.log_softmax(lstm(ids[:-1, None])[0][:, 0], -1)
    kl, change = np.zeros((len(at), 4)), np.zeros((len(at), 4))
    for p, s in enumerate(at.tolist()):
        for d in range(5):
            other = ids.clone()
            other[s] = drawn[d, p]
            held = F.log_softmax(lstm(other[:-1, None])[0][:, 0], -1)
            for k, lag in enumerate(lags):
                t = s + lag
                kl[p, k] += float((free[t].exp() * (free[t] - held[t])).sum()) / 5
                change[p, k] += float(free[t, ids[t + 1]] - held[t, ids[t + 1]]) / 5
    np.testing.assert_allclose(memory.kl, kl.mean(0), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(memory.change, change.mean(0), rtol=1e-9, atol=1e-14)
    assert (memory.positions == 40).all()
    assert (memory.kl_low <= memory.kl).all()
    assert (memory.kl <= memory.kl_high).all()


def test_rows_in_parts_are_rows_at_once(lstm, monkeypatch):
    ids = torch.randint(6, (90,))
    whole = memory_horizon(lstm, ids, lags=(1, 4))
    monkeypatch.setattr("unrolled.inspect.memory._ROWS_AT_ONCE", 30)
    parts = memory_horizon(lstm, ids, lags=(1, 4))
    np.testing.assert_allclose(parts.kl, whole.kl, rtol=1e-10)


def test_contexts_are_what_runs_of_the_last_units_give(lstm):
    ids = torch.randint(6, (90,))
    context = context_loss(lstm, ids, sizes=(1, 3, 8), positions=50)
    at = carried_to(lstm, ids[:-1], longest=8, positions=50).positions.tolist()
    for k, n in enumerate((1, 3, 8)):
        losses = [F.cross_entropy(lstm(ids[t - n + 1 : t + 1, None])[0][-1], ids[t + 1, None]) for t in at]
        assert context.zero[k] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-10)
    full = F.cross_entropy(lstm(ids[:-1, None])[0][:, 0], ids[1:], reduction="none")
    assert context.full == pytest.approx(float(full[at].mean()), rel=1e-10)
    np.testing.assert_allclose(context.zero_excess[0], context.zero - context.full, atol=1e-12)


def test_enough_context_of_a_shift_register_is_its_length():
    model, ids = shift_register(4, 5), torch.randint(4, (400,))
    context = context_loss(model, ids, ids.roll(5), sizes=range(1, 11), train=torch.randint(4, (3000,)))
    assert context.enough() == context.enough(warmed=True) == 6  # the unit just read and five before it
    # empty places say nothing, unrelated units say something wrong
    assert (context.warmed[:5] > context.zero[:5] + 1).all()


def test_no_lag_and_no_context_reaches_into_another_record(lstm):
    ids = torch.randint(6, (400,))
    fresh = torch.zeros(400, dtype=torch.bool)
    fresh[::10] = True
    memory = memory_horizon(lstm, ids, lags=(1, 4, 9, 12), fresh=fresh)
    assert memory.lags.tolist() == [1, 4]  # 9 is met too rarely, 12 never
    assert memory.positions[0] > memory.positions[1]
    context = context_loss(lstm, ids, sizes=(1, 10, 20), fresh=fresh)
    np.testing.assert_allclose(context.zero_excess[0][1:], 0, atol=1e-12)
    np.testing.assert_allclose(context.warmed_excess[0][1:], 0, atol=1e-12)
    assert abs(context.zero_excess[0][0]) > 1e-4


def test_a_replaced_first_unit_of_a_record_starts_from_nothing(lstm):
    ids = torch.randint(6, (200,))
    fresh = torch.zeros(200, dtype=torch.bool)
    fresh[::2] = True
    carried = carried_to(lstm, ids[:-1], longest=4, fresh=fresh)
    first = fresh[carried.positions]
    assert first.any()
    assert not carried.state[0][:, first].any()
    assert carried.state[0][:, ~first].any()


def test_without_far_memory_there_is_no_far_horizon(lstm):
    with torch.no_grad():
        for name, weight in lstm.rnn.named_parameters():
            if "weight_hh" in name:
                weight.zero_()
        lstm.rnn.bias_ih_l0[9:18] = lstm.rnn.bias_ih_l1[9:18] = -60  # forget gates shut
    assert memory_horizon(lstm, torch.randint(6, (400,)), lags=(1, 2, 3)).horizon is None


def test_the_horizon_asks_for_the_whole_interval():
    zeros = np.zeros(4)
    change, low = np.array([0.5, 0.01, 0.003, 0.02]), np.array([0.4, 0.002, 0.0009, -0.01])
    memory = Memory(np.array([1, 2, 4, 8]), zeros, zeros, zeros, change, low, change, zeros.astype(np.int64), 5)
    assert memory.horizon == 2


def test_enough_context_is_where_the_loss_comes_near_and_stays():
    excess = np.array([[0.5, 0.005, 0.02, 0.003], [0.0] * 4, [1.0] * 4])
    context = Context(np.array([1, 2, 4, 8]), excess[0], excess[0], excess, excess + 0.1, 1.0, 50)
    assert context.enough() == 8
    assert context.enough(warmed=True) is None


def test_texts_too_short_and_lags_that_make_no_sense_are_refused(lstm):
    with pytest.raises(ValueError, match="ids has 59 units; lags up to 128 need at least 286"):
        memory_horizon(lstm, torch.zeros(60, dtype=torch.int64))
    for lags in ((), (2, 1), (-1, 1), (1, 1)):
        with pytest.raises(ValueError, match="ascending lags"):
            memory_horizon(lstm, torch.zeros(600, dtype=torch.int64), lags=lags)
    with pytest.raises(ValueError, match=r"targets has shape \(3,\)"):
        memory_horizon(lstm, torch.zeros(600, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))


def test_positions_are_spread_over_the_whole_range():
    at = spread_positions(10, 110, 20, 0)
    assert at.tolist() == sorted(set(at.tolist()))
    assert [(p - 10) // 5 for p in at.tolist()] == list(range(20))
    assert spread_positions(3, 8, 100, 0).tolist() == [3, 4, 5, 6, 7]


def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    values = rng.normal(1.0, 2.0, (100, 300))
    _, low, high = mean_interval(values)
    assert 0.90 <= ((low < 1) & (high > 1)).mean() <= 0.98
    mean, low, high = mean_interval(values[:, :2], valid=np.array([[True, False]] * 100))
    assert low[0] < mean[0] < high[0]
    assert np.isnan([mean[1], low[1], high[1]]).all()


def test_blocks_widen_the_interval_of_what_changes_slowly():
    rng = np.random.default_rng(0)
    slow = np.repeat(rng.normal(size=200), 20)
    mask = np.ones(4000, bool)
    mean, low, high = in_blocks(slow, mask)
    assert mean == pytest.approx(slow.mean())
    assert high - low > 3 * 3.92 * slow.std() / np.sqrt(4000)
    half = np.arange(4000) < 2000
    assert in_blocks(slow, half)[0] == pytest.approx(slow[:2000].mean())
    assert np.isnan(in_blocks(slow, ~mask)).all()
