"""Scoring a given text: whole, by lines, by records."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from unrolled.errors import UserError
from unrolled.tasks.language import scoring
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.language.scoring import boundary, novelty, score, score_lines

TEXT = "anna\notto\nida\nemil\na\nüber\n" * 5


@pytest.fixture
def make_model(make_corpus):
    def make(text=TEXT, **options):
        units = make_corpus(text, heldout=0.0, dev=0.0, **options).units
        torch.manual_seed(1)
        return LanguageModel(len(units), LanguageConfig(hidden=6, dropout=0.4)).double(), units

    return make


def nats(model, ids):
    model.eval()
    ids = torch.from_numpy(np.asarray(ids, np.int64))
    with torch.no_grad():
        return F.cross_entropy(model(ids[:-1, None])[0][:, 0], ids[1:], reduction="sum").item()


def test_a_text_costs_the_sum_of_its_units(make_model):
    model, units = make_model()
    text = "über anna\n".replace(" ", "\n")
    got = score(model, units, text)
    assert model.training  # as it was
    expected = nats(model, units.encode("\n" + text))
    assert got.nats == pytest.approx(expected, rel=1e-12)
    assert (got.units, got.chars, got.bytes) == (10, 10, 11)
    assert got.log_probability == -got.nats
    assert got.perplexity == pytest.approx(math.exp(expected / 10))
    assert got.bpc == pytest.approx(expected / math.log(2) / 10)
    assert got.bpb == pytest.approx(expected / math.log(2) / 11)
    assert got.to_dict()["bpb"] == got.bpb
    assert score(model, units, text, size=22).bpb == pytest.approx(got.bpb / 2)


def test_many_streams_agree_where_the_warm_up_reaches_the_beginning(make_model):
    model, units = make_model()
    assert score(model, units, TEXT, streams=4).nats == pytest.approx(score(model, units, TEXT).nats, rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"records": "line"}], ids=str)
def test_lines_are_scored_alone_with_their_ends_and_in_order(make_model, monkeypatch, options):
    monkeypatch.setattr(scoring, "CHUNK", 3)
    monkeypatch.setattr(scoring, "ROWS", 2)
    monkeypatch.setattr(scoring, "LINES_AT_ONCE", 4)
    model, units = make_model(**options)
    lines = ["anna", "", "a", "leidenanna".replace("d", "m"), "ida", "otto"]
    got = list(score_lines(model, units, iter(lines)))
    end = boundary(units)
    for line, one in zip(lines, got, strict=True):
        assert one.nats == pytest.approx(nats(model, [end, *units.encode(line), end]), rel=1e-12)
        assert (one.units, one.chars) == (len(line) + 1, len(line) + 1)


def test_a_text_of_records_is_the_sum_of_its_records(make_model):
    model, units = make_model(records="line")
    whole = score(model, units, "anna\nida\n")
    lines = list(score_lines(model, units, ["anna", "ida"]))
    assert whole.nats == pytest.approx(sum(one.nats for one in lines), rel=1e-12)
    assert (whole.units, whole.chars) == (9, 9)


def test_without_a_line_feed_the_first_unit_is_given(make_model):
    model, units = make_model("abcabcabc")
    assert boundary(units) is None
    got = score(model, units, "abca")
    assert got.units == 3
    assert got.nats == pytest.approx(nats(model, units.encode("abca")), rel=1e-12)
    assert [one.units for one in score_lines(model, units, ["a", "", "ab"])] == [0, 0, 1]
    assert math.isnan(score(model, units, "a").perplexity)


def test_unknown_units_follow_the_policy(make_model):
    model, units = make_model()
    with pytest.raises(UserError, match="'Z'"):
        score(model, units, "aZa")
    assert score(model, units, "aZa", unknown="skip").units == 2


def test_a_hopeless_text_has_an_infinite_perplexity():
    assert scoring.Score(1e6, 10, 10, 10).perplexity == math.inf


def test_novelty():
    novel, repeated = novelty(["anna", "zoe", "anna", "max"], iter(["otto", "anna", "max"]))
    assert (novel, repeated) == (0.25, 0.25)
    assert all(map(math.isnan, novelty([], [])))
