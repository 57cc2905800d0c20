from __future__ import annotations

import json

import pytest

from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError


def test_specials_come_first_and_are_known_by_place() -> None:
    v = Vocabulary(["b", "</s>", "a"], ["</s>", "<pad>"])
    assert (v.pad, v.unk, v.start, v.end, len(v)) == (0, None, None, 1, 5)
    assert v.encode(["a", "</s>", "b"]).tolist() == [4, 3, 2]
    assert v.decode([0, 1, 2, 3]) == ["<pad>", "</s>", "b", "</s>"]
    assert "a" in v
    assert "<pad>" not in v


def test_learning_by_frequency_then_code_point() -> None:
    v = Vocabulary.learn("abracadabra", ["<unk>"], min_count=2)
    assert v.items == ["a", "b", "r"]
    assert v.encode(list("abz")).tolist() == [1, 2, 0]
    assert Vocabulary.learn("bbaac", max_size=2).items == ["a", "b"]


def test_json_gives_the_same_and_damage_is_told() -> None:
    v = Vocabulary(["x", "y"], ["<unk>", "<s>"])
    again = Vocabulary.from_json(json.loads(json.dumps(v.to_json())), "tokens.json")
    assert (again.items, again.specials, again.start) == (v.items, v.specials, 1)
    for saved in ({}, {"items": [1]}, {"items": ["a"]}, {"items": ["a", "a"], "specials": []},
                  {"items": ["a"], "specials": ["<x>"]}):  # fmt: skip
        with pytest.raises(UserError, match=r"tokens.json: damaged vocabulary"):
            Vocabulary.from_json(saved, "tokens.json")


def test_unknown_without_unk_is_an_error() -> None:
    with pytest.raises(UserError, match="line 3: 'z' is not among the 1 known ones"):
        Vocabulary(["a"]).encode(["a", "z"], "line 3")
