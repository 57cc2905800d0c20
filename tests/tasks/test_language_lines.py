"""Lines with units that are not known, and prompts whose units stand apart."""

from __future__ import annotations

import pytest
import torch

from unrolled.decoding.config import SampleConfig
from unrolled.errors import UserError
from unrolled.tasks.language import scoring
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.language.scoring import score, score_lines
from unrolled.tasks.language.writing import write


@pytest.fixture
def make_model(make_corpus):
    def make(text, **options):
        units = make_corpus(text, heldout=0.0, dev=0.0, **options).units
        torch.manual_seed(1)
        return LanguageModel(len(units), LanguageConfig(hidden=6)), units

    return make


@pytest.mark.parametrize("size", [2, 100])
def test_an_unknown_unit_names_its_line_behind_the_scores_of_those_before(make_model, monkeypatch, size):
    monkeypatch.setattr(scoring, "LINES_AT_ONCE", size)
    model, units = make_model("anna\notto\n" * 9)
    lines = ["anna", "otto", "an", "aZ", "no"]
    got = []
    with pytest.raises(UserError, match=r"^names\.txt, line 4: character 'Z' .* at character 1 "):
        got.extend(score_lines(model, units, lines, where="names.txt"))
    expected = list(score_lines(model, units, lines[:3]))
    assert [one.nats for one in got] == pytest.approx([one.nats for one in expected])
    with pytest.raises(UserError, match=r"^the text, line 1: "):
        list(score_lines(model, units, ["Z"]))


def test_good_lines_come_before_the_error(make_model):
    model, units = make_model("anna\notto\n" * 9)
    scores = score_lines(model, units, ["anna", "otto", "Z"])
    assert [next(scores).units, next(scores).units] == [5, 5]
    with pytest.raises(UserError, match="line 3"):
        next(scores)


def test_an_unknown_unit_names_its_record(make_model):
    model, units = make_model("anna|otto|" * 9, records="|")
    with pytest.raises(UserError, match=r"^the text, record 2: "):
        score(model, units, "anna|Z|")


@pytest.mark.parametrize(
    ("kind", "text", "prompt", "space"),
    [
        ("int", "1 2 3 4 " * 20, "1 2 3", True),
        ("int", "1 2 3 4 " * 20, "1 2 3 ", False),
        ("int", "1 2 3 4 " * 20, "", False),
        ("whitespace", "a b c d " * 20, "a b", True),
        ("whitespace", "a b c d\n" * 20, "a b\n", False),
        ("char", "abc" * 20, "ab", False),
        ("byte", "aé日" * 20, "aé日", False),
    ],
)
def test_what_is_written_stands_apart_from_the_prompt(make_model, kind, text, prompt, space):
    model, units = make_model(text, units=kind)
    for index in range(5):
        pieces = list(write(model, units, prompt, SampleConfig(length=4, seed=3), index=index))
        written = "".join(pieces)
        if not written.startswith("\n"):
            assert written.startswith(" ") == space
        if kind in ("int", "whitespace") and "\n" not in written:
            assert len((prompt + written).split()) == len(prompt.split()) + 4
