"""Units: there and back, unknown ones, streaming, saving, learning."""

from __future__ import annotations

import json

import numpy as np
import pytest

from unrolled.data.config import TextConfig
from unrolled.data.learn import learn_subwords, learner
from unrolled.data.units import ByteUnits, CharUnits, Units, token_type, units_from_json
from unrolled.data.words import IntUnits, WordUnits
from unrolled.errors import UserError

TEXT = "It's naïve  to say «no» — isn’t it?\n\tYes, 日本 😀 says \r\n  so. The the the.\n"
TEXTUAL = ("char", "byte", "word", "bpe")


def learnt(kind: str, text: str = TEXT, **settings: object) -> Units:
    config = TextConfig(units=kind, **settings)  # type: ignore[arg-type]
    if kind == "byte":
        return ByteUnits(end=config.delimiter)
    if kind == "bpe":
        return learn_subwords([text], config)
    one = learner(kind, "the text")
    one.add(text)
    return one.units(config)


def again(units: Units) -> Units:
    return units_from_json(json.loads(json.dumps(units.to_json())), "tokens.json")


@pytest.mark.parametrize("kind", TEXTUAL)
def test_text_comes_back_whole_also_after_saving(kind: str) -> None:
    units = learnt(kind)
    for one in (units, again(units)):
        ids = one.encode(TEXT)
        assert ids.dtype == np.int64
        assert ids.min() >= 0
        assert ids.max() < len(one)
        assert one.decode(ids) == TEXT
        assert one.decode(ids.tolist()) == TEXT
        assert (one.encode_bytes(TEXT.encode()) == ids).all()
        assert len(one.encode("")) == 0
        assert one.decode([]) == ""
    assert (again(units).encode(TEXT) == units.encode(TEXT)).all()


def test_literal_ids() -> None:
    assert CharUnits("ehlo").encode("hello").tolist() == [1, 0, 2, 2, 3]
    assert ByteUnits().encode("é").tolist() == [0xC3, 0xA9]
    words = learnt("word", "a b. a\n")
    assert words.words == ["\n", " a", " b", ".", "a"]  # type: ignore[attr-defined]
    assert words.encode(" a\n").tolist() == [1, 0]
    spaced = learnt("whitespace", "x y\n\nx  z")
    assert spaced.decode(spaced.encode("x y\n\nx  z\n")) == "x y\n\nx z\n"
    assert learnt("int", "3 0 12\n7").encode("12 3").tolist() == [12, 3]
    assert len(learnt("int", "3 0 12\n7")) == 13
    assert learnt("int", "3").decode([1, 2, 3]) == "1 2 3"


@pytest.mark.parametrize("kind", [*TEXTUAL, "whitespace"])
def test_streaming_never_splits_a_character(kind: str) -> None:
    units = learnt(kind)
    decoder, out = units.decoder(), ""
    for unit in units.encode(TEXT):
        piece = decoder.push(int(unit))
        assert "\ufffd" not in piece
        out += piece
    assert out + decoder.flush() == units.decode(units.encode(TEXT))


def test_bytes_that_are_no_characters_are_replaced() -> None:
    units = ByteUnits()
    assert units.decode([0xC3, 65, 0xE6]) == "\ufffdA\ufffd"
    assert ByteUnits("latin-1").decode([0xC3]) == "Ã"
    assert ByteUnits("latin-1").encode("Ã").tolist() == [0xC3]
    with pytest.raises(UserError, match="does not exist in latin-1"):
        ByteUnits("latin-1").encode("日")


def test_policy_for_unknown_units_without_unk() -> None:
    units = CharUnits(" ?abc")
    with pytest.raises(UserError, match=r"the prompt: character 'é' \(U\+00E9\) at character 2 .*--unknown skip"):
        units.encode("abé", where="the prompt")
    with pytest.raises(UserError, match="at character 102 "):
        units.encode("abé", at=100)
    assert units.decode(units.encode("xaébz", unknown="skip")) == "ab"
    assert units.decode(units.encode("aéb", unknown="replace")) == "a?b"
    assert units.decode(CharUnits(" ab").encode("a!b", unknown="replace")) != ""
    assert CharUnits(" ab").decode(CharUnits(" ab").encode("a!b", unknown="replace")) == "a b"
    with pytest.raises(UserError):
        CharUnits("ab").encode("!", unknown="replace")
    ids, counts = units.encode_many(["aé", "é", "bc"], unknown="skip")
    assert units.decode(ids) == "abc"
    assert counts.tolist() == [1, 0, 2]


