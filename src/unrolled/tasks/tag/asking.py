"""What a tagger is asked, as sentences, and its answers, as they are to be written. No torch here."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from unrolled.data import conll
from unrolled.data.pytokens import cut_python
from unrolled.data.spans import convert, spans_of
from unrolled.data.tagged import WORD_FIELDS, Layout
from unrolled.data.wordcut import cut_words
from unrolled.errors import UserError
from unrolled.tasks.base import Prediction
from unrolled.tasks.tag.config import TagPredict

ABOUT_CONLLU = 100
"""Lines of comments that CoNLL-U may begin with and still be told."""


@dataclasses.dataclass
class Asked:
    """A sentence to be tagged.

    Attributes:
        text: what was asked, as it was written.
        block, rows: its lines, where it came in CoNLL's columns.
        record: its JSON object, where it came in one.
    """

    words: list[str]
    text: str
    block: conll.Block | None = None
    rows: conll.Rows | None = None
    record: dict[str, Any] | None = None


def sentences(inputs: Iterable[str], kind: str, layout: Layout, cut: str, pretokenized: bool) -> Iterator[Asked]:
    """The sentences of an input of this kind ("text", "conllu", "columns" or "jsonl").

    Raises:
        UserError: names the line of the input.
    """
    if kind in ("conllu", "columns"):
        for block in conll.blocks(inputs):
            if kind == "conllu":
                rows = conll.conllu_rows(block, "input")
                at = conll.FORM
            else:
                rows = conll.column_rows(block, "input")
                at = int(layout.words) if layout.format == "columns" else 0
                if any(at >= len(cells) or not cells[at] for cells in rows.cells):
                    raise UserError(f"input:{block.first}: no word in column {at + 1}; correct the line")
            yield Asked([cells[at] for cells in rows.cells], "\n".join(block.lines), block, rows)
    elif kind == "jsonl":
        for number, line in enumerate(inputs, 1):
            if line.strip():
                yield _record(line, number, layout)
    else:
        for text in inputs:
            cutter = str.split if pretokenized else cut_python if cut == "python" else cut_words
            yield Asked(cutter(text), text.rstrip("\r\n"))


def kind_of_input(inputs: Iterable[str], asked: str) -> tuple[str, Iterable[str]]:
    """The kind of input, and the whole of it: "auto" is CoNLL-U where its first line that is no comment is so, else
    text."""
    if asked != "auto":
        return asked, inputs
    rest = iter(inputs)
    head: list[str] = []
    for line in rest:
        head.append(line)
        if (line.strip() and not line.startswith("#")) or len(head) >= ABOUT_CONLLU:
            break
    return ("conllu" if conll.looks_like_conllu(head) else "text"), itertools.chain(head, rest)


def answer(
    asked: Asked, tags: Sequence[str], sure: Sequence[float], kind: str, layout: Layout, scheme: str | None,
    options: TagPredict,
) -> Prediction:  # fmt: skip
    """A sentence with its tags, in the training files' marks of spans, written as asked for.

    Args:
        scheme: how the model marks spans; None where it does not.
    """
    words = asked.words
    found: dict[str, Any] = {"words": words, "tags": list(tags), "probabilities": [round(p, 4) for p in sure]}
    if scheme is not None:
        found["spans"] = [{"start": a, "end": b, "type": name, "text": " ".join(words[a:b])}
                          for a, b, name in spans_of(tags)]  # fmt: skip
        if layout.scheme not in (None, scheme):
            found["tags"] = convert(tags, str(layout.scheme))
    written = options.output
    if written == "auto":
        written = layout.format if kind == "text" else kind
    return Prediction(_written(asked, found["tags"], written, layout), found)


def _written(asked: Asked, tags: Sequence[str], written: str, layout: Layout) -> str:
    own = layout.format == written
    if written == "conllu":
        tag = str(layout.tags) if own else "upos"
        if asked.block is not None and asked.rows is not None and len((asked.rows.cells or [[]])[0]) == 10:
            lines = conll.conllu_with_tags(asked.block, asked.rows, tag, tags)
        else:
            lines = conll.conllu_of(asked.words, tag, tags, asked.text)
        return "\n".join([*lines, ""])
    if written == "columns":
        if asked.block is not None and asked.rows is not None:
            width = len((asked.rows.cells or [[]])[0])
            at = int(layout.tags) if own and int(layout.tags) < width else width
            lines = conll.columns_with_tags(asked.block, asked.rows, at, tags)
        else:
            lines = [f"{word}\t{tag}" for word, tag in zip(asked.words, tags, strict=True)]
        return "\n".join([*lines, ""])
    if written == "jsonl":
        names = (layout.words, layout.tags) if own else ("words", "tags")
        record = dict(asked.record) if asked.record is not None else {names[0]: asked.words}
        return json.dumps(record | {str(names[1]): list(tags)}, ensure_ascii=False)
    return " ".join(f"{word}/{tag}" for word, tag in zip(asked.words, tags, strict=True))


def _record(line: str, number: int, layout: Layout) -> Asked:
    where = f"input:{number}"
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); give one object a line") from None
    names = (str(layout.words),) if layout.format == "jsonl" else WORD_FIELDS
    field = next((name for name in names if isinstance(record, dict) and name in record), None)
    if field is None:
        raise UserError(f"{where}: no field {' or '.join(names)}; give an object with the words in a list")
    words = record[field]
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
        raise UserError(f"{where}: {field!r} is no list of words, none empty; correct it")
    return Asked(words, line.strip(), record=record)
