"""Labelled examples from what people have: tables, a file or a folder for each class, arrays of numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrolled.data.decode import TextReader
from unrolled.data.examples import Ragged
from unrolled.data.tables import Table, guess_column, is_number, kind_of, read_table
from unrolled.data.text import open_source
from unrolled.data.wording import counted
from unrolled.errors import UserError
from unrolled.tasks.classify import arrays
from unrolled.tasks.classify.config import ClassifyData
from unrolled.tasks.classify.recognise import LABELS, TEXTS

NOT_DATA = re.compile(r"^(readme|licen[cs]e|copying|notice|authors|changelog|changes|citation)", re.IGNORECASE)
"""Files beside the data that are none of it."""


@dataclasses.dataclass
class Examples:
    """Inputs with what is wanted of them.

    Attributes:
        texts: the inputs, where they are texts; else None.
        numbers: the inputs, where they are sequences of vectors; else None.
        labels: a class (str), several (list of str), or a number (float) each.
        where: ``file:line`` of each.
        label: a short name for people. notes: what was guessed and skipped, a line each.
        official_test: how many of the last examples are a test part of the data's own; 0: none.
    """

    texts: list[str] | None
    numbers: Ragged | None
    labels: list[Any]
    where: list[str]
    label: str
    notes: list[str] = dataclasses.field(default_factory=list)
    official_test: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def keys(self) -> list[str]:
        """What tells inputs apart, for the split."""
        if self.texts is not None:
            return self.texts
        assert self.numbers is not None
        return [hashlib.blake2b(self.numbers[k].tobytes(), digest_size=16).hexdigest() for k in range(len(self))]

    def take(self, rows: Sequence[int]) -> Examples:
        """The examples ``rows``."""
        return dataclasses.replace(
            self, texts=None if self.texts is None else [self.texts[k] for k in rows],
            numbers=None if self.numbers is None else self.numbers.take(rows),
            labels=[self.labels[k] for k in rows], where=[self.where[k] for k in rows], official_test=0,
        )  # fmt: skip


def read(paths: Sequence[str], data: ClassifyData) -> Examples:
    """All examples of some files or folders.

    Raises:
        UserError: nothing there, an unknown kind of data, a bad row (with file and line), too few classes.
    """
    for path in paths:
        if not Path(path).exists():
            raise UserError(f"{path}: no such file or folder; check the path")
    found = _read(list(paths), data)
    if not len(found):
        raise UserError(f"{found.label}: no examples; give data with some")
    if data.repeats == "once":
        found = _once(found)
    return _rare(found, data) if data.target == "class" else found


def _once(found: Examples) -> Examples:
    """The first of equal examples."""
    first: dict[tuple[str, str], int] = {}
    for k, key in enumerate(zip(found.keys(), map(repr, found.labels), strict=True)):
        first.setdefault(key, k)
    if len(first) == len(found):
        return found
    rows = list(first.values())
    test = sum(k >= len(found) - found.official_test for k in rows)
    kept = dataclasses.replace(found.take(rows), official_test=test)
    kept.notes = [*found.notes, f"{counted(len(found) - len(rows), 'repeated example')} left out (--repeats)"]
    return kept


def _read(paths: list[str], data: ClassifyData) -> Examples:
    if arrays.are_arrays(paths):
        x, labels, where, label, test = arrays.read(paths)
        wanted = [_wanted(v, w, data) for v, w in zip(labels, where, strict=True)]
        return Examples(None, x, wanted, where, label, official_test=test)
    tables = [kind_of(path) is not None for path in paths]
    if all(tables):
        return _joined([_table(path, data) for path in paths], paths)
    if any(tables):
        raise UserError(f"{paths[tables.index(False)]}: no table, and other data here are; give one kind")
    if len(paths) == 1 and Path(paths[0]).is_dir():
        return _folder(Path(paths[0]), data)
    if len(paths) == 1:
        raise UserError(f"{paths[0]}: which classes? give a .csv, .tsv or .jsonl, or a file or folder for each class")
    if all(Path(path).is_dir() for path in paths):
        return _documents([Path(path) for path in paths], data, f"{len(paths)} folders")
    return _files([Path(path) for path in paths], data, f"{len(paths)} files", [])


def _joined(parts: list[Examples], paths: list[str]) -> Examples:
    if len(parts) == 1:
        return parts[0]
    texts = [t for part in parts for t in part.texts or []]
    return Examples(
        texts, None, [v for part in parts for v in part.labels], [w for part in parts for w in part.where],
        f"{len(paths)} tables", [note for part in parts for note in part.notes],
    )  # fmt: skip


# -- tables ------------------------------------------------------------------------------------------------------------


def _table(path: str, data: ClassifyData) -> Examples:
    asked = [name for name in (data.text_column, data.label_column) if name]
    table = read_table(path, encoding=data.encoding, header=data.header, known=[*TEXTS, *LABELS, *asked], bad=data.bad)
    text, label, notes = _columns(table, data)
    texts, wanted, where, skipped = [], [], [], []
    for k, row in enumerate(table.rows):
        try:
            texts.append(_text(row[text], table.where(k)))
            wanted.append(_wanted(row[label], table.where(k), data))
            where.append(table.where(k))
        except UserError as error:
            if data.bad == "error":
                raise UserError(f"{error}; correct it, or leave such rows out with --bad skip") from None
            del texts[len(wanted) :]
            skipped.append(str(error))
    if skipped:
        notes.append(f"{counted(len(skipped), 'row')} skipped, the first: {skipped[0]}")
    return Examples(texts, None, wanted, where, table.name, [*table.notes, *notes])


def _columns(table: Table, data: ClassifyData) -> tuple[int, int, list[str]]:
    """Places of the text and of the label, and what was guessed."""
    given = (data.text_column, data.label_column)
    text = table.column(given[0], "--text") if given[0] else guess_column(table, TEXTS)
    label = table.column(given[1], "--label") if given[1] else guess_column(table, LABELS)
    others = [k for k in range(len(table.columns)) if k not in (text, label)]
    if text is None and label is None and len(others) == 2:
        label = min(others, key=lambda k: len({str(row[k]) for row in table.rows}))  # classes repeat, texts do not
        others.remove(label)
    if text is None and label is not None and len(others) == 1:
        text = others[0]
    if label is None and text is not None and len(others) == 1:
        label = others[0]
    if text is None or label is None:
        flag = "--text" if text is None else "--label"
        raise UserError(f"{table.name}: which column? name it with {flag}, one of {', '.join(table.columns)}")
    if text == label:
        raise UserError(f"{table.name}: --text and --label both name the column {table.columns[text]}; name two")
    names = table.columns[text], table.columns[label]
    guessed = [] if all(given) else [f"text is column {names[0]}, label is column {names[1]} (--text, --label)"]
    return text, label, guessed


def _text(cell: Any, where: str) -> str:
    if not isinstance(cell, str) or not cell.strip():
        raise UserError(f"{where}: no text")
    return cell


def _wanted(cell: Any, where: str, data: ClassifyData) -> Any:
    """The label of a cell, as the target asks."""
    if data.target == "number":
        if isinstance(cell, bool) or not is_number(str(cell)) or not abs(float(cell)) < float("inf"):
            raise UserError(f"{where}: {str(cell)[:40]!r} is not a finite number")
        return float(cell)
    if data.target == "several":
        parts = cell if isinstance(cell, list) else ("" if cell is None else str(cell)).split(data.separator)
        return sorted({str(part).strip() for part in parts if str(part).strip()})
    if isinstance(cell, (list, dict)):
        raise UserError(f"{where}: several labels in one cell; say --target several")
    if cell is None or not str(cell).strip():
        raise UserError(f"{where}: no label")
    return str(cell).strip()


# -- a file, or a folder, for each class -------------------------------------------------------------------------------


def _folder(folder: Path, data: ClassifyData) -> Examples:
    inside = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    if data.glob is None and not any(p.is_file() and p.suffix == ".txt" and not NOT_DATA.match(p.name) for p in inside):
        folders = [p for p in inside if p.is_dir()]
        if len(folders) > 1:
            return _documents(folders, data, folder.name)
    matching = sorted(folder.glob(data.glob or "*.txt"))
    files = [p for p in matching if p.is_file() and not NOT_DATA.match(p.name)]
    if not files and data.glob is None:
        matching = [p for p in inside if p.is_file()]
        files = [p for p in matching if not NOT_DATA.match(p.name)]
    left_out = [p.name for p in inside if p.is_file() and p not in files]
    notes = [f"not read as classes: {', '.join(left_out)} (--glob chooses)"] if left_out else []
    if len(files) < 2 and data.target == "class":
        raise UserError(f"{folder}: {counted(len(files), 'file')} of a class each; two are needed, --glob chooses")
    return _files(files, data, folder.name, notes)


def _files(files: list[Path], data: ClassifyData, label: str, notes: list[str]) -> Examples:
    """One file a class, one example a line. Files of one stem are told apart by their endings."""
    stems = [_stem(path) for path in files]
    names = stems if len(set(stems)) == len(stems) else [path.name for path in files]
    if len(set(stems)) == 1:
        names = [path.name[len(stems[0]) :].lstrip(".") or path.name for path in files]
    found = Examples([], None, [], [], label, notes)
    assert found.texts is not None
    blank = 0
    for path, name in zip(files, names, strict=True):
        for number, line in enumerate(_content(path, data).removesuffix("\n").split("\n"), 1):
            text = line.strip()
            if not text:
                blank += 1
                continue
            found.texts.append(text)
            found.labels.append(_wanted(name, str(path), data))
            found.where.append(f"{path.name}:{number}")
    if blank:
        found.notes.append(f"{counted(blank, 'blank line')} skipped")
    return found


def _stem(path: Path) -> str:
    name = path.name
    for packed in (".gz", ".xz", ".zst"):
        name = name.removesuffix(packed)
    return Path(name).stem


def _documents(folders: list[Path], data: ClassifyData, label: str) -> Examples:
    """One folder a class, one example a file."""
    found = Examples([], None, [], [], label)
    assert found.texts is not None
    empty = 0
    for folder in folders:
        for path in sorted(folder.rglob(data.glob or "*")):
            if not path.is_file() or path.name.startswith(".") or NOT_DATA.match(path.name):
                continue
            text = _content(path, data).strip()
            if not text:
                empty += 1
                continue
            found.texts.append(text)
            found.labels.append(_wanted(folder.name, str(path), data))
            found.where.append(f"{folder.name}/{path.name}")
    if empty:
        found.notes.append(f"{counted(empty, 'empty file')} skipped")
    return found


def _content(path: Path, data: ClassifyData) -> str:
    if path.stat().st_size == 0:
        return ""
    return "".join(b.text for b in TextReader(open_source([str(path)]), data.encoding).blocks(check=True))


def _rare(found: Examples, data: ClassifyData) -> Examples:
    counts = Counter(found.labels)
    once = sorted(name for name, n in counts.items() if n == 1)
    if once and len(once) < len(counts):
        shown = ", ".join(once[:5]) + (", ..." if len(once) > 5 else "")
        first = found.where[found.labels.index(once[0])]
        words = f"a single example in {len(once)} of {len(counts)} classes ({shown}; {first})"
        if data.rare == "error":
            raise UserError(f"{words}; correct the labels, or use --rare keep or --rare skip")
        if data.rare == "skip":
            found = found.take([k for k, name in enumerate(found.labels) if counts[name] > 1])
            found.notes.append(f"{words}: left out")
        else:
            found.notes.append(f"{words}, too few to be learnt and tested (--rare skip leaves them out)")
    if len(set(found.labels)) < 2:
        raise UserError(f"{found.label}: every example is {found.labels[0]!r}; give data of at least two classes")
    return found
