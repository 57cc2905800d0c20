"""What a forecaster is made of: scales, differences, streams, distributions, figures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unrolled.data.series import Series, SeriesSet
from unrolled.data.timeline import ROWS
from unrolled.errors import UserError
from unrolled.tasks.forecast import metrics
from unrolled.tasks.forecast.config import (
    ForecastConfig,
    ForecastData,
    ForecastPredict,
    count_inputs,
    count_parameters,
)
from unrolled.tasks.forecast.model import ForecastModel, at_level, draw, first_guess, losses
from unrolled.tasks.forecast.prepared import Shape, find_season, prepare
from unrolled.tasks.forecast.recognise import recognise
from unrolled.tasks.forecast.rolling import Origin, origins_of
from unrolled.tasks.forecast.streams import SeriesStream


def series(values, covariates=None, name="a") -> Series:
    array = np.asarray(values, float)
    array = array[:, None] if array.ndim == 1 else array
    return Series(name, 0, array, np.zeros((len(array), 0)) if covariates is None else covariates, "a.csv", "a.csv:9")


def shape(season=4, data=None, **model) -> Shape:
    return Shape(ForecastData(**(data or {})), ForecastConfig(**model), season)


WALK = np.cumsum(np.random.default_rng(1).normal(1.0, 1.0, 60)) + 50


@pytest.mark.parametrize("difference", ["none", "last", "season", "both"])
@pytest.mark.parametrize("transform", ["none", "log", "sqrt"])
def test_scales_come_from_the_training_part_alone(difference, transform):
    how = shape(difference=difference, transform=transform)
    frame, _ = prepare(series(WALK), how)
    first, last = frame.part("train")
    assert (first, last, frame.part("dev"), frame.part("test")) == (0, 49, (49, 54), (54, 60))
    other = WALK.copy()
    other[last:] *= 100
    changed, _ = prepare(series(other), how)
    for name, numbers in frame.scale.to_json().items():
        assert numbers == changed.scale.to_json()[name], name
    train = frame.d[how.lead : last, 0]
    assert abs(train.mean()) < 1e-12
    assert abs(train.std() - 1) < 1e-12
    back = how.back(frame.z * frame.scale.std + frame.scale.mean)
    assert np.allclose(back, frame.y)


def test_what_is_predicted_is_the_change_from_its_base():
    z = np.arange(12.0)[:, None] ** 2
    by = {kind: shape(difference=kind).base(z)[:, 0] for kind in ("none", "last", "season", "both")}
    assert not by["none"].any()
    assert by["last"][3] == z[2, 0]
    assert by["season"][9] == z[5, 0]
    assert by["both"][9] == z[8, 0] + z[5, 0] - z[4, 0]


def test_a_constant_series_and_a_transform_that_does_not_fit():
    frame, _ = prepare(series(np.full(40, 3.0)), shape(difference="last"))
    assert np.isfinite(frame.d).all()
    with pytest.raises(UserError, match="--transform log takes values above 0, and there is 0"):
        prepare(series(np.arange(40.0)), shape(transform="log"))
    with pytest.raises(UserError, match=r"a.csv, series a: 5 values of history.* needs 8"):
        prepare(series(np.arange(6.0)), shape(difference="both"))


def test_missing_values_are_told_to_the_network_and_never_scored():
    values = WALK.copy()
    values[[10, 11, 30]] = math.nan
    how = shape(data={"missing": "mask"}, harmonics=0, difference="last")
    frame, notes = prepare(series(values), how)
    assert "3 missing values of 60 masked" in notes[0]
    x = how.inputs(frame)
    assert x.shape == (60, count_inputs(how.model, 1, 0, 4, mask=True))
    assert x[11].tolist() == [0.0, 0.0]  # step 10 has no value: neither it nor its flag is there
    assert x[13, 1] == 1.0
    stream = SeriesStream([frame], how, batch=1, bptt=100, seed=1)
    assert stream.next().weight[:, 0, 0].sum() == 49 - 1 - 3


def test_covariates_of_the_step_that_is_forecast_or_the_last_ones():
    promotion = np.arange(60.0)[:, None]
    given, held = (shape(data={"covariates_ahead": kind}, harmonics=0) for kind in ("given", "held"))
    a, b = (prepare(series(WALK, promotion), how)[0] for how in (given, held))
    assert given.inputs(a)[20, -1] == a.covariates[20, 0]
    assert held.inputs(b)[20, -1] == b.covariates[19, 0]


def test_the_season_is_asked_for_inferred_or_none():
    t = np.arange(300)
    wave = series(np.sin(2 * np.pi * t / 11) + 0.02 * t + np.random.default_rng(0).normal(0, 0.3, 300))
    noise = series(np.random.default_rng(0).normal(0, 1, 300))
    sets = [SeriesSet([one], ["y"], [], ROWS, "a") for one in (wave, noise)]
    assert find_season(sets[0], ForecastData(season=7))[0] == 7
    assert find_season(sets[0], ForecastData())[0] == 11
    assert find_season(sets[1], ForecastData())[0] == 1


def test_an_epoch_reads_every_value_once_and_the_stream_can_go_back():
    how = shape(harmonics=1)
    frames = [prepare(series(np.arange(n) + WALK[:n], name=str(n)), how)[0] for n in (60, 40, 55, 30, 50)]
    stream = SeriesStream(frames, how, batch=2, bptt=7, seed=3)
    seen, chunks = [], []
    while stream.epoch < 1:
        place = stream.position()
        chunk = stream.next()
        chunks.append((place, chunk))
        for b, n in enumerate(chunk.lengths):
            assert not chunk.weight[n:, b].any()
            seen += chunk.y[:n, b, 0].tolist()
    assert len(chunks) == stream.steps_per_epoch
    everything = np.concatenate([f.d[how.lead : f.ends[0], 0] for f in frames]).astype(np.float32)
    assert sorted(seen) == sorted(everything.tolist())
    assert stream.units_per_epoch == len(everything)
    again = SeriesStream(frames, how, batch=2, bptt=7, seed=3)
    for place, chunk in chunks[::-1]:
        again.restore(place)
        assert np.array_equal(again.next().x, chunk.x)


def test_a_long_series_is_read_in_pieces_side_by_side():
    how = shape(harmonics=0)
    frame, _ = prepare(series(np.arange(500) + np.tile(WALK, 9)[:500]), how)
    assert SeriesStream([frame], how, batch=8, bptt=10, seed=1).batch == 8
    assert SeriesStream([frame], how, batch=8, bptt=100, seed=1).batch == 1


# -- distributions --------------------------------------------------------------------------------------------------


def test_losses_by_hand():
    gaussian = ForecastConfig()
    found = torch.tensor([1.0, math.log(2.0)])
    assert float(losses(found, torch.tensor(3.0), gaussian)) == pytest.approx(
        0.5 * math.log(2 * math.pi) + math.log(2) + 0.5
    )
    quantiles = ForecastConfig(output="quantile", quantiles="0.1,0.5,0.9")
    found = torch.tensor([0.0, 1.0, 2.0])
    assert float(losses(found, torch.tensor(3.0), quantiles)) == pytest.approx((0.3 + 1.0 + 0.9) / 3)
    assert float(losses(found, torch.tensor(-1.0), quantiles)) == pytest.approx((0.9 + 1.0 + 0.3) / 3)


@pytest.mark.parametrize("output", ["gaussian", "quantile"])
def test_draws_follow_the_distribution(output):
    config = ForecastConfig(output=output)
    found = first_guess(config).expand(40_000, -1)
    drawn = draw(found, config, torch.Generator().manual_seed(1))
    for level, normal in ((0.1, -1.2816), (0.5, 0.0), (0.9, 1.2816)):
        assert float(drawn.quantile(level)) == pytest.approx(normal, abs=0.03)
        assert float(at_level(found[0], config, torch.tensor(level))) == pytest.approx(normal, abs=1e-3)


def test_quantiles_that_cross_are_put_in_order():
    config = ForecastConfig(output="quantile", quantiles="0.1,0.5,0.9")
    assert float(at_level(torch.tensor([2.0, 1.0, 0.0]), config, torch.tensor(0.9))) == 2.0


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn-tanh", "rnn-relu"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_parameters_by_formula(cell, layer_norm):
    config = ForecastConfig(cell=cell, layers=2, hidden=5, layer_norm=layer_norm, output="quantile")
    model = ForecastModel(3, 2, config)
    assert sum(p.numel() for p in model.parameters()) == count_parameters(config, 3, 2)


# -- figures --------------------------------------------------------------------------------------------------------


def test_figures_by_hand():
    truth = np.array([[[10.0], [20.0]], [[0.0], [math.nan]]])
    found = np.array([[[12.0], [16.0]], [[0.0], [5.0]]])
    unit = np.array([[[2.0]], [[4.0]]])
    assert metrics.mase(truth - found, unit) == pytest.approx((1.0 + 2.0 + 0.0) / 3)
    assert metrics.smape(truth, found) == pytest.approx((200 * 2 / 22 + 200 * 4 / 36 + 0) / 3)
    quantiles = np.stack((found - 1, found + 1), -1)
    # e/unit is (-0.5, -1.5), (2.5, 1.5), (0.25, -0.25)
    expected = (0.9 * 0.5 + 0.1 * 1.5 + 0.1 * 2.5 + 0.9 * 1.5 + 0.1 * 0.25 + 0.1 * 0.25) / 6
    assert metrics.pinball(truth, quantiles, (0.1, 0.9), unit) == pytest.approx(expected)
    assert metrics.coverage(truth, found - 2, found + 2) == pytest.approx(2 / 3)


def test_naive_forecasts_and_the_unit_of_mase():
    how = shape(season=4, difference="last")
    frame, _ = prepare(series(np.arange(40.0)), how)
    origins = [Origin(0, 36)]
    assert metrics.naive([frame], origins, 6, 4)[0, :, 0].tolist() == [32, 33, 34, 35, 32, 33]
    assert metrics.naive([frame], origins, 3, 1)[0, :, 0].tolist() == [35, 35, 35]
    assert frame.scale.naive.tolist() == [4.0]


def test_origins_leave_room_for_the_horizon_and_are_spread():
    how = shape(difference="last")
    frame, _ = prepare(series(WALK), how)
    assert [o.at for o in origins_of([frame], "test", 4, 100)] == [54, 55, 56]
    assert [o.at for o in origins_of([frame], "test", 4, 2)] == [54, 56]
    assert origins_of([frame], "test", 7, 100) == []
    gap = WALK.copy()
    gap[54] = math.nan
    holed, _ = prepare(series(gap), shape(data={"missing": "interpolate"}))
    assert [o.at for o in origins_of([holed], "test", 4, 100, whole_gaps=True)] == [54, 56]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: ForecastConfig(quantiles="0.1,0.9"), "--quantiles 0.1,0.9: rising numbers"),
        (lambda: ForecastConfig(quantiles="a"), "--quantiles a: numbers with commas"),
        (lambda: ForecastConfig(forget_bias=1.0), "--forget-bias: only --cell lstm"),
        (lambda: ForecastData(steps_ahead=0), "--steps-ahead 0"),
        (lambda: ForecastPredict(picture="a.gif"), "--picture a.gif: name a file that ends in .png"),
        (lambda: ForecastPredict(interval=1.0), "--interval 1.0: must be below 1"),
    ],
)
def test_settings_that_do_not_fit(made, message):
    with pytest.raises(UserError, match=message):
        made()


def test_only_a_header_with_a_time_and_a_value_is_clearly_a_series(tmp_path):
    for name, header, clear in (("a.csv", "date,value", True), ("b.csv", "text,label", False), ("d.tsv", "ds\ty", True),
                                ("c.csv", "date,price", False), ("e.txt", "date,value", False)):  # fmt: skip
        (tmp_path / name).write_text(header + "\n")
        assert (recognise(tmp_path / name) is not None) == clear
    assert recognise(tmp_path / "nosuch.csv") is None
