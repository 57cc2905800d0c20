"""What the sections on memory and on units say, and that every input is handled or refused by name."""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import re

import numpy as np
import pytest

from tests.inspect.subjects import quoted_text, subject
from unrolled.errors import UserError
from unrolled.inspect import read, similar
from unrolled.inspect.config import InspectConfig
from unrolled.inspect.page import clean, render
from unrolled.inspect.sections_memory import affordable, section_memory
from unrolled.inspect.sections_units import section_units
from unrolled.inspect.view import LONGEST, shown_units, text_view

TEXT = quoted_text(1200)


@pytest.fixture(autouse=True)
def _few_positions(monkeypatch):
    monkeypatch.setattr("unrolled.inspect.sections_memory.MOST_SAMPLED", 160)


def data_of(page: str) -> list[dict]:
    return [json.loads(part) for part in re.findall(r'<script type="application/json">(.*?)</script>', page)]


def test_memory_of_a_network_in_words_pictures_and_numbers():
    section = section_memory(subject(TEXT), InspectConfig())
    assert section.key == "memory"
    assert "context" in section.numbers
    assert len(section.verdict) == 2
    assert section.numbers["replaced"]["lags"][-1] == 128
    assert all(block.reading.endswith(".") for block in section.blocks)
    json.dumps(clean(section.numbers), allow_nan=False)


def test_a_short_text_shortens_the_lags_and_says_so():
    section = section_memory(subject(TEXT[:200]), InspectConfig())
    assert section.numbers["replaced"]["lags"].max() == 64
    assert "The text has 200 units, so no lag above 64 was looked at." in section.verdict
    with pytest.raises(UserError, match="a text of 60 units is too short to measure memory; give at least 100"):
        section_memory(subject(TEXT[:60]), InspectConfig())


def test_short_records_leave_long_lags_out_and_say_so():
    section = section_memory(subject(TEXT, fresh_every=20), InspectConfig())
    assert section.numbers["replaced"]["lags"].max() == 16
    assert "Lags above 16 were left out: too few records are that long." in section.verdict
    with pytest.raises(UserError, match=r"memory: .*; give a longer text"):
        section_memory(subject(TEXT, fresh_every=1), InspectConfig())


@pytest.mark.parametrize("shape", [{"cell": "gru", "layers": 2}, {"cell": "rnn-tanh"}, {"layer_norm": True}])
def test_both_sections_take_every_cell(shape):
    one = subject(TEXT, **shape)
    states = section_units(one, ["quotes"]).numbers["features"][0]["best"][0]["unit"]
    assert re.fullmatch(r"[hc][01]\.\d+", states)
    assert section_memory(one, InspectConfig()).numbers["context"]["positions"] > 100


def test_fewer_positions_for_a_larger_network():
    small, large = subject(TEXT).model, subject(TEXT, hidden=2000).model
    assert affordable(small, 129, 255) == 160
    assert affordable(large, 129, 255) == 64


def test_units_of_a_network_in_words_pictures_and_numbers():
    section = section_units(subject(TEXT), ["quotes", "position", "re:[a-z]+", "braces"])
    features = section.numbers["features"]
    assert [f["feature"] for f in features] == ["quotes", "position", "re:[a-z]+"]
    assert section.verdict[-1].startswith("Not searched for, inside { }: it never holds")
    assert features[0]["null"]["shifts"] >= 200
    assert {"twin", "cue", "probe", "held"} <= set(features[0])
    json.dumps(clean(section.numbers), allow_nan=False)
    assert "untrained twin" in section.verdict[0]


def test_an_untrained_network_has_no_twin():
    section = section_units(subject(TEXT, trained=False), ["quotes"])
    assert section.numbers["features"][0]["twin"] is None
    assert "twin" not in section.verdict[0]


def test_without_names_the_usual_features_are_searched_once_each():
    found = [f["feature"] for f in section_units(subject(TEXT)).numbers["features"]]
    assert "quotes" in found
    assert "any-quotes" not in found  # the same here, as there are no single ones
    assert "strings" not in found


def test_records_are_read_from_fresh_states():
    one = subject(TEXT, fresh_every=40)
    section = section_units(one, ["quotes"])
    reading = read(one.model, one.text.ids, fresh=one.text.fresh)
    alone = read(one.model, one.text.ids[40:80])
    np.testing.assert_allclose(reading.states["c0"][40:80], alone.states["c0"], atol=1e-6)
    assert np.isfinite(section.numbers["features"][0]["held"]["elsewhere"])


