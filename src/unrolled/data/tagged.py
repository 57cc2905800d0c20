"""Files of sentences with a tag for each word, in any of their formats."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from unrolled.data import conll
from unrolled.data.decode import TextReader
from unrolled.data.spans import convert, scheme_of
from unrolled.data.tables import Table, guess_column, kind_of, read_table
from unrolled.data.text import Item, Source, open_source
from unrolled.data.wording import counted
from unrolled.errors import UserError

WORD_FIELDS = ("words", "tokens", "forms", "text")
TAG_FIELDS = ("tags", "labels", "upos", "pos", "pos_tags", "ner_tags", "ner", "chunk_tags", "xpos")
SKIP = "; correct it, or leave such sentences out with --bad skip"


@dataclasses.dataclass(slots=True)
class Sentence:
    """Words, a tag for each, and ``file:line`` where it begins."""

    words: list[str]
    tags: list[str]
    where: str


@dataclasses.dataclass
class Layout:
    """How a tagged file is written, once that is known; JSON values, kept with a model so that it can answer so.

    Attributes:
        format: "conllu", "columns" or "jsonl".
        words, tags: CoNLL-U: "form" and the tag's name; columns: numbers from 0; JSONL: fields.
        width: columns of a file in columns.
        scheme: how spans are marked in the file ("iob1", "iob2", "iobes"); None where the tags mark none.
    """

    format: str
    words: str | int
    tags: str | int
    width: int | None = None
    scheme: str | None = None


@dataclasses.dataclass
class Tagged:
    """The sentences of a part, as they are written.

    Attributes:
        notes: what was skipped or assumed, a line each.
        label: a short name for people.
    """

    sentences: list[Sentence]
    layout: Layout
    notes: list[str]
    label: str


def read_tagged(
    paths: Sequence[str], *, format: str = "auto", tag: str | None = None, words: str | None = None,
    bad: str = "error", encoding: str = "utf-8",
) -> Tagged:  # fmt: skip
    """Read files whole, one after another; all are of one format. A sentence without a word is left out.

    Args:
        format: "auto" (by ending, then by the first lines), "conllu", "columns" or "jsonl".
        tag, words: which column, feature or field; None: the usual one.
        bad: what becomes of a sentence that cannot be read: "error" or "skip", and counted.
    Raises:
        UserError: names file and line, and the remedy.
    """
    source = open_source(paths)
    found: Tagged | None = None
    for item in source.items:
        one = _read_file(item, format, tag, words, bad, encoding)
        if found is None:
            found = one
        elif dataclasses.replace(one.layout, scheme=None) != dataclasses.replace(found.layout, scheme=None):
            raise UserError(f"{item.name}: {_described(one.layout)}, unlike {source.items[0].name}, "
                            f"{_described(found.layout)}; name files of one kind")  # fmt: skip
        else:
            found.sentences += one.sentences
            found.notes += one.notes
    if found is None or not found.sentences:
        raise UserError(f"{source.label}: no sentences; give a file with some")
    found.label, found.notes = source.label, source.notes + found.notes
    tags = [sentence.tags for sentence in found.sentences]
    found.layout.scheme = scheme_of(tags)
    if found.layout.format == "conllu" and str(found.layout.tags).startswith("feats."):
        _refuse_absent(found)
    return found


def in_scheme(sentences: Sequence[Sentence], scheme: str) -> list[Sentence]:
    """The sentences with their spans marked in this scheme."""
    return [dataclasses.replace(s, tags=convert(s.tags, scheme)) for s in sentences]


def _read_file(item: Item, format: str, tag: str | None, words: str | None, bad: str, encoding: str) -> Tagged:
    kind = format
    if kind == "auto" and kind_of(item.name) == "jsonl":
        kind = "jsonl"
    if kind == "jsonl":
        if item.path is None:
            raise UserError(f"{item.name}: JSON lines are read from a file; give its name")
        return _read_json(read_table(str(item.path), encoding=encoding, bad=bad, kind="jsonl"), tag, words, bad)
    if item.name.lower().endswith((".npz", ".npy")):
        raise UserError(f"{item.name}: arrays among sentences; give --format arrays, and .npz files only")
    text = "".join(block.text for block in TextReader(Source([item], item.name), encoding).blocks(check=True))
    lines = text.split("\n")
    if kind == "auto":
        by_name = ".conllu" in item.name.lower()
        kind = "conllu" if by_name or conll.looks_like_conllu(lines) else "columns"
    blocks = list(conll.blocks(lines))
    if kind == "conllu":
        return _read_conllu(blocks, item.name, tag, bad)
    return _read_columns(blocks, item.name, tag, words, bad)


def _read_conllu(blocks: list[conll.Block], name: str, tag: str | None, bad: str) -> Tagged:
    tag = tag or "upos"
    if tag not in ("upos", "xpos") and not (tag.startswith("feats.") and len(tag) > len("feats.")):
        raise UserError(f"--tag {tag}: {name} is CoNLL-U; use upos, xpos, or feats.NAME (feats.Number)")

    def read(block: conll.Block) -> Sentence | None:
        rows = conll.conllu_rows(block, name)
        tags = [conll.conllu_tag(cells, tag, f"{name}:{block.first + k}")
                for k, cells in zip(rows.lines, rows.cells, strict=True)]  # fmt: skip
        words = [cells[conll.FORM] for cells in rows.cells]
        return Sentence(words, tags, f"{name}:{block.first + rows.lines[0]}") if words else None

    return Tagged(*_gather(blocks, read, Layout("conllu", "form", tag), bad), name)


def _read_columns(blocks: list[conll.Block], name: str, tag: str | None, words: str | None, bad: str) -> Tagged:
    width = conll.column_width(blocks) or 0
    if width == 1:
        raise UserError(f"{name}: one column, and a tag needs a second; CoNLL's columns, CoNLL-U and JSONL are read")
    at = _column(words, "--words", width, name, 1)
    to = _column(tag, "--tag", width, name, width)

    def read(block: conll.Block) -> Sentence | None:
        rows = conll.column_rows(block, name, width)
        for k, cells in zip(rows.lines, rows.cells, strict=True):
            if not cells[at] or not cells[to]:
                what = "word" if not cells[at] else "tag"
                raise conll.BadSentenceError(f"{name}:{block.first + k}: the {what} is empty")
        if not rows.cells:
            return None
        return Sentence([c[at] for c in rows.cells], [c[to] for c in rows.cells], f"{name}:{block.first}")

    return Tagged(*_gather(blocks, read, Layout("columns", at, to, width), bad), name)


def _column(value: str | None, flag: str, width: int, name: str, default: int) -> int:
    """The place of a column, from 0."""
    if value is None:
        return default - 1
    if not value.isdecimal() or not 1 <= int(value) <= width:
        raise UserError(f"{flag} {value}: {name} has {width} columns; use a number from 1 to {width}")
    return int(value) - 1


def _read_json(table: Table, tag: str | None, words: str | None, bad: str) -> Tagged:
    at = _field(table, words, "--words", WORD_FIELDS)
    to = _field(table, tag, "--tag", TAG_FIELDS)

    def read(k: int) -> Sentence | None:
        where, row = table.where(k), table.rows[k]
        texts, tags = _texts(row[at], table.columns[at], where), _texts(row[to], table.columns[to], where)
        if len(texts) != len(tags):
            raise conll.BadSentenceError(f"{where}: {counted(len(texts), 'word')} and {counted(len(tags), 'tag')}")
        return Sentence(texts, tags, where) if texts else None

    layout = Layout("jsonl", table.columns[at], table.columns[to])
    found = Tagged(*_gather(range(len(table)), read, layout, bad), table.name)
    found.notes = table.notes + found.notes
    return found


def _field(table: Table, value: str | None, flag: str, names: Sequence[str]) -> int:
    if value is not None:
        return table.column(value, flag)
    found = guess_column(table, names)
    if found is None:
        raise UserError(f"{table.name}: none of its fields ({', '.join(table.columns)}) is called "
                        f"{', '.join(names)}; name one with {flag}")  # fmt: skip
    return found


def _texts(value: Any, field: str, where: str) -> list[str]:
    """A list of strings; numbers, the labels of some data sets, become their digits."""
    if not isinstance(value, list):
        raise conll.BadSentenceError(f"{where}: {field!r} is no list")
    for one in value:
        if isinstance(one, (bool, float)) or not isinstance(one, (str, int)) or not str(one).strip():
            raise conll.BadSentenceError(f"{where}: {field!r} holds {one!r}; words and tags are strings, none empty")
    return [str(one) for one in value]


def _gather(
    items: Sequence[Any], read: Callable[[Any], Sentence | None], layout: Layout, bad: str
) -> tuple[list[Sentence], Layout, list[str]]:
    """Read every item; what cannot be read is refused, or left out and counted."""
    kept, problems = [], []
    for item in items:
        try:
            sentence = read(item)
        except conll.BadSentenceError as error:
            if bad == "error":
                raise UserError(f"{error}{SKIP}") from None
            problems.append(str(error))
            continue
        if sentence is not None:
            kept.append(sentence)
    notes = [f"{counted(len(problems), 'sentence')} skipped, the first: {problems[0]}"] if problems else []
    return kept, layout, notes


def _refuse_absent(found: Tagged) -> None:
    if all(tag == conll.NONE for sentence in found.sentences for tag in sentence.tags):
        raise UserError(f"--tag {found.layout.tags}: no word of {found.label} has this feature; the names are in "
                        "column 6 (feats.Number, feats.Tense, ...)")  # fmt: skip


def _described(layout: Layout) -> str:
    width = f" of {layout.width}" if layout.width else ""
    return f"{layout.format}{width} (words {layout.words}, tags {layout.tags})"
