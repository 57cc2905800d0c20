"""Sequences with their translations: TSV, two parallel files, JSON lines, CSV, and CMUdict's own format.

A source may have several targets: the same source again, a list in JSON lines, ``word(2)`` in CMUdict. They are
gathered under it, so that a split by source can never put a source in training and its other translation in the test.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

from unrolled.data.decode import TextReader
from unrolled.data.reading import Reading, normalise, words_of
from unrolled.data.tables import Table, guess_column, kind_of, read_table
from unrolled.data.text import open_source
from unrolled.data.wording import counted
from unrolled.errors import UserError

SOURCES = ("source", "src", "input", "from", "question", "word", "grapheme", "graphemes")
TARGETS = ("target", "tgt", "output", "to", "translation", "answer", "pronunciation", "phonemes")

_VARIANT = re.compile(r"\(\d+\)$")


@dataclasses.dataclass
class Pairs:
    """Distinct sources, each with its distinct targets, in the order of the file.

    Attributes:
        label: a short name of the data. format: how it was read, one of :data:`unrolled.data.reading.FORMATS`.
        sources: n strings. targets: for each of them at least one.
        where: ``file:line`` on which each source stands first.
        lines: pairs that were read, repeated ones too.
        notes: what was skipped or assumed, a line each.
    """

    label: str
    format: str
    sources: list[str] = dataclasses.field(default_factory=list)
    targets: list[list[str]] = dataclasses.field(default_factory=list)
    where: list[str] = dataclasses.field(default_factory=list)
    lines: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.sources)


def read_pairs(paths: Sequence[str], how: Reading | None = None) -> Pairs:
    """Read pairs.

    Args:
        paths: one file or several of one format, or two parallel ones (line n of one is line n of the other).
    Raises:
        UserError: a file that cannot be read, whose format is not known, or a bad line; with file and line, and what to
            do about it.
    """
    how = how or Reading()
    kind = _format(list(paths), how)
    pairs = Pairs(_label(paths), kind)
    bad: list[str] = []
    found = _parallel(paths, how) if kind == "parallel" else (row for path in paths for row in _read(path, kind, how))
    at: dict[str, int] = {}
    long = 0
    for where, source, targets, problem in found:
        if problem is None:
            source = _clean(source, how, "source")
            targets = [_clean(target, how, "target") for target in targets]
            if not source or not targets or not all(targets):
                problem = "an empty side"
        if problem is not None:
            _bad(f"{where}: {problem}", how, bad)
            continue
        for one, other in ((target, source) if how.reverse else (source, target) for target in targets):
            pairs.lines += 1
            if how.max_words is not None and max(words_of(one), words_of(other)) > how.max_words:
                long += 1
                continue
            k = at.setdefault(one, len(at))
            if k == len(pairs.sources):
                pairs.sources.append(one)
                pairs.targets.append([])
                pairs.where.append(where)
            if other not in pairs.targets[k]:
                pairs.targets[k].append(other)
    if bad:
        pairs.notes.append(f"{counted(len(bad), 'line')} skipped, the first: {bad[0]}")
    if long:
        pairs.notes.append(f"{counted(long, 'pair')} of more than {counted(how.max_words or 0, 'word')} left out")
    if not pairs.sources:
        raise UserError(
            f"{pairs.label}: no pairs" + (" short enough; raise --max-words" if long else "; name other data")
        )
    return pairs


Row = tuple[str, str, list[str], "str | None"]
"""Where, source, targets, and what is wrong with it."""


def _format(paths: list[str], how: Reading) -> str:
    """The format, by the flag, the endings or the first line.

    Raises:
        UserError: it cannot be told, or does not go with the number of files.
    """
    kind = how.format
    if kind == "auto":
        kinds = {_guess(path, how.encoding) for path in paths}
        if kinds == {None} and len(paths) == 2:
            kind = "parallel"
        elif len(kinds) == 1 and None not in kinds:
            kind = str(kinds.pop())
        else:
            raise UserError(
                f"{_label(paths)}: not known as pairs: give a TSV, CSV, JSON lines or CMUdict file, or two parallel "
                "text files, or name the --format"
            )
    if kind == "parallel" and len(paths) != 2:
        raise UserError(f"--format parallel: needs two files, sources and targets, not {len(paths)}")
    return kind


def _guess(path: str, encoding: str) -> str | None:
    """``.dict`` is CMUdict's; a table by its ending; another file is TSV where its first line has a tab."""
    kind = kind_of(path)
    if kind is not None:
        return kind
    lowered = path.lower()
    for packed in (".gz", ".xz", ".zst"):
        lowered = lowered.removesuffix(packed)
    if lowered.endswith(".dict"):
        return "cmudict"
    first = next((line for _, line in _lines(path, encoding) if line.strip()), "")
    return "tsv" if "\t" in first else None


def _lines(path: str, encoding: str) -> Iterator[tuple[str, str]]:
    """``file:line`` and the line, of all lines; the last is left out where it is empty."""
    source = open_source([path])
    text = "".join(block.text for block in TextReader(source, encoding).blocks(check=True))
    lines = text.split("\n")
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, 1):
        yield f"{source.label}:{number}", line.removesuffix("\r")