@pytest.mark.parametrize("unknown", ["error", "replace", "skip"])
def test_unk_takes_every_unknown_unit(unknown: str) -> None:
    for units in (CharUnits("ab", unk=True), WordUnits(["a", "b"], unk=True), IntUnits(2, unk=True)):
        text = {"char": "aé", "word": "a!", "int": "1 9"}[units.kind]
        assert units.encode(text, unknown=unknown).tolist()[-1] == units.unk
        assert len(units) == 3
        assert again(units).unk == units.unk
        assert units.name(2) == "<unk>"


def test_bytes_and_bpe_know_everything() -> None:
    for kind in ("byte", "bpe"):
        units = learnt(kind, "plain words only")
        assert units.decode(units.encode("ж 日 \x00 😀")) == "ж 日 \x00 😀"


def test_vocabularies_are_cut_to_size() -> None:
    units = learnt("char", "aaaabbbccd", vocab_size=3)
    assert units.characters == ["a", "b"]  # type: ignore[attr-defined]
    assert len(units) == 3
    assert units.encode("abcd").tolist() == [0, 1, 2, 2]
    assert learnt("char", "abc", vocab_size=3).unk is None
    assert learnt("char", "abc", vocab="train").unk == 3
    words = learnt("word", "x x x y y z", vocab_size=3)
    assert len(words) == 3
    assert words.unk == 2
    assert len(learnt("bpe", "some words " * 9, vocab_size=260)) == 260
    with pytest.raises(UserError, match="bpe needs at least 256"):
        learnt("bpe", vocab_size=100)
    with pytest.raises(UserError, match="use --vocab-size 13"):
        learnt("int", "3 12", vocab_size=5)


def test_many_distinct_words_are_forgotten_rarest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.data.learn.MOST_WORDS", 50)
    one = learner("word", "the text")
    for number in range(40):
        one.add(f"often often w{number} v{number}")
    assert len(one.counts) <= 50  # type: ignore[attr-defined]
    units = one.units(TextConfig(units="word"))
    assert units.words[0] == " often"  # type: ignore[attr-defined]
    assert units.unk is not None


@pytest.mark.parametrize(
    ("kind", "records", "own"),
    [
        ("char", "line", False),
        ("char", "<>", True),
        ("byte", "line", False),
        ("byte", "<>", True),
        ("word", "line", False),
        ("word", "\\n\\n", True),
        ("whitespace", "line", False),
        ("whitespace", "END", False),
        ("int", "line", True),
        ("bpe", "line", False),
        ("bpe", "\\n\\n\\t", True),
    ],
)
def test_record_end_is_a_unit_of_the_vocabulary_or_one_of_its_own(kind: str, records: str, own: bool) -> None:
    text = "1 2" if kind == "int" else "one two"
    units = learnt(kind, text, records=records)
    assert units.end is not None
    assert (units.end == len(units) - 1) is own or not own
    assert units.decode([units.end]).strip(" ") == TextConfig(records=records).delimiter
    assert again(units).end == units.end
    assert len(again(units)) == len(units)
    if not own and kind != "int":
        assert units.encode(units.end_text or "").tolist() == [units.end]


def test_integers_are_checked() -> None:
    for text, word in (("1 -2", "-2"), ("1 2.5", "2.5"), ("1 x", "x"), ("1 1_0", "1_0"), ("１ 2", "１")):
        with pytest.raises(UserError, match=f"'{word}' is not a non-negative integer"):
            learnt("int", text)
    for big in ("1048576", "9" * 40):
        with pytest.raises(UserError, match="out of range"):
            learnt("int", f"3 {big}")
    with pytest.raises(UserError, match="number '9' at number 1"):
        learnt("int", "1 2 3").encode("2 9")


def test_names_are_printable() -> None:
    units = CharUnits("\n a日")
    assert [units.name(unit) for unit in range(4)] == ["\\n", "␣", "a", "日"]
    assert ByteUnits().name(10) == "0x0a"
    assert ByteUnits().name(65) == "A"
    bpe = learnt("bpe", "the the")
    assert all(bpe.name(unit).isprintable() for unit in range(len(bpe)))


def test_damaged_vocabularies_are_refused() -> None:
    good = CharUnits("ab").to_json()
    for bad in (
        {**good, "kind": "runes"},
        {"kind": "char"},
        {**good, "units": [1, 2]},
        {"kind": "bpe", "tokenizer": {}},
    ):
        with pytest.raises(UserError, match=r"tokens\.json"):
            units_from_json(bad, "tokens.json")


def test_token_types() -> None:
    assert [token_type(V).name for V in (256, 257, 65536, 65537)] == ["uint8", "uint16", "uint16", "uint32"]
