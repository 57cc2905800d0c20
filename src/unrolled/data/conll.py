"""Sentences with a tag for each word: CoNLL-U and CoNLL's columns, line by line, read and written back.

A sentence is a block of lines; blank lines stand between blocks. What is wrong is named with file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from unrolled.errors import UserError

CONLLU_COLUMNS = 10
FORM, UPOS, XPOS, FEATS = 1, 3, 4, 5
WORD_ID, OTHER_ID = re.compile(r"[1-9][0-9]*"), re.compile(r"[0-9]+[-.][0-9]+")
NONE = "_"
"""What CoNLL-U writes where there is nothing: the tag of a word that lacks the feature asked for."""
DOCUMENT = "-DOCSTART-"


@dataclass
class Block:
    """The lines of one sentence, without line ends, and the number of the first."""

    lines: list[str]
    first: int


@dataclass
class Rows:
    """The words of a block.

    Attributes:
        lines: which lines of the block they are on, from 0.
        cells: their columns.
    """

    lines: list[int]
    cells: list[list[str]]


class BadSentenceError(UserError):
    """A sentence that cannot be read; it may be left out."""


def blocks(lines: Iterable[str]) -> Iterator[Block]:
    """Cut lines at blank ones."""
    held: list[str] = []
    number = 0
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip("\r\n")
        if line.strip():
            held.append(line)
        elif held:
            yield Block(held, number - len(held))
            held = []
    if held:
        yield Block(held, number + 1 - len(held))


def looks_like_conllu(lines: Iterable[str]) -> bool:
    """Whether the first line that is neither blank nor a comment has ten columns and begins with a CoNLL-U id."""
    for line in lines:
        if line.strip() and not line.startswith("#"):
            cells = line.rstrip("\r\n").split("\t")
            known = WORD_ID.fullmatch(cells[0]) or OTHER_ID.fullmatch(cells[0])
            return len(cells) == CONLLU_COLUMNS and known is not None
    return False


def conllu_rows(block: Block, name: str) -> Rows:
    """The word lines of a CoNLL-U sentence; comments, multiword (``8-9``) and empty-node (``8.1``) lines left out.

    Raises:
        BadSentenceError: another number of columns, no id, ids that do not count up, a word of no letters.
    """
    rows = Rows([], [])
    for k, line in enumerate(block.lines):
        if line.startswith("#"):
            continue
        where = f"{name}:{block.first + k}"
        cells = line.split("\t")
        if len(cells) != CONLLU_COLUMNS:
            raise BadSentenceError(f"{where}: {len(cells)} columns between tabs, and CoNLL-U has {CONLLU_COLUMNS}")
        if OTHER_ID.fullmatch(cells[0]):
            continue
        if not WORD_ID.fullmatch(cells[0]):
            raise BadSentenceError(
                f"{where}: the id {cells[0]!r} is no word's (1), range's (1-2) or empty node's (1.1)"
            )
        if int(cells[0]) != len(rows.cells) + 1:
            hint = "; is a blank line missing before it?" if cells[0] == "1" else ""
            raise BadSentenceError(f"{where}: the word {cells[0]} stands where {len(rows.cells) + 1} is due{hint}")
        if not cells[FORM].strip():
            raise BadSentenceError(f"{where}: the word is empty")
        rows.lines.append(k)
        rows.cells.append(cells)
    return rows


def conllu_tag(cells: Sequence[str], tag: str, where: str) -> str:
    """The tag of a word line: ``upos``, ``xpos``, or the value of ``feats.NAME``, ``_`` where it has none.

    Raises:
        BadSentenceError: no tag there.
    """
    if tag.startswith("feats."):
        found = (pair.partition("=") for pair in cells[FEATS].split("|"))
        return next((value for key, _, value in found if key == tag[6:] and value), NONE)
    value = cells[UPOS if tag == "upos" else XPOS]
    if value == NONE or not value.strip():
        raise BadSentenceError(f"{where}: the word has no {tag} ({value!r})")
    return value


def conllu_with_tags(block: Block, rows: Rows, tag: str, tags: Sequence[str]) -> list[str]:
    """The block's lines with other tags in their column; all else as it was."""
    lines = list(block.lines)
    for k, cells, value in zip(rows.lines, rows.cells, tags, strict=True):
        changed = list(cells)
        if tag.startswith("feats."):
            changed[FEATS] = _with_feature(cells[FEATS], tag[6:], value)
        else:
            changed[UPOS if tag == "upos" else XPOS] = value
        lines[k] = "\t".join(changed)
    return lines


def _with_feature(feats: str, name: str, value: str) -> str:
    """Features are sorted by name, whatever its case, as CoNLL-U wants them."""
    kept = [pair for pair in feats.split("|") if pair != NONE and pair.partition("=")[0] != name]
    kept += [f"{name}={value}"] if value != NONE else []
    return "|".join(sorted(kept, key=str.lower)) or NONE


def conllu_of(words: Sequence[str], tag: str, tags: Sequence[str], text: str) -> list[str]:
    """A CoNLL-U sentence of words and their tags; ``text`` goes into a comment, and every other column is empty."""
    empty = [[str(k), word, *[NONE] * (CONLLU_COLUMNS - 2)] for k, word in enumerate(words, 1)]
    block = Block([f"# text = {text}", *("\t".join(cells) for cells in empty)], 1)
    return conllu_with_tags(block, Rows(list(range(1, len(words) + 1)), empty), tag, tags)


# -- columns ---------------------------------------------------------------------------------------------------------


def column_rows(block: Block, name: str, width: int | None = None) -> Rows:
    """The lines of a sentence in columns, between tabs where the line has any, else between spaces.

    A line that begins with ``#`` before the first word is a comment where it has not the file's ``width``;
    ``-DOCSTART-`` lines are left out.

    Args:
        width: columns of the file; None where the sentence's own first line says it.
    Raises:
        BadSentenceError: a line of another width than the others, or of an empty word.
    """
    rows = Rows([], [])
    for k, line in enumerate(block.lines):
        cells = split_columns(line)
        if cells[0] == DOCUMENT or (line.startswith("#") and not rows.cells and len(cells) != (width or 0)):
            continue
        width = width or len(cells)
        if len(cells) != width:
            raise BadSentenceError(f"{name}:{block.first + k}: {_columns(len(cells))} where the file has {width}")
        rows.lines.append(k)
        rows.cells.append(cells)
    return rows


def column_width(found: Sequence[Block]) -> int | None:
    """The number of columns of a file: the most frequent among its first thousand sentences; None for no line."""
    counts: dict[int, int] = {}
    for block in found[:1000]:
        for line in block.lines:
            cells = split_columns(line)
            if cells[0] != DOCUMENT:
                counts[len(cells)] = counts.get(len(cells), 0) + 1
    return max(counts, key=lambda width: counts[width]) if counts else None


def split_columns(line: str) -> list[str]:
    """The cells of a line."""
    return [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()


def columns_with_tags(block: Block, rows: Rows, tag: int, tags: Sequence[str]) -> list[str]:
    """The block's lines with other tags in column ``tag`` (from 0; one past the last: a new column)."""
    lines = list(block.lines)
    for k, cells, value in zip(rows.lines, rows.cells, tags, strict=True):
        changed = [*cells, value] if tag >= len(cells) else [*cells[:tag], value, *cells[tag + 1 :]]
        lines[k] = ("\t" if "\t" in block.lines[k] or len(cells) == 1 else " ").join(changed)
    return lines


def _columns(n: int) -> str:
    return f"{n} column" if n == 1 else f"{n} columns"
