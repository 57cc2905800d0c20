"""A language model on the stepper: the same text, the same loss, and what fewer bits cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cases import needs_core
from unrolled.cli.main import main
from unrolled.data.units import CharUnits
from unrolled.decoding.config import SampleConfig
from unrolled.errors import UserError
from unrolled.tasks.language import writing
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.measure import unit_nats
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.language.stepping import Stepped, divergence, step_refusal, stepper_of

pytestmark = needs_core
V = 19
SHAPES: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "lstm", "layers": 2, "input": "one-hot", "zoneout": 0.1},
    {"cell": "gru", "tied": True, "dropout": 0.3},
    {"cell": "rnn-relu", "single_bias": True},
]


def model_of(**shape: Any) -> LanguageModel:
    torch.manual_seed(3)
    model = LanguageModel(V, LanguageConfig(hidden=32, **shape)).eval()
    with torch.no_grad():
        model.head.weight.mul_(3)
    return model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A run and its text."""
    folder = tmp_path_factory.mktemp("trained")
    text, run = folder / "text.txt", folder / "run"
    text.write_text("the net reads and writes a line.\nIt forgets and learns.\n" * 120)
    options = ["--hidden", "16", "--batch", "4", "--bptt", "16", "--embedding", "8", "--steps", "60"]
    assert main(["train", str(text), "--out", str(run), *options]) == 0
    return str(run), str(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_text_is_that_of_the_ordinary_path(shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, units = model_of(**shape), CharUnits(list("abcdefghijklmnopqrs"))
    for config in (SampleConfig(length=120), SampleConfig(length=60, temperature=0.6, top_p=0.9, seed=8, stop="ab")):
        asked: dict[str, Any] = {"n": 3, "first": 2}
        stepped = ["".join(s) for s in writing.write_all(model, units, "abc", config, **asked)]
        with monkeypatch.context() as patch:
            patch.setattr(writing, "step_refusal", lambda model: "not today")
            ordinary = ["".join(s) for s in writing.write_all(model, units, "abc", config, **asked)]
        assert stepped == ordinary
        assert stepped[1] == "".join(writing.write(model, units, "abc", config, index=3))
        assert len(set(stepped)) == 3


@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_read_through_the_stepper_is_the_models(shape: dict[str, Any]) -> None:
    model, rng = model_of(**shape), np.random.default_rng(2)
    ids, targets = rng.integers(V, size=(2, 9, 4))
    resets = rng.random((9, 4)) < 0.2
    with torch.no_grad():
        _, state = model.features(torch.from_numpy(ids), None)
        expected, last = unit_nats(model, ids, targets, state, resets=resets)
        found, found_last = unit_nats(Stepped(model, None), ids, targets, state, resets=resets)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found_last, last, rtol=1e-4, atol=1e-5)


def test_fewer_bits_cost_something_but_little() -> None:
    model, ids = model_of(), np.random.default_rng(5).integers(V, size=400)
    full, n = divergence(model, "float32", ids)
    assert n == 400
    assert abs(full) < 1e-9
    for weights in ("bf16", "int8"):
        assert 1e-9 < divergence(model, weights, ids)[0] < 1e-2


def test_an_engine_asked_for_by_name_is_kept() -> None:
    model = model_of(engine="reference")
    assert "reference" in str(step_refusal(model))
    with pytest.raises(UserError, match=r"--weights int8: .*reference"):
        stepper_of(model, weights="int8")
    assert "layer_norm" in str(step_refusal(model_of(layer_norm=True)))


def test_sample_tells_what_weights_cost(trained: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    asked = ["sample", trained[0], "--length", "200", "-n", "3", "--json"]
    assert main(asked) == 0
    plain, told = capsys.readouterr()
    assert not told
    assert main([*asked, "--weights", "float32"]) == 0
    assert capsys.readouterr() == (plain, "")
    for weights in ("bf16", "int8"):
        assert main([*asked, "--weights", weights]) == 0
        out, told = capsys.readouterr()
        assert len(out.splitlines()) == 3
        assert f"{weights} weights cost 0.00" in told
    assert main([*asked, "--weights", "int4"]) == 2
    assert "--weights int4: not one of float32, bf16, int8" in capsys.readouterr().err


def test_evaluate_tells_the_change_of_loss(trained: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    run, text = trained
    assert Path(text).exists()
    for weights in ("float32", "int8"):
        capsys.readouterr()
        assert main(["evaluate", run, "--weights", weights, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["weights"] == weights
        change = found["weights_nats"] - found["nats"]
        assert abs(change) < (1e-5 if weights == "float32" else 0.02)
    assert main(["evaluate", run, "--weights", "int8"]) == 0
    assert "a change of " in capsys.readouterr().out
