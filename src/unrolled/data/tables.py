"""CSV, TSV and JSON lines (``.gz``, ``.xz``, ``.zst`` too) as rows that know their file and line."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from unrolled.data.decode import TextReader
from unrolled.data.text import open_source
from unrolled.data.wording import counted
from unrolled.errors import UserError

HEADERS = ("auto", "yes", "no")
BAD = ("error", "skip")
LOOK = 100
"""Rows that are looked at to tell whether the first is a header."""


@dataclasses.dataclass
class Table:
    """Rows of equal width.

    Attributes:
        name: the file.
        columns: their names; ``"1"``, ``"2"``, ... where the file has no header.
        header: whether the file has one (JSON lines always do).
        rows: the cells, strings from CSV and TSV, JSON values from JSON lines (None: the key is missing).
        lines: the line on which each row begins, counted from 1.
        notes: what was skipped, a line each.
    """

    name: str
    columns: list[str]
    header: bool
    rows: list[list[Any]]
    lines: list[int]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, row: int) -> str:
        """``file:line`` of a row, for messages."""
        return f"{self.name}:{self.lines[row]}"

    def column(self, name: str, flag: str) -> int:
        """The place of a column by its name, or by its number from 1 where no column has it as a name.

        Args:
            flag: what named it, for the message.
        Raises:
            UserError: lists the columns.
        """
        if name in self.columns:
            return self.columns.index(name)
        if name.isdecimal() and 1 <= int(name) <= len(self.columns):
            return int(name) - 1
        raise UserError(f"{flag} {name}: {self.name} has the columns {', '.join(map(str, self.columns))}")


def guess_column(table: Table, names: Sequence[str]) -> int | None:
    """The first column whose name, in lower case, is one of ``names``, which are tried in their order."""
    lowered = [str(column).strip().lower() for column in table.columns]
    return next((lowered.index(name) for name in names if name in lowered), None)


def read_table(
    path: str,
    *,
    encoding: str = "utf-8",
    header: str = "auto",
    known: Collection[str] = (),
    bad: str = "error",
    kind: str | None = None,
) -> Table:
    """Read a table whole.

    Args:
        path: its ending tells the format: ``.csv``, ``.tsv`` or ``.tab``, ``.jsonl`` or ``.ndjson``.
        header: "yes", "no", or "auto": the first row is one where a cell of it is among ``known`` (in lower case), or
            where it holds no number and a column below is all numbers.
        bad: what becomes of a row of another width, or a line that is no JSON object: "error" or "skip" (and counted).
        kind: "csv", "tsv" or "jsonl" whatever the ending says.
    Raises:
        UserError: a file that cannot be read, a bad row, or nothing at all; with file and line.
    """
    source = open_source([path])
    name = source.label
    text = "".join(block.text for block in TextReader(source, encoding).blocks(check=True))
    kind = kind or kind_of(path)
    if kind is None:
        raise UserError(f"{path}: not a table (.csv, .tsv or .jsonl); rename it, or give another file")
    if kind == "jsonl":
        return _json_lines(text, name, bad)
    rows, lines = _cells(text, name, "\t" if kind == "tsv" else _delimiter(text))
    if not rows:
        raise UserError(f"{name}: no rows; give a table with some")
    has = header == "yes" or (header == "auto" and _looks_like_header(rows, {k.lower() for k in known}))
    columns = [c.strip() for c in rows[0]] if has else [str(k + 1) for k in range(len(rows[0]))]
    body, at = (rows[1:], lines[1:]) if has else (rows, lines)
    table = Table(name, columns, has, [], [], [])
    for cells, line in zip(body, at, strict=True):
        if len(cells) == len(columns):
            table.rows.append(cells)
            table.lines.append(line)
        else:
            problem = f"{name}:{line}: {counted(len(cells), 'column')} where the file has {len(columns)}"
            _bad_row(table, problem, bad)
    return _finished(table, bad)


def kind_of(path: str) -> str | None:
    """ "csv", "tsv" or "jsonl" by the file's ending (before ``.gz`` and the like); None for another one."""
    lowered = path.lower()
    for packed in (".gz", ".xz", ".zst"):
        lowered = lowered.removesuffix(packed)
    for kind, endings in (("csv", (".csv",)), ("tsv", (".tsv", ".tab")), ("jsonl", (".jsonl", ".ndjson"))):
        if lowered.endswith(endings):
            return kind
    return None


def _bad_row(table: Table, problem: str, bad: str) -> None:
    if bad == "error":
        raise UserError(f"{problem}; correct the line, or leave such lines out with --bad skip")
    table.notes.append(problem)


def _finished(table: Table, bad: str) -> Table:
    if not table.rows:
        raise UserError(f"{table.name}: no rows; give a table with some")
    if table.notes:
        table.notes = [f"{counted(len(table.notes), 'line')} skipped, the first: {table.notes[0]}"]
    return table


def _delimiter(text: str) -> str:
    """A comma, or a semicolon where the first line has more of them."""
    first = text.split("\n", 1)[0]
    return ";" if first.count(";") > first.count(",") else ","


def _cells(text: str, name: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """The rows that are not blank, and the line on which each begins. In TSV a quotation mark is a character."""
    if delimiter == "\t":
        split = [line.removesuffix("\r") for line in text.split("\n")]
        kept = [(line.split("\t"), k + 1) for k, line in enumerate(split) if line.strip()]
        return [cells for cells, _ in kept], [k for _, k in kept]
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    rows, lines, before = [], [], 0
    reader = csv.reader(_physical_lines(text), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if cells and any(cell.strip() for cell in cells):
                rows.append(cells)
                lines.append(before + 1)
            before = reader.line_num
    except csv.Error as error:
        raise UserError(f"{name}:{before + 1}: {error}; correct the quotation marks from this line on") from None
    return rows, lines


def _physical_lines(text: str) -> Iterator[str]:
    return (line + "\n" for line in text.split("\n"))


def _looks_like_header(rows: list[list[str]], known: set[str]) -> bool:
    first = [cell.strip().lower() for cell in rows[0]]
    if known & set(first):
        return True
    below = [row for row in rows[1:LOOK] if len(row) == len(first)]
    if not below or any(map(is_number, first)):
        return False
    return any(all(is_number(row[k]) for row in below) for k in range(len(first)))


def is_number(text: str) -> bool:
    """Whether a cell is a finite or infinite number, written as Python reads one."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json_lines(text: str, name: str, bad: str) -> Table:
    found: list[tuple[dict[str, Any], int]] = []
    table = Table(name, [], True, [], [], [])
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            _bad_row(table, f"{name}:{number}: not JSON ({error})", bad)
            continue
        if isinstance(value, dict):
            found.append((value, number))
        else:
            _bad_row(table, f"{name}:{number}: not a JSON object", bad)
    table.columns = list(dict.fromkeys(key for value, _ in found for key in value))
    table.rows = [[value.get(key) for key in table.columns] for value, _ in found]
    table.lines = [number for _, number in found]
    return _finished(table, bad)