def test_a_short_text_is_shown_and_not_searched():
    section = section_units(subject(TEXT[:90]), ["quotes"])
    assert section.verdict == ["No search: the text has 90 units, and a search needs 500."]
    assert len(data_of(section.blocks[-1].html)[0]["text"]) == 90


def test_mistakes_are_named():
    for section in (functools.partial(section_memory, config=InspectConfig()), section_units):
        with pytest.raises(UserError, match=r"made: .*a tag model predicts none"):
            section(dataclasses.replace(subject(TEXT), task="tag", text=None))
    with pytest.raises(UserError, match="unknown feature 'rhyme'"):
        section_units(subject(TEXT), ["rhyme"])
    with pytest.raises(UserError, match="not a regular expression"):
        section_units(subject(TEXT), ["re:["])


def test_two_models_stand_side_by_side():
    section = section_units(subject(TEXT), ["quotes"], beside=subject(TEXT[:700], name="other", cell="gru"))
    page = render("t", [], [[section]])
    assert page.count('class="unrolled-view"') == 2
    assert {'id="unit"', 'id="unit1"'} <= set(re.findall(r'id="unit\d*"', page))
    assert section.numbers["beside"]["name"] == "other"
    assert section.verdict[0].startswith("made: ")
    assert any(line.startswith("other: ") for line in section.verdict)


def test_no_text_can_leave_the_script_it_stands_in():
    one = subject(TEXT)
    words = ["</script>" if k % 7 == 0 else "<!--" if k % 7 == 3 else " x" for k in range(len(TEXT))]
    one = dataclasses.replace(one, text=dataclasses.replace(one.text, units=words))
    page = render("t", [], [[section_units(one, ["re:x"])]])
    assert data_of(page)[0]["text"] == words
    assert page.count("</script>") == 2  # the data's end and the script's
    assert "<!--" not in page


def test_the_view_holds_what_the_network_did():
    one = subject(TEXT)
    reading = read(one.model, one.text.ids)
    view = data_of(text_view("l", one.text.units, one.text.vocabulary, reading, shown_units(reading, [], most=9)))[0]
    N, names = len(TEXT), [u["name"] for u in view["units"]]
    levels = np.frombuffer(base64.b64decode(view["levels"]), np.int8).reshape(len(names), N)
    for name, scale, row in zip(names, [u["scale"] for u in view["units"]], levels, strict=True):
        key, j = name.split(".")
        np.testing.assert_allclose(row / 127 * scale, reading.states[key][:, int(j)], atol=scale / 250)
    following = np.frombuffer(base64.b64decode(view["next"]), "<u2").reshape(N, -1)
    scores = one.model(one.text.ids[:, None])[0][:, 0].softmax(-1)
    best = [one.text.vocabulary[k] for k in scores.argmax(-1).tolist()]
    assert [view["vocabulary"][k] for k in following[:, 0]] == best
    chances = np.frombuffer(base64.b64decode(view["chances"]), np.uint8).reshape(N, -1)
    np.testing.assert_allclose(chances[:, 0] / 255, scores.max(-1).values.detach(), atol=1 / 500)


def test_ten_thousand_units_of_text_stay_far_below_the_limit_of_a_page():
    one = subject(quoted_text(LONGEST + 500), hidden=100)
    reading = read(one.model, one.text.ids)
    shown = shown_units(reading, [], most=80)
    view = text_view("l", one.text.units, one.text.vocabulary, reading, shown)
    assert len(shown) == 64
    assert len(data_of(view)[0]["text"]) == LONGEST
    assert len(view) < 1_600_000


def test_similar_places_are_those_of_the_largest_cosine():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(130, 6))
    where, cosines = similar(states, count=3, apart=10)
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    for k in range(130):
        cosine = unit @ unit[k]
        cosine[max(0, k - 9) : k + 10] = -np.inf
        best = sorted((cosine[a : a + 10].max(), a + int(cosine[a : a + 10].argmax())) for a in range(0, 130, 10))[::-1]
        assert where[k].tolist() == [p for _, p in best[:3]]
        np.testing.assert_allclose(cosines[k], [c for c, _ in best[:3]], atol=1e-6)
    where, cosines = similar(states[:15], count=3, apart=10)
    assert where[7].tolist() == [-1, -1]
    assert not cosines[7].any()
