"""Tagged files in every format: what is read, what is written back, and what is said of what is wrong."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from unrolled.data import conll
from unrolled.data.tagged import Tagged, read_tagged
from unrolled.errors import UserError

CONLLU = """\
# newdoc
# text = She doesn't.
1\tShe\tshe\tPRON\tPRP\tCase=Nom|Number=Sing\t3\tnsubj\t_\t_
2-3\tdoesn't\t_\t_\t_\t_\t_\t_\t_\t_
2\tdoes\tdo\tAUX\tVBZ\tNumber=Sing|Tense=Pres\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t2\tadvmod\t_\t_
3.1\tgo\tgo\tVERB\tVB\t_\t_\t_\t2:x\t_

# text = #1
1\t#\t#\tSYM\tNFP\t_\t0\troot\t_\tSpaceAfter=No
2\t1\t1\tNUM\tCD\tNumType=Card\t1\tnummod\t_\t_
"""


def line(n: int, word: str = "a", upos: str = "X") -> str:
    return "\t".join([str(n), word, "_", upos, *["_"] * 6])


def read(tmp_path: Path, text: str, name: str = "a.conllu", **options: Any) -> Tagged:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_tagged([str(path)], **options)


def test_conllu_words_tags_and_places(tmp_path: Path) -> None:
    found = read(tmp_path, CONLLU)
    assert [s.words for s in found.sentences] == [["She", "does", "n't"], ["#", "1"]]
    assert [s.tags for s in found.sentences] == [["PRON", "AUX", "PART"], ["SYM", "NUM"]]
    assert found.sentences[1].where == f"{tmp_path}/a.conllu:10"
    assert (found.layout.format, found.layout.tags) == ("conllu", "upos")


@pytest.mark.parametrize(
    ("tag", "tags"),
    [
        ("xpos", ["PRP", "VBZ", "RB", "NFP", "CD"]),
        ("feats.Number", ["Sing", "Sing", "_", "_", "_"]),
        ("feats.Tense", ["_", "Pres", "_", "_", "_"]),
    ],
)
def test_conllu_other_tags(tmp_path: Path, tag: str, tags: list[str]) -> None:
    assert [t for s in read(tmp_path, CONLLU, tag=tag).sentences for t in s.tags] == tags


def test_gz_crlf_and_no_blank_line_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu.gz"
    path.write_bytes(gzip.compress(CONLLU.replace("\n", "\r\n").rstrip().encode()))
    assert [len(s.words) for s in read_tagged([str(path)]).sentences] == [3, 2]


def test_conllu_is_told_by_its_lines_and_several_files_are_one(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text(CONLLU)
    (tmp_path / "c.txt").write_text(CONLLU)
    found = read_tagged([str(tmp_path / "b.txt"), str(tmp_path / "c.txt")])
    assert len(found.sentences) == 4
    (tmp_path / "c.txt").write_text("a X\n")
    with pytest.raises(UserError, match=r"c\.txt: columns of 2 .*unlike .*b\.txt, conllu"):
        read_tagged([str(tmp_path / "b.txt"), str(tmp_path / "c.txt")])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{line(1)}\n1\tb\n", r"a\.conllu:2: 2 columns between tabs, and CoNLL-U has 10.*--bad skip"),
        (f"{line(1)}\nx{line(2)}\n", r"a\.conllu:2: the id 'x2' is no word's"),
        (f"{line(1)}\n{line(1)}\n", r"a\.conllu:2: the word 1 stands where 2 is due; is a blank line missing"),
        (f"{line(1)}\n{line(3)}\n", r"a\.conllu:2: the word 3 stands where 2 is due"),
        (f"\n\n{line(1, '')}\n", r"a\.conllu:3: the word is empty"),
        (f"{line(1)}\n{line(2, upos='_')}\n", r"a\.conllu:2: the word has no upos"),
        ("\n\n", r"no sentences"),
        ("# nothing\n", r"no sentences"),
    ],
)
def test_conllu_mistakes_are_named_with_their_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(tmp_path, text)


def test_sentences_that_cannot_be_read_are_skipped_and_counted_where_that_is_asked(tmp_path: Path) -> None:
    found = read(tmp_path, f"{line(1)}\n\n1\tb\n\n{line(2)}\n\n{line(1)}\n{line(2)}\n", bad="skip")
    assert [len(s.words) for s in found.sentences] == [1, 2]
    assert len(found.notes) == 1
    assert "2 sentences skipped, the first: " in found.notes[0]
    assert "a.conllu:3: 2 columns" in found.notes[0]


def test_unknown_tags_and_features(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--tag lemma: .*use upos, xpos, or feats"):
        read(tmp_path, CONLLU, tag="lemma")
    with pytest.raises(UserError, match=r"--tag feats\.Gender: no word of .* has this feature"):
        read(tmp_path, CONLLU, tag="feats.Gender")


def test_columns_spans_comments_and_documents(tmp_path: Path) -> None:
    text = "-DOCSTART- O\n\n# id 1\nJohn I-PER\nin O\nRome I-LOC\n\n# O\n1 O\n"
    found = read(tmp_path, text, "a.txt")
    assert [s.words for s in found.sentences] == [["John", "in", "Rome"], ["#", "1"]]
    assert found.layout.scheme == "iob1"
    assert (found.layout.words, found.layout.tags, found.layout.width) == (0, 1, 2)


def test_columns_by_number(tmp_path: Path) -> None:
    text = "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n"
    assert read(tmp_path, text, "a.txt").sentences[0].tags == ["B-ORG", "O"]
    assert read(tmp_path, text, "a.txt", tag="2").sentences[0].tags == ["NNP", "VBZ"]
    assert read(tmp_path, text, "a.txt", words="2", tag="3").sentences[0].words == ["NNP", "VBZ"]
    for tag in ("5", "0", "pos"):
        with pytest.raises(UserError, match=rf"--tag {tag}: .* has 4 columns; use a number from 1 to 4"):
            read(tmp_path, text, "a.txt", tag=tag)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a X\nb Y\nc\n", r"a\.txt:3: 1 column where the file has 2"),
        ("a\nb\n", r"one column, and a tag needs a second"),
        ("a\tX\n\tY\n", r"a\.txt:2: the word is empty"),
        ("a\tX\nb\t\n", r"a\.txt:2: the tag is empty"),
    ],
)
def test_column_mistakes(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(tmp_path, text, "a.txt")


def test_json_lines(tmp_path: Path) -> None:
    found = read(tmp_path, '{"tokens": ["a", "b"], "ner_tags": [0, 3]}\n\n{"tokens": [], "ner_tags": []}\n', "a.jsonl")
    assert [(s.words, s.tags) for s in found.sentences] == [(["a", "b"], ["0", "3"])]
    assert (found.layout.words, found.layout.tags) == ("tokens", "ner_tags")
    text = '{"w": ["a"], "x": ["B"]}\n'
    assert read(tmp_path, text, "a.jsonl", words="w", tag="x").sentences[0].tags == ["B"]
    with pytest.raises(UserError, match=r"none of its fields .* name one with --words"):
        read(tmp_path, text, "a.jsonl")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"words": ["a"], "tags": ["X", "Y"]}', r"a\.jsonl:1: 1 word and 2 tags"),
        ('{"words": "a", "tags": ["X"]}', r"a\.jsonl:1: 'words' is no list"),
        ('{"words": [" "], "tags": ["X"]}', r"a\.jsonl:1: 'words' holds ' '"),
        ('{"words": ["a"], "tags": [null]}', r"a\.jsonl:1: 'tags' holds None"),
        ('{"words": ["a"], "tags": ["X"]}\nno', r"a\.jsonl:2: not JSON"),
    ],
)
def test_json_mistakes(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(tmp_path, text + "\n", "a.jsonl")


def test_conllu_is_written_back_with_nothing_but_the_tag_changed() -> None:
    block = next(conll.blocks(CONLLU.split("\n")))
    rows = conll.conllu_rows(block, "a")
    same = conll.conllu_with_tags(block, rows, "upos", ["PRON", "AUX", "PART"])
    assert same == block.lines
    changed = conll.conllu_with_tags(block, rows, "feats.Number", ["Plur", "_", "Sing"])
    differ = [(a, b) for a, b in zip(block.lines, changed, strict=True) if a != b]
    assert [b.split("\t")[5] for _, b in differ] == ["Case=Nom|Number=Plur", "Tense=Pres", "Number=Sing"]
    assert changed[3] == block.lines[3]  # the range 2-3 is left alone


def test_conllu_of_new_words() -> None:
    lines = conll.conllu_of(["a", "b"], "feats.Number", ["Sing", "_"], "a b")
    assert lines[0] == "# text = a b"
    assert conll.conllu_rows(conll.Block(lines, 1), "x").cells[0][5] == "Number=Sing"
    assert conll.conllu_tag(lines[2].split("\t"), "feats.Number", "x") == "_"


def test_columns_are_written_back() -> None:
    block = conll.Block(["a\tX", "b\tY"], 1)
    rows = conll.column_rows(block, "a")
    assert conll.columns_with_tags(block, rows, 1, ["P", "Q"]) == ["a\tP", "b\tQ"]
    assert conll.columns_with_tags(block, rows, 2, ["P", "Q"]) == ["a\tX\tP", "b\tY\tQ"]
