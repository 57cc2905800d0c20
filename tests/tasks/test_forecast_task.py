"""The forecasting task: the laws, the loop, the rolling origin, and a model back from its folder."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tolerances import TOLERANCES
from unrolled.bundle.model import load as load_bundle
from unrolled.data.generated_series import generated_series
from unrolled.data.series import Series, SeriesSet
from unrolled.data.timeline import ROWS
from unrolled.errors import UserError
from unrolled.settings import from_dict
from unrolled.state import select
from unrolled.tasks import long
from unrolled.tasks.forecast import face, figures
from unrolled.tasks.forecast.config import ForecastConfig, ForecastData, ForecastPredict
from unrolled.tasks.forecast.model import losses, middle
from unrolled.tasks.forecast.rolling import Origin, forecast, states_at
from unrolled.tasks.forecast.task import ForecastTask
from unrolled.training.config import TrainConfig
from unrolled.training.keeping import ModelKeeper
from unrolled.training.loop import Trainer

TRAIN = {
    "steps": 6,
    "batch": 4,
    "bptt": "16",
    "lr": 1e-2,
    "warmup": 0,
    "threads": 1,
    "sample_every": 3,
    "eval_every": 3,
}


def train_config(**changes) -> TrainConfig:
    return TrainConfig(**(TRAIN | changes))


def task(found=None, data=None, model=None, **train) -> ForecastTask:
    found = found or generated_series(120, 2)
    data = {"season": 24, "steps_ahead": 6, "origins": 5} | (data or {})
    return ForecastTask(found, ForecastData(**data), ForecastConfig(hidden=8, **(model or {})), train_config(**train))


def of(*values, covariates=None) -> SeriesSet:
    made = []
    for k, v in enumerate(values):
        array = np.asarray(v, float)
        array = array[:, None] if array.ndim == 1 else array
        more = np.zeros((len(array), 0)) if covariates is None else np.asarray(covariates, float)[:, None]
        made.append(Series(str(k), 0, array, more, "x.csv"))
    names = ["y"] if made[0].values.shape[1] == 1 else [f"y{k}" for k in range(made[0].values.shape[1])]
    return SeriesSet(made, names, [] if covariates is None else ["c"], ROWS, "x.csv")


@pytest.mark.parametrize("output", ["gaussian", "quantile"])
@pytest.mark.parametrize("difference", ["none", "last", "both"])
def test_the_first_loss_is_that_of_the_standardised_series(output, difference):
    t = task(data={"dev": 0.0}, model={"output": output, "difference": difference}, bptt="full")
    torch.manual_seed(1)
    model = t.build()
    first = t.describe()["first_loss"]
    if output == "gaussian":
        assert first == pytest.approx(0.5 * math.log(2 * math.pi) + 0.5, rel=1e-6)
    found = t.loss(model, t.stream().next(), {})
    assert float(found.nats) == pytest.approx(first, rel=0.03)


@pytest.mark.parametrize("output", ["gaussian", "quantile"])
def test_ten_windows_are_learnt_by_heart(output):
    windows = np.random.default_rng(1).normal(0, 1, (10, 14))
    windows[:, 0] = np.linspace(-2.5, 2.5, 10)  # which tells them apart
    t = ForecastTask(
        of(*windows), ForecastData(heldout=0, dev=0, season=14),
        ForecastConfig(hidden=128, output=output, difference="none", harmonics=7), train_config(bptt="full", batch=10),
    )  # fmt: skip
    torch.manual_seed(1)
    model = t.build()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    chunk = t.stream().next()
    for step in range(1500):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / 1500)
        optimiser.zero_grad()
        t.loss(model, chunk, {}).objective.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    with torch.no_grad():
        found, _ = model(torch.from_numpy(chunk.x))
    error = (middle(found, t.model_config) - torch.from_numpy(chunk.y)).abs()[4:]  # the first follow from nothing
    assert float(error.median()) < 0.01
    if output == "quantile":  # a normal distribution may shrug at a window instead, by a large spread
        assert float(error.max()) < 0.05


@pytest.mark.parametrize("engine", ["reference", "native"])
def test_padding_changes_no_bit_and_a_gap_gets_no_gradient(engine):
    rng = np.random.default_rng(1)
    values = [np.cumsum(rng.normal(0, 1, n)) for n in (60, 40)]
    t = task(
        of(*values), data={"dev": 0.0, "heldout": 0.0, "season": 4}, model={"engine": engine}, bptt="full", batch=2
    )
    torch.manual_seed(1)
    model = t.build()
    chunk = t.stream().next()
    model(torch.from_numpy(chunk.x))  # the weights are packed by now

    def grads(c):
        model.zero_grad()
        found = t.loss(model, c, {})
        found.objective.backward()
        return [found.nats, found.carry["h"], *(p.grad.clone() for p in model.parameters())]

    def padded(array, fill):
        more = np.full((9, *array.shape[1:]), fill, array.dtype)
        return np.concatenate((array, more))

    more = dataclasses.replace(
        chunk, x=padded(chunk.x, 7.0), y=padded(chunk.y, 7.0), weight=padded(chunk.weight, False)
    )
    for k, (a, b) in enumerate(zip(grads(chunk), grads(more), strict=True)):
        if engine == "native" or k < 2:
            assert torch.equal(a, b)
        else:  # autograd's products of the reference engine run over the padding too
            torch.testing.assert_close(a, b, **TOLERANCES[torch.float32])
    x = torch.from_numpy(more.x).requires_grad_()
    found, _ = model(x, None, lengths=torch.from_numpy(more.lengths))
    losses(found, torch.from_numpy(more.y), t.model_config)[torch.from_numpy(more.weight)].sum().backward()
    assert not x.grad[more.lengths[1] :, 1].any()


def test_a_long_series_in_pieces_has_the_same_gradient(monkeypatch):
    t = task(data={"dev": 0.0}, model={"layers": 2}, bptt="40", batch=2)
    torch.manual_seed(1)
    model, found = t.build().double(), []
    for limit in (1 << 28, 1000):
        monkeypatch.setattr(long, "LIMIT", limit)
        stream, carry = t.stream(), {}
        for _ in range(2):  # the second continues from a carried state
            model.zero_grad()
            loss = t.loss(model, stream.next(), carry)
            loss.objective.backward()
            carry = loss.carry
        found.append([loss.objective, *carry.values(), *(p.grad for p in model.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_what_is_not_scored_draws_no_dropout():
    t = task(data={"dev": 0.0, "heldout": 0.0, "season": 4}, model={"dropout": 0.5}, bptt="full", batch=2)
    torch.manual_seed(1)
    model = t.build().double().train()
    chunk = t.stream().next()
    gap = chunk.weight.copy()
    gap[3] = False
    one = dataclasses.replace(chunk, weight=gap)
    more = dataclasses.replace(
        one, **{n: np.concatenate((a, np.zeros((9, *a.shape[1:]), a.dtype)))
                for n, a in (("x", one.x), ("y", one.y), ("weight", one.weight))},
    )  # fmt: skip
    read: list[int] = []
    model.head.register_forward_hook(lambda _, given, __: read.append(len(given[0])))
    found = []
    for c in (one, more):
        torch.manual_seed(2)  # the head's dropout draws a mask for each row that it reads
        found.append(t.loss(model, c, {}).objective)
    assert read == [int(gap.any(-1).sum())] * 2
    assert found[0] == found[1]


def test_truncated_bptt_over_a_chunk_as_long_as_the_series_is_the_full_gradient():
    a, b = task(bptt="full", data={"dev": 0.0}), task(bptt="1000", data={"dev": 0.0})
    torch.manual_seed(1)
    model = a.build()
    results = []
    for t in (a, b):
        model.zero_grad()
        t.loss(model, t.stream().next(), {}).objective.backward()
        results.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_the_state_is_carried_from_chunk_to_chunk():
    t, whole = task(bptt="16", data={"dev": 0.0}), task(bptt="full", data={"dev": 0.0})
    torch.manual_seed(1)
    model = t.build()
    stream, carry, total, units = t.stream(), {}, 0.0, 0
    for _ in range(stream.steps_per_epoch):
        found = t.loss(model, stream.next(), carry)
        carry, total, units = found.carry, total + float(found.nats) * found.units, units + found.units
        assert not any(v.requires_grad for v in carry.values())
    assert total / units == pytest.approx(float(whole.loss(model, whole.stream().next(), {}).nats), rel=1e-5)


# -- forecasts ------------------------------------------------------------------------------------------------------


def headless(t: ForecastTask):
    """A model that predicts a change of 0, whatever it reads."""
    model = t.build()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
    return model.double()


@pytest.mark.parametrize(("difference", "season"), [("none", 5), ("last", 5), ("season", 5), ("both", 5), ("both", 1)])
@pytest.mark.parametrize("transform", ["none", "sqrt", "log"])
def test_predictions_go_back_through_scale_difference_and_transform(difference, season, transform):
    y = np.random.default_rng(1).uniform(1, 9, 80)
    t = task(of(y), data={"season": season, "steps_ahead": 7}, model={"difference": difference, "transform": transform})
    at, f = 60, {"none": lambda v: v, "sqrt": np.sqrt, "log": np.log}[transform]
    scale = t.frames[0].scale
    v = list((f(y[:at]) - scale.mean[0]) / scale.std[0])
    for _ in range(7):
        base = {"none": 0.0, "last": v[-1], "season": v[-season], "both": v[-1] + v[-season] - v[-season - 1]}[
            difference
        ]
        v.append(base + scale.shift[0])
    wanted = t.shape.back(np.array(v[at:]) * scale.std[0] + scale.mean[0])
    found = forecast(headless(t), t.frames, t.shape, [Origin(0, at)], 7)
    assert np.allclose(found.center[0, :, 0], wanted, rtol=1e-9)


@pytest.mark.parametrize("model", [{}, {"cell": "lstm", "layers": 2}, {"level": True, "difference": "both"}])
def test_forecasts_do_not_know_what_comes_nor_what_else_is_asked_for(model):
    t = task(model=model)
    torch.manual_seed(1)
    net = t.build().double()
    places = [Origin(2, 70), Origin(0, 100), Origin(2, 90), Origin(1, 100)]
    asked = {"levels": (0.1, 0.9), "paths": 7}
    together = forecast(net, t.frames, t.shape, places, 6, **asked)
    for r, place in enumerate(places):
        frames = list(t.frames)
        cut = {n: getattr(frames[place.frame], n).copy() for n in ("y", "z", "d")}
        for array in cut.values():
            array[place.at :] = 1e6
        frames[place.frame] = dataclasses.replace(frames[place.frame], **cut)
        alone = forecast(net, frames, t.shape, [place], 6, **asked)
        assert np.allclose(alone.center[0], together.center[r], rtol=1e-9)
        assert np.allclose(alone.quantiles[0], together.quantiles[r], rtol=1e-9)


def test_the_state_at_an_origin_is_that_of_reading_all_before_it_at_once():
    t = task()
    net = t.build().double()
    places = [Origin(1, 97), Origin(0, 50), Origin(1, 60)]
    found = states_at(net, t.frames, t.shape, places)
    for r, place in enumerate(places):
        x = torch.from_numpy(t.shape.inputs(t.frames[place.frame])[t.shape.lead : place.at])[:, None]
        _, state = net.rnn(x)
        assert torch.allclose(select(found, [r]), state, **TOLERANCES[torch.float64])


@pytest.mark.parametrize("model", [{}, {"level": True}, {"difference": "both"}])
def test_a_teacher_forced_step_is_the_first_step_of_a_forecast(model):
    t = task(model=model)
    torch.manual_seed(2)
    net = t.build().double()
    at, frame = 80, t.frames[3]
    x = torch.from_numpy(t.shape.inputs(frame)[t.shape.lead : at + 1])[:, None]
    mean = net(x)[0][-1, 0, 0, 0].item()
    z = t.shape.base(frame.z)[at, 0] + mean * frame.scale.spread[0] + frame.scale.shift[0]
    found = forecast(net, t.frames, t.shape, [Origin(3, at)], 1).center[0, 0, 0]
    assert found == pytest.approx(z * frame.scale.std[0] + frame.scale.mean[0], rel=1e-9)


@pytest.mark.parametrize("covariates", [False, True])
@pytest.mark.parametrize("model", [{}, {"level": True, "difference": "last"}, {"difference": "both"},
                                   {"difference": "none", "output": "quantile"}])  # fmt: skip
def test_a_forecast_is_the_teacher_forced_network_on_a_series_that_grows_by_its_own_predictions(model, covariates):
    rng = np.random.default_rng(1)
    found = of(rng.normal(0, 1, (90, 2)).cumsum(0), covariates=rng.normal(0, 1, 90) if covariates else None)
    t = task(found, data={"season": 5}, model=model)
    torch.manual_seed(2)
    net = t.build().double()
    with torch.no_grad():
        net.head.weight.mul_(30)  # predictions far from 0, so that each depends on the ones before it
    at, frame, scale = 60, t.frames[0], t.frames[0].scale
    d, z = frame.d.copy(), frame.z.copy()
    d[at:], z[at:] = np.nan, np.nan
    for k in range(at, at + 6):
        x = t.shape.inputs(dataclasses.replace(frame, d=d, z=z))[t.shape.lead : k + 1]
        assert np.isfinite(x).all()
        with torch.no_grad():
            d[k] = middle(net(torch.from_numpy(x)[:, None])[0][-1, 0], t.model_config).numpy()
        m, kind = t.shape.season, t.model_config.difference
        base = {"none": 0.0, "last": z[k - 1], "season": z[k - m], "both": z[k - 1] + z[k - m] - z[k - m - 1]}[kind]
        z[k] = base + scale.shift + scale.spread * d[k]
    made = forecast(net, t.frames, t.shape, [Origin(0, at)], 6).center[0]
    assert np.allclose(made, z[at : at + 6] * scale.std + scale.mean, rtol=1e-9)
    assert np.abs(np.diff(d[at : at + 6], axis=0)).min() > 1e-4


def test_sampled_paths_widen_and_the_same_seed_gives_the_same_ones():
    t = task(of(np.cumsum(np.random.default_rng(1).normal(0, 1, 200))), data={"season": 1, "steps_ahead": 16})
    net = headless(t)
    a, b = (forecast(net, t.frames, t.shape, [Origin(0, 150)], 16, levels=(0.1, 0.9), paths=2000) for _ in range(2))
    assert np.array_equal(a.quantiles, b.quantiles)
    width = (a.quantiles[0, :, 0, 1] - a.quantiles[0, :, 0, 0]) / t.frames[0].scale.std[0] / t.frames[0].scale.spread[0]
    assert width[0] == pytest.approx(2 * 1.2816, rel=0.1)
    assert width[15] == pytest.approx(2 * 1.2816 * 4, rel=0.1)  # a random walk: with the root of the steps
    alone = forecast(net, t.frames, t.shape, [Origin(0, 150)], 16, levels=(0.1, 0.9), paths=0)
    assert np.allclose(np.diff(alone.quantiles[0, :, 0], axis=-1)[:, 0] / (width[0] or 1), np.ptp(
        alone.quantiles[0, 0, 0]) / width[0])  # fmt: skip


def test_several_targets_and_covariates(tmp_path):
    rng = np.random.default_rng(1)
    pair = rng.normal(0, 1, (90, 2)).cumsum(0)
    t = task(of(pair, covariates=rng.normal(0, 1, 90)), data={"season": 1})
    net = t.build()
    report = t.report(net, "test")
    assert {row["target_name"] for row in report.rows} == {"y0", "y1"}
    assert set(report.figures) == {"mase", "smape", "pinball", "coverage", "coverage_plain"}
    with pytest.raises(UserError, match=r"covariates of 0 of the 6 steps to forecast; .*--covariates-ahead held"):
        forecast(net, t.frames, t.shape, [Origin(0, 90)], 6)
    held = task(of(pair, covariates=rng.normal(0, 1, 90)), data={"season": 1, "covariates_ahead": "held"})
    assert forecast(held.build(), held.frames, held.shape, [Origin(0, 90)], 6).center.shape == (1, 6, 2)


def test_a_part_too_short_for_the_horizon_is_told_at_the_start():
    with pytest.raises(UserError, match=r"--steps-ahead 13: the held-out part of the longest series has 12 steps"):
        task(data={"steps_ahead": 13})
    told = task(data={"steps_ahead": 12})
    assert any("shorter than --steps-ahead 12: weights are selected by the loss" in note for note in told.notes)
    with torch.no_grad():
        assert figures.evaluate(told, told.build().eval(), "dev").score is None


def test_short_series_are_refused_or_skipped():
    found = of(np.arange(100.0), np.arange(3.0))
    with pytest.raises(UserError, match=r"x.csv, series 1: 3 values of history"):
        task(found, data={"season": 4})
    assert len(task(found, data={"season": 4, "bad": "skip"}).frames) == 1


# -- the loop and the folder ----------------------------------------------------------------------------------------


def train(t: ForecastTask, folder: Path, **more):
    keeper = ModelKeeper(folder, t, t.train_config, {"paths": [], "label": t.label})
    trainer = Trainer(t, t.train_config, folder, watchers=[keeper], **more)
    keeper.model = trainer.model
    result = trainer.train()
    keeper.finish(result)
    return trainer, result


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    model = {"dropout": 0.2, "noise": 0.1, "recurrent_dropout": 0.1}
    whole, _ = train(task(model=model, steps=11), tmp_path / "a")
    train(task(model=model, steps=5), tmp_path / "b")
    again, _ = train(task(model=model, steps=11), tmp_path / "b", resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


def test_a_model_comes_back_from_its_folder_and_answers(tmp_path):
    t = task(keep="best")
    trainer, result = train(t, tmp_path / "run")
    assert result.dev is not None
    assert result.dev.score == result.dev.figures["mase"]
    found = load_bundle(tmp_path / "run")
    predictor = face.load(found.config, found.tensors, found.tokens, "run")
    with torch.no_grad():
        report = t.report(trainer.model.eval(), "test")
    csv = tmp_path / "new.csv"
    one = t.found.series[0]
    csv.write_text("series,value\n" + "".join(f"{one.name},{v}\n" for v in one.values[:, 0]))
    options = ForecastPredict(steps_ahead=3, picture=str(tmp_path / "p.png"), samples=20)
    (made,) = list(predictor.predict([str(csv)], options))
    assert made.text.splitlines()[0] == "series\ttime\ttarget\tforecast\tlow\thigh"
    assert [row["time"] for row in made.json["rows"]] == ["121", "122", "123"]
    assert all(row["low"] <= row["high"] for row in made.json["rows"])
    json.dumps(made.json, allow_nan=False)
    assert (tmp_path / "p.png").stat().st_size > 1000
    assert predictor.scales[one.name].to_json() == t.frames[0].scale.to_json()
    with pytest.raises(UserError, match="its series have changed"):
        predictor.evaluate(None, "test", ForecastPredict())
    again = predictor.evaluate([str(csv)], "test", ForecastPredict(samples=10))
    assert again.figures["mase"].value > 0
    assert report.baselines[0][0] == "seasonal naive (season 24)"


def test_a_series_the_model_does_not_know_is_scored_on_its_second_half(tmp_path):
    t = task()
    train(t, tmp_path / "run")
    found = load_bundle(tmp_path / "run")
    predictor = face.load(found.config, found.tensors, found.tokens, "run")
    (tmp_path / "b.csv").write_text("value\n" + "".join(f"{math.sin(k)}\n" for k in range(80)))
    report = predictor.evaluate([str(tmp_path / "b.csv")], "test", ForecastPredict(samples=5))
    assert "1 series that the model was not trained on" in report.tables[0][1]
    assert min(row["origin"] for row in report.rows) == 40
    (tmp_path / "c.csv").write_text("other,more\n1,2\n")
    with pytest.raises(UserError, match="--target value"):
        predictor.evaluate([str(tmp_path / "c.csv")], "test", ForecastPredict())


@pytest.mark.parametrize("spoil", ["grid", "series", "targets", "season"])
def test_a_damaged_folder_is_refused(tmp_path, spoil):
    t = task()
    tokens = json.loads(json.dumps(t.tokens())) | {spoil: None}
    config = json.loads(json.dumps(t.settings()))
    with pytest.raises(UserError, match=r"tokens.json does not hold"):
        face.load(config, t.build().state_dict(), tokens, "run")
    with pytest.raises(UserError, match="the weights do not fit"):
        face.load(config | {"model": config["model"] | {"hidden": 9}}, t.build().state_dict(), t.tokens(), "run")


def test_the_default_opens_without_a_file():
    from unrolled.presets import load_preset
    from unrolled.tasks.registry import find

    preset = load_preset("forecast", find("forecast"))
    data, model = from_dict(ForecastData, preset.data, "preset"), from_dict(ForecastConfig, preset.model, "preset")
    t = face.open_task([], data, model, TrainConfig(**preset.train))
    assert t.shape.season == 24
    assert t.sample(t.build(), {}, 10, 1).startswith(("mackey", "seasonal"))
    name, value = t.baseline()
    assert name == "seasonal naive (season 24)"
    assert math.isfinite(value)


def test_old_weights_start_a_new_model():
    t = task()
    old = {name: torch.full_like(tensor, 0.25) for name, tensor in t.build().state_dict().items()}
    new = ForecastTask(t.found, t.data_config, dataclasses.replace(t.model_config, harmonics=1), t.train_config,
                       start_from=old)  # fmt: skip
    model = new.build()
    assert torch.equal(model.head.weight, old["head.weight"])
    assert "new: rnn.weight_ih_l0" in new.notes[-1]
