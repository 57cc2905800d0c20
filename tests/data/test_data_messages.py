"""What a text's peculiarities are called: places, numbers of things, delimiters, line ends, encodings."""

from __future__ import annotations

from pathlib import Path

import pytest

from unrolled.data.config import TextConfig
from unrolled.data.corpus import Corpus, load_corpus
from unrolled.data.detect import guess
from unrolled.data.text import open_source
from unrolled.data.units import CharUnits, Units
from unrolled.data.words import IntUnits
from unrolled.errors import UserError

WHOLE = {"heldout": 0.0, "dev": 0.0}


def load(tmp_path: Path, data: bytes, given: Units | None = None, **settings: object) -> Corpus:
    path = tmp_path / "t.txt"
    path.write_bytes(data)
    config = TextConfig(**settings)  # type: ignore[arg-type]
    return load_corpus(open_source([str(path)]), config, units=given, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "élève âgé à été créé là-bas, où l'été a été gâché; déjà né, ôté, épée, fée, "),
        ("latin-1", "é à ù ê ô ç ï é à é "),
        ("cp1251", "Я и ты, он и она: в лесу, у реки, на горе. "),
    ],
)
def test_letters_that_stand_alone_are_western(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "t"
    path.write_bytes((text * 20).encode(encoding))
    assert guess(open_source([str(path)]).items[0], "utf-8") == encoding


def test_one_unit_can_be_encoded_with_units_given(tmp_path: Path) -> None:
    for units in (CharUnits(["a", "b"]), None):
        if units is None:
            with pytest.raises(UserError, match="1 character is too short to train on"):
                load(tmp_path, b"a", **WHOLE)
        else:
            assert load(tmp_path, b"a", units, **WHOLE).parts["train"].units == 1
    one = load(tmp_path, b"ab", units="byte", **WHOLE).units
    assert load(tmp_path, b"a", one, units="byte", **WHOLE).parts["train"].units == 1


def test_things_are_counted_in_grammar(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 characters are too short to split"):
        load(tmp_path, b"abc")
    with pytest.raises(UserError, match="1 byte is too short"):
        load(tmp_path, b"a", units="byte", **WHOLE)
    with pytest.raises(UserError, match="1 record is too short"):
        load(tmp_path, b"a\n", records="line")
    assert load(tmp_path, b"a\n\nb", records="line", **WHOLE).notes == ["1 empty record left out"]


@pytest.mark.parametrize("units", ["char", "byte"])
def test_a_delimiter_that_never_occurs_is_named(tmp_path: Path, units: str) -> None:
    data = b"one;two;three\n"
    with pytest.raises(UserError, match=r"the delimiter '\|' does not occur in .*t\.txt; "):
        load(tmp_path, data, units=units, records="|")
    made = load(tmp_path, data, units=units, records="|", **WHOLE)
    assert "the delimiter '|' does not occur" in made.notes[0]
    assert load(tmp_path, data, made.units, units=units, records="|", **WHOLE).notes == []
    assert load(tmp_path, data, units=units, records=";", **WHOLE).notes == []


@pytest.mark.parametrize("units", ["char", "byte", "word"])
def test_crlf_is_noted_and_can_be_the_delimiter(tmp_path: Path, units: str) -> None:
    data = b"one\r\ntwo\r\nthree\r\n" * 9
    (note,) = load(tmp_path, data, units=units).notes
    assert note == "lines end in CRLF: \\r is a unit of its own; convert the file to leave it out"
    (note,) = load(tmp_path, data, units=units, records="line").notes
    assert note.endswith(r"leave it out, or use --records '\r\n'")
    made = load(tmp_path, data, units=units, records="\\r\\n")
    assert made.notes == []
    assert len(made.records or ()) == 27
    assert made.units.end_text == "\r\n"


def test_crlf_is_no_matter_where_white_space_is_dropped(tmp_path: Path) -> None:
    assert load(tmp_path, b"1 2\r\n" * 30, units="int").notes == []


def test_places_say_where_they_count_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at character 2 \(counted from 0\) is not in the vocabulary \(1 unit\)"):
        CharUnits(["a"]).encode("aab")
    with pytest.raises(UserError, match=r"'x' is not a non-negative integer, at number 3 \(counted from 0\)"):
        IntUnits(9).encode("1 2 3 x")
    with pytest.raises(UserError, match=r"9999999 is out of range .*, at number 1 \(counted from 0\)"):
        IntUnits(9).encode("1 9999999")
    with pytest.raises(UserError, match=r"'x' is not .* at number 400001 "):  # in the second block of whole units
        load(tmp_path, b"1 23456\n" * 200_000 + b"1 x 2\n", units="int")
