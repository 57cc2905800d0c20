"""Features of a text, spelled out: under each character whether it holds."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled.errors import UserError
from unrolled.inspect.features import BY_PYTHON, KNOWN, make_features, unfit, usual

CASES = [
    ("quotes", 'a "bc" d', "..###..."),
    ("quotes", "x “y” z", "..##..."),
    ("quotes", '"ab\n\nc', "####.."),
    ("single-quotes", "don't 'do' it's", "......###......"),
    ("single-quotes", "‘a’ b", "##..."),
    ("any-quotes", "\"a\" 'b'", "##..##."),
    ("parentheses", "a (b (c) d) (e", "..########...."),
    ("square", "x[1][2]", ".##.##."),
    ("braces", "a}{b}", "..##."),
    ("brackets", "(a[b)]c", "#####.."),
    ("comments", "a # b\nc", "..###.."),
    ("comments", "'#' # x", "....###"),
    ("strings", "f('a', \"b\")", "..##...##.."),
    ("strings", '"""a "b" c""" d', "############..."),
    ("strings", r"'a\'b' c", "#####..."),
    ("strings", "'a\nb 'c'", "##...##."),
    ("strings", "x 'ab", "..###"),
    ("short-strings", '\'a\' """b\'c\'""" d', "##.............."),
    ("triple-quotes", '\'a\' """b\'c\'""" d', "....#########..."),
    ("c-comments", "a//b\nc/*d\ne*/f", ".###..######.."),
    ("c-comments", '"//" // x', ".....####"),
    ("re:[0-9]+", "a12b3", ".##.#"),
    ("re:^b", "b\nab\nb", "#....#"),
]


@pytest.mark.parametrize(("name", "text", "marks"), CASES)
def test_two_valued(name, text, marks):
    (feature,) = make_features([name], list(text))
    assert feature.two_valued
    assert "".join(".#"[int(v)] for v in feature.values) == marks


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("indentation", "a\n  b c\n\n\td", [0, 0, 2, 2, 2, 2, 2, 2, 2, 8, 8]),
        ("position", "ab\nc\n\nd", [0, 1, 2, 0, 1, 0, 0]),
    ],
)
def test_scalars(name, text, values):
    (feature,) = make_features([name], list(text))
    assert not feature.two_valued
    assert feature.values.tolist() == values


def test_a_piece_that_begins_inside_a_docstring_is_read_as_such():
    text = 'and so on.\n"""\n' + "def f():\n    return value\n" * 10
    (feature,) = make_features(["strings"], list(text))
    assert feature.values[:5].all()
    assert not feature.values[20:].any()


def test_a_unit_of_several_characters_has_the_value_of_its_last():
    (feature,) = make_features(["quotes"], ['a "', "b", '" c', "", ' "'])
    assert feature.values.tolist() == [True, True, False, False, True]


def test_every_known_feature_takes_every_text():
    for text in ("", "\n", "'", '"""', "\ud800é中", "((", "\t"):
        for feature in make_features(list(KNOWN), list(text)):
            assert feature.values.shape == (len(text),)


def test_python_and_c_are_told_from_prose():
    prose = 'He said: "# no; comment".\nit, imported from {there}, ends\n' * 30
    assert not {*BY_PYTHON, "c-comments"} & set(usual(list(prose)))
    python = set(usual(list("def f():\n    return 1\n" * 9)))
    assert set(BY_PYTHON) <= python
    assert not {"quotes", "c-comments"} & python
    assert "c-comments" in usual(list("int a;\nint b; // c\n" * 9))


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"unknown feature 'quote'.*quotes"):
        make_features(["quote"], list("ab"))
    with pytest.raises(UserError, match=r"re:\(a: not a regular expression"):
        make_features(["re:(a"], list("ab"))


def test_what_cannot_be_searched_for_says_why():
    text = "a" * 300 + '"b"' * 100
    assert "never holds in the first half" in (unfit(make_features(["quotes"], list(text))[0]) or "")
    assert "nearly always holds" in (unfit(make_features(["re:."], list(text))[0]) or "")
    assert "one value in the first half" in (unfit(make_features(["indentation"], list(text))[0]) or "")
    assert unfit(make_features(["re:a"], list("ab" * 100))[0]) is None
    assert isinstance(np.asarray(make_features(["position"], [])[0].values), np.ndarray)
