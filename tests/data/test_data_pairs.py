"""Pairs: every format, several references, Unicode, and errors that name file and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from unrolled.data.pairs import Pairs, read_pairs
from unrolled.data.reading import Reading, normalise, split_key, words_of
from unrolled.errors import UserError

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, text: str | bytes) -> str:
        path = tmp_path / name
        data = text.encode() if isinstance(text, str) else text
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(path)

    return make


def as_dict(pairs: Pairs) -> dict[str, list[str]]:
    return dict(zip(pairs.sources, pairs.targets, strict=True))


def test_tab_separated_pairs_gather_references_and_leave_further_columns(write: Write) -> None:
    path = write("fra.txt.gz", "Run!\tCours !\tCC-BY 2.0\nRun!\tCourez !\n\nGo.\tVa !\tx\ty\nRun!\tCours\u202f!\n")
    pairs = read_pairs([path])
    assert pairs.format == "tsv"
    assert as_dict(pairs) == {"Run!": ["Cours !", "Courez !"], "Go.": ["Va !"]}  # the thin space is the same sentence
    assert pairs.lines == 4
    assert [w.rsplit(":", 1)[1] for w in pairs.where] == ["1", "4"]
    assert read_pairs([path], Reading(reverse=True, lowercase="both")).sources == ["cours !", "courez !", "va !"]
    assert as_dict(read_pairs([path], Reading(lowercase="source")))["run!"] == ["Cours !", "Courez !"]


def test_a_header_names_the_columns(write: Write) -> None:
    path = write("a.tsv", "id\ttgt\tsrc\n1\tun\tone\n")
    assert as_dict(read_pairs([path])) == {"one": ["un"]}
    path = write("b.csv", 'en,de,fr\none,eins,un\n"t,wo",zwei,deux\n')
    assert as_dict(read_pairs([path], Reading(source="en", target="fr"))) == {"one": ["un"], "t,wo": ["deux"]}
    with pytest.raises(UserError, match=r"--source-column xx: .* has the columns en, de, fr"):
        read_pairs([path], Reading(source="xx"))
    with pytest.raises(UserError, match="are one column"):
        read_pairs([path], Reading(source="2", target="2"))


def test_json_lines_hold_several_targets_or_an_object(write: Write) -> None:
    rows = [{"source": "a", "target": ["x", "y"]}, {"source": "b", "target": "z"}]
    path = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    assert as_dict(read_pairs([path])) == {"a": ["x", "y"], "b": ["z"]}
    path = write("b.jsonl", '{"translation": {"en": "one", "fr": "un"}}\n')
    assert as_dict(read_pairs([path], Reading(source="en", target="fr"))) == {"one": ["un"]}
    for bad, words in (('{"source": 3, "target": "x"}', "3 is not a string"), ('{"source": "a"}', "one column"),
                       ('{"source": "a", "target": []}', "no 'target'")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            read_pairs([write("c.jsonl", bad)])


def test_cmudict_s_own_format(write: Write) -> None:
    text = ";;; a comment\naalborg AO1 L B AO0 R G # place, danish\naalborg(2) AA1 L B AO0 R G\na AH0\na(2) EY1\n"
    path = write("cmudict.dict", text)
    assert as_dict(read_pairs([path])) == {"aalborg": ["AO L B AO R G", "AA L B AO R G"], "a": ["AH", "EY"]}
    assert as_dict(read_pairs([path], Reading(stress=True)))["a"] == ["AH0", "EY1"]
    with pytest.raises(UserError, match=r"x.dict:1: a word without sounds; correct the line, or .* --bad skip"):
        read_pairs([write("x.dict", "zebra\n")])


def test_two_parallel_files(write: Write) -> None:
    paths = [write("a.en", "one\r\n\ntwo\n"), write("a.fr", "un\n\ndeux")]
    assert as_dict(read_pairs(paths)) == {"one": ["un"], "two": ["deux"]}
    with pytest.raises(UserError, match=r"3 lines and .* 2 lines: line n of one must be the translation"):
        read_pairs([paths[0], write("b.fr", "un\ndeux\n")])
    with pytest.raises(UserError, match="--format parallel: needs two files"):
        read_pairs(paths[:1], Reading(format="parallel"))
    with pytest.raises(UserError, match=r"a.en:3: an empty side"):
        read_pairs([paths[0], write("c.fr", "un\n\n\n")])


def test_bad_lines_are_refused_by_file_and_line_or_skipped_and_counted(write: Write) -> None:
    path = write("a.tsv", "one\tun\nalone\ntwo\tdeux\n\tx\n")
    with pytest.raises(UserError, match=r"a.tsv:2: 1 column, expected a source, a tab and a target; correct the line"):
        read_pairs([path])
    pairs = read_pairs([path], Reading(bad="skip"))
    assert pairs.sources == ["one", "two"]
    assert pairs.notes[0].startswith("2 lines skipped, the first: ")
    assert "a.tsv:2" in pairs.notes[0]
    with pytest.raises(UserError, match="not known as pairs"):
        read_pairs([write("plain.txt", "just text\n")])
    with pytest.raises(UserError, match="no pairs"):
        read_pairs([write("e.tsv", "\n\n")])


def test_long_pairs_are_left_out_and_counted(write: Write) -> None:
    path = write("a.tsv", "a b c\tx\nI'm here !\tje suis là\na\tx y z w\n")
    pairs = read_pairs([path], Reading(max_words=3))
    assert pairs.sources == ["a b c", "I'm here !"]
    assert pairs.notes == ["1 pair of more than 3 words left out"]
    with pytest.raises(UserError, match="raise --max-words"):
        read_pairs([path], Reading(max_words=1))


def test_normalisation() -> None:
    assert normalise(" Ça\u00a0va\u202f? \u2009oui\t\n") == "Ça va ? oui"
    assert normalise("C\u0327a \ufeffe\u0301t\u200be\u0301") == "Ça été"
    assert normalise("ﬁn ²") == "ﬁn ²"
    assert normalise("ﬁn ²", "nfkc") == "fin 2"
    assert normalise(" a\u00a0b ", "none") == "a\u00a0b"
    assert split_key("Go.") == split_key("GO !") == "go"
    assert split_key("...") == "..."
    assert words_of("I'm here, aren't I?") == 4
