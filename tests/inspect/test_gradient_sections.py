"""What the page says of networks whose behaviour is known, and what it does where an instrument does not fit."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.inspect.networks import Net, batch, last_loss
from unrolled.errors import UserError
from unrolled.inspect.config import InspectConfig
from unrolled.inspect.page import Section, clean, render
from unrolled.inspect.sections_gates import section_gates
from unrolled.inspect.sections_gradient import section_flow
from unrolled.inspect.sections_jacobian import section_jacobian
from unrolled.inspect.sections_weights import section_weights
from unrolled.inspect.subject import Losses, Subject, Text
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel

CONFIG = InspectConfig(steps=24, positions=9, chars=100)
INSTRUMENTS = {"flow": section_flow, "jacobian": section_jacobian, "gates": section_gates, "weights": section_weights}


def windows(model: nn.Module, positions: int, steps: int) -> Losses:
    assert isinstance(model, Net)
    x, y = batch(T=steps, B=positions)
    return last_loss(model, x.to(next(model.parameters()).dtype), y)


def subject(net: nn.Module, untrained: nn.Module | None = None, **more: Any) -> Subject:
    return Subject("a network", "forecast", net, net if untrained is None else untrained, windows, **more)


def section(name: str, of: Subject) -> Section:
    made: Section = INSTRUMENTS[name](of, CONFIG)
    json.dumps(clean(made.numbers), allow_nan=False)
    page = render("t", [], [[made]])
    assert all(block.reading.endswith(".") for block in made.blocks)
    assert len(page) < 600_000
    return made


@pytest.mark.parametrize("name", INSTRUMENTS)
@pytest.mark.parametrize("kind", ["relu", "lstm-proj", "gru"])
def test_every_cell_has_every_section(kind: str, name: str) -> None:
    net = Net(kind, num_layers=2 if kind == "gru" else 1).float()
    made = section(name, subject(net, Net(kind, seed=3, num_layers=net.rnn.num_layers).float()))
    assert made.key == name
    assert made.verdict
    assert made.blocks


def test_the_verdict_on_a_linear_network_is_the_known_rate() -> None:
    net = Net("identity", H=6)
    with torch.no_grad():
        net.rnn.weight_hh_l0.copy_(0.7 * torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q)
    flow = section("flow", subject(net))
    assert flow.verdict[0] == (
        "Not trained yet. rnn.l0, gradient in h: its median falls under one half of g_0 2 steps back, and under a "
        "thousandth 20 steps back."
    )
    assert any("by the factor 0.700 a step (R² 1.000)" in line for line in flow.verdict)
    assert any("nothing explodes" in line for line in flow.verdict)
    spectrum = section("jacobian", subject(net))
    assert any("The cell is linear: the spectral radius 0.700 decides the limit, and the gradient vanishes." in line
               for line in spectrum.verdict)  # fmt: skip
    assert any("by the factor 0.700 a step" in line for line in spectrum.verdict)
    with torch.no_grad():
        net.rnn.weight_hh_l0.mul_(1.1 / 0.7)
    flow = section("flow", subject(net, Net("identity", H=6)))
    assert any("top percentile grows" in line for line in flow.verdict)
    assert "at initialisation" in flow.verdict[0]


def test_a_network_whose_loss_sees_no_state_is_told_so() -> None:
    net = Net("lstm")

    def blind(model: nn.Module, positions: int, steps: int) -> Losses:
        x, _ = batch(T=steps, B=positions)
        bias = next(model.parameters()).double().sum()

        def loss() -> Tensor:
            model(x)
            return bias.expand(positions) * 1.0

        return loss

    made = section("flow", dataclasses.replace(subject(net), windows=blind))
    assert made.verdict == ["No recurrent state enters the loss of the last step: there is no gradient to follow."]


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_weight_that_is_not_a_number_is_named(name: str) -> None:
    net = Net("gru")
    with torch.no_grad():
        net.rnn.weight_hh_l0[2, 1] = math.nan
    with pytest.raises(UserError, match=r"rnn\.weight_hh_l0: 1 of 75 values are not finite"):
        INSTRUMENTS[name](subject(net), CONFIG)


def language(tmp_path: Path, bptt: str, fresh: Tensor | None = None) -> Subject:
    torch.manual_seed(0)
    model = LanguageModel(7, LanguageConfig(hidden=6, embedding=4)).eval()
    ids = torch.randint(0, 7, (600,))
    letters = "abA1 \n;"
    text = Text(ids, [letters[k] for k in ids], list(letters), ids, fresh)
    (tmp_path / "config.json").write_text(json.dumps({"train": {"bptt": bptt}}))
    twin = LanguageModel(7, LanguageConfig(hidden=6, embedding=4)).eval()
    return Subject("a", "language", model, twin, windows, text, str(tmp_path))


def test_weights_of_a_language_model(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 10, "grad_norm": 2.0, "clipped": 0.25, "grad_norm_after": 1.0}\n'
        '{"step": 20, "grad_norm": 2.0, "clipped": 0.75}\n'
    )
    made = section("weights", language(tmp_path, "16"))
    said = " ".join(made.verdict)
    assert "50.0 % of the updates were clipped; the gradient's norm before that was 2 in the mean" in said
    assert "Truncation: the gradient that goes back 16 steps" in said
    assert [c["k"] for c in made.numbers["truncation"]] == [4, 8, 16]
    assert {c["reach"] for c in made.numbers["truncation"]} == {128}
    assert made.numbers["truncation"][2]["cosine"] > made.numbers["truncation"][0]["cosine"]
    assert sum(k["units"] for k in made.numbers["loss_by_kind"]) == 200


def test_truncation_says_why_it_is_not_measured(tmp_path: Path) -> None:
    assert "nothing is truncated" in section("weights", language(tmp_path, "full")).verdict[-1]
    fresh = torch.arange(600) % 20 == 0
    assert "not measured on records" in section("weights", language(tmp_path, "16", fresh)).verdict[-1]


def test_many_layers_get_a_table_and_the_first_pictures() -> None:
    net = Net("gru", num_layers=3, bidirectional=True)
    made = section("flow", subject(net))
    assert len(made.numbers["paths"]) == 6
    assert made.numbers["paths"][5]["layer"] == "rnn.l2_reverse"
    assert "rnn.l2_reverse" in made.blocks[-2].html