def _read(path: str, kind: str, how: Reading) -> Iterator[Row]:
    if kind == "cmudict":
        return _cmudict(path, how)
    if kind == "tsv":
        return _tsv(path, how)
    header = "yes" if _named(how) else "auto"
    table = read_table(path, encoding=how.encoding, header=header, known={*SOURCES, *TARGETS}, bad=how.bad, kind=kind)
    return _table(table, how)


def _named(how: Reading) -> bool:
    """Whether a column is named, so that there must be a header."""
    return any(name is not None and not name.isdecimal() for name in (how.source, how.target))


def _tsv(path: str, how: Reading) -> Iterator[Row]:
    """Source, tab, target; further columns (Tatoeba's attribution) are not read. A header is known by its names."""
    first, second = 0, 1
    for number, (where, line) in enumerate(_lines(path, how.encoding)):
        cells = line.split("\t")
        if number == 0:
            names = [cell.strip() for cell in cells]
            lowered = [name.lower() for name in names]
            header = _named(how) or bool({*SOURCES} & {*lowered} and {*TARGETS} & {*lowered})
            first, second = _places(Table(path, names, header, [], [], []), how)
            if header:
                continue
        if not line.strip():
            continue
        if len(cells) <= max(first, second):
            yield where, "", [], f"{counted(len(cells), 'column')}, expected a source, a tab and a target"
            continue
        yield where, cells[first], [cells[second]], None


def _places(table: Table, how: Reading) -> tuple[int, int]:
    """The columns of source and target: as named, as their names tell, or the first two.

    Raises:
        UserError: no such column, or the two are one.
    """
    places = []
    for name, flag, known, default in (
        (how.source, "--source-column", SOURCES, 0), (how.target, "--target-column", TARGETS, 1),
    ):  # fmt: skip
        if name is not None:
            places.append(table.column(name, flag))
        else:
            found = guess_column(table, known) if table.header else None
            places.append(default if found is None else found)
    if places[0] == places[1]:
        raise UserError(f"{table.name}: source and target are one column; name them by --source-column and "
                        "--target-column")  # fmt: skip
    return places[0], places[1]


def _table(table: Table, how: Reading) -> Iterator[Row]:
    """Columns of a table; a JSON value that is a list holds several targets, and one that is an object, as in
    ``{"translation": {"en": ..., "fr": ...}}``, holds the columns."""
    if len(table.columns) == 1 and all(isinstance(row[0], dict) for row in table.rows):
        inner = list(dict.fromkeys(key for row in table.rows for key in row[0]))
        rows: list[list[Any]] = [[row[0].get(key) for key in inner] for row in table.rows]
        table = Table(table.name, inner, False, rows, table.lines, table.notes)
    if len(table.columns) < 2:
        raise UserError(f"{table.name}: one column; pairs need two, a source and a target")
    first, second = _places(table, how)
    for k, row in enumerate(table.rows):
        source, targets = row[first], row[second]
        targets = targets if isinstance(targets, list) else [targets]
        wrong = next((v for v in (source, *targets) if not isinstance(v, str)), None) if targets else "no target"
        problem = None
        if source is None or not targets or None in targets:
            problem = f"no {table.columns[first if source is None else second]!r}"
        elif wrong is not None:
            problem = f"{wrong!r} is not a string"
        yield table.where(k), str(source), [str(t) for t in targets], problem


def _cmudict(path: str, how: Reading) -> Iterator[Row]:
    """``word PH PH ... # comment``, a variant as ``word(2)``; lines that begin with ``;;;`` are comments."""
    for where, line in _lines(path, how.encoding):
        cells = line.partition(" #")[0].split()
        if not cells or line.startswith(";;;"):
            continue
        sounds = cells[1:] if how.stress else [sound.rstrip("012") for sound in cells[1:]]
        problem = None if sounds else "a word without sounds"
        yield where, _VARIANT.sub("", cells[0]), [" ".join(sounds)], problem


def _parallel(paths: Sequence[str], how: Reading) -> Iterator[Row]:
    one, other = ([*_lines(path, how.encoding)] for path in paths)
    if len(one) != len(other):
        raise UserError(
            f"{paths[0]} has {counted(len(one), 'line')} and {paths[1]} {counted(len(other), 'line')}: line n of one "
            "must be the translation of line n of the other; find where they part"
        )
    for (where, source), (_, target) in zip(one, other, strict=True):
        if source.strip() or target.strip():
            yield where, source, [target], None


def _clean(text: str, how: Reading, side: str) -> str:
    text = normalise(text, how.form)
    return text.lower() if how.lowercase in (side, "both") else text


def _bad(problem: str, how: Reading, bad: list[str]) -> None:
    if how.bad == "error":
        raise UserError(f"{problem}; correct the line, or leave such lines out with --bad skip")
    bad.append(problem)


def _label(paths: Sequence[str]) -> str:
    return " and ".join(paths) if len(paths) < 3 else f"{len(paths)} files"
