"""Tables with their line numbers, and what wrong rows get."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from unrolled.data.tables import Table, guess_column, kind_of, read_table
from unrolled.errors import UserError


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def call(name: str, content: str | bytes, **options: Any) -> Table:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return read_table(str(tmp_path / name), **options)

    return call


def test_csv_with_quotes_across_lines(read: Any) -> None:
    t = read("a.csv", 'text,label\n"one, ""two""\nthree",x\r\n\nfour,y\n', known=["label"])
    assert (t.columns, t.rows, t.lines) == (["text", "label"], [['one, "two"\nthree', "x"], ["four", "y"]], [2, 5])
    assert t.where(1).endswith("a.csv:5")
    assert t.column("label", "--target") == t.column("2", "--target") == 1
    assert read("s.csv", "a;b\n1;2\n").columns == ["a", "b"]
    assert read("b.csv", b"\xef\xbb\xbftext,label\nx,y\n", known=["text"]).columns == ["text", "label"]


def test_tsv_takes_quotation_marks_as_they_are(read: Any) -> None:
    t = read("a.tsv.gz", 'he said "no\tx\r\n\t\ny "z"\tw\n')
    assert t.columns == ["1", "2"]
    assert not t.header
    assert t.rows == [['he said "no', "x"], ['y "z"', "w"]]
    assert t.lines == [1, 3]


def test_json_lines(read: Any) -> None:
    t = read("a.jsonl", '{"a": 1, "b": [2]}\n\n{"b": null, "c": "x"}\n')
    assert (t.columns, t.rows, t.lines) == (["a", "b", "c"], [[1, [2], None], [None, None, "x"]], [1, 3])
    with pytest.raises(UserError, match=r"a.jsonl:1: not JSON .*--bad skip"):
        read("a.jsonl", "{")
    assert read("a.jsonl", '{"a": 1}\n3\n{', bad="skip").notes == ["2 lines skipped, the first: " + _name(t) + ":2: "
                                                                  "not a JSON object"]  # fmt: skip


def _name(t: Table) -> str:
    return t.name


@pytest.mark.parametrize(
    ("content", "header"),
    [("text,label\na,b\n", True), ("a,b\nc,d\n", False), ("a,n\nb,1\nc,2\n", True), ("a,3\nb,1\n", False)],
)
def test_headers_are_guessed(read: Any, content: str, header: bool) -> None:
    assert read("a.csv", content, known=["Label"]).header == header
    assert read("a.csv", content, header="yes").header
    assert not read("a.csv", content, header="no").header


def test_wrong_rows_are_named_or_skipped(read: Any) -> None:
    content = "text,label\na,b\nc\nd,e,f\ng,h\n"
    with pytest.raises(UserError, match=r"a.csv:3: 1 column where the file has 2; .*--bad skip"):
        read("a.csv", content, header="yes")
    t = read("a.csv", content, header="yes", bad="skip")
    assert t.lines == [2, 5]
    assert t.notes[0].startswith("2 lines skipped")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "empty|no rows"), ("a.csv", "text,label\n", "no rows"), ("a.csv", 'a,"b\n', r"a.csv:1: "),
        ("a.txt", "a", "not a table"), ("a.csv", b"a,\xff\n", "--encoding"), ("a.jsonl", "\n", "no rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(read: Any, name: str, content: Any, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        read(name, content, header="yes")
    assert "\n" not in str(caught.value)


def test_columns_by_guess_and_by_name(read: Any) -> None:
    t = read("a.csv", "ID,Sentence,Class\n1,b,c\n")
    assert guess_column(t, ["text", "sentence"]) == 1
    assert guess_column(t, ["nothing"]) is None
    with pytest.raises(UserError, match=r"--target x: .* has the columns ID, Sentence, Class"):
        t.column("x", "--target")
    assert [kind_of(p) for p in ("A.CSV.gz", "b.tab", "c.ndjson", "d.txt")] == ["csv", "tsv", "jsonl", None]
