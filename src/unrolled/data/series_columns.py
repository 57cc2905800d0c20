"""The columns of a table that holds series: found by name or guessed, and its rows by series, in order of time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unrolled.data.tables import Table, guess_column, is_number
from unrolled.data.timeline import Grid, Moment, parse_time
from unrolled.data.wording import counted
from unrolled.errors import UserError

Floats = NDArray[np.float64]

TIMES = ("time", "date", "datetime", "timestamp", "ds", "month", "year", "week", "day", "quarter", "period", "t")
IDS = ("series", "series_id", "unique_id", "item_id", "id", "name")
TARGETS = ("target", "y", "value", "values")
NOTHING = {"", "na", "nan", "n/a", "null", "none", "."}
"""What a cell without a value holds, in lower case."""

SPARSEST = 20
"""A grid may have so many steps for each row at most: more are a sign of a wrong frequency."""


class Reading(Protocol):
    """How series are read; see :class:`unrolled.tasks.forecast.config.ForecastData`."""

    @property
    def time(self) -> str | None: ...
    @property
    def target(self) -> str | None: ...
    @property
    def covariates(self) -> str | None: ...
    @property
    def series(self) -> str | None: ...
    @property
    def split_targets(self) -> bool: ...
    @property
    def time_format(self) -> str | None: ...
    @property
    def frequency(self) -> str: ...
    @property
    def unsorted(self) -> str: ...
    @property
    def bad(self) -> str: ...
    @property
    def header(self) -> str: ...
    @property
    def encoding(self) -> str: ...


@dataclasses.dataclass
class Series:
    """One series on the grid; NaN where there is no value.

    Attributes:
        name: what it is called; ``""`` where there is but one.
        start: the number of its first step on the grid.
        values: (T, D) targets. covariates: (T, C), also behind the last target.
        source: file, and line of the first row, for messages.
        missing_at: file and line of the first missing target; None where none is missing.
    """

    name: str
    start: int
    values: Floats
    covariates: Floats
    source: str
    missing_at: str | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def title(self) -> str:
        """For messages: the file, and the series' name where it has one."""
        return f"{self.source}, series {self.name}" if self.name else self.source


@dataclasses.dataclass
class Run:
    """The rows of one series as they stand in a file."""

    name: str
    source: str
    moments: list[Moment]
    places: list[str]
    values: Floats
    covariates: Floats

    def on(self, grid: Grid) -> tuple[Series, list[str]]:
        """On the grid: rows of one step averaged, steps without a row NaN."""
        title = f"{self.source}, series {self.name}" if self.name else self.source
        count = len(self.values)
        at = np.arange(count) if grid.unit == "row" else np.array([grid.index(m) for m in self.moments])
        start, notes = int(at[0]), []
        T = int(at[-1]) - start + 1
        if (T - 1000) / count > SPARSEST:
            raise UserError(f"{title}: {count} rows on {T:,} steps of one {grid.name}; give a coarser --frequency")
        shared = count - len(np.unique(at))
        values = _means(self.values, at - start, T)
        covariates = _means(self.covariates, at - start, T)
        if shared:
            notes.append(f"{title}: {count} rows averaged into {T:,} steps of one {grid.name}")
        elif T - count:
            notes.append(
                f"{title}: {T - count:,} of {T:,} steps of one {grid.name} have no row; their values are missing"
            )
        gone = np.flatnonzero(np.isnan(values).any(1))
        first = None
        if len(gone):
            k = min(int(np.searchsorted(at - start, gone[0], "left")), count - 1)
            first = self.places[k]
        return Series(self.name, start, values, covariates, self.source, first), notes


def _means(rows: Floats, at: NDArray[np.int64], T: int) -> Floats:
    """(n, K) to (T, K): the mean of what falls into each step, NaN left out; NaN where nothing does."""
    there = np.isfinite(rows)
    sums, counts = np.zeros((T, rows.shape[1])), np.zeros((T, rows.shape[1]))
    np.add.at(sums, at, np.where(there, rows, 0.0))
    np.add.at(counts, at, there)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


class Columns:
    """Which columns of a table are what, and its rows by series."""

    def __init__(self, table: Table, config: Reading, known: Sequence[str]) -> None:
        self.table, self.config = table, config
        self.notes: list[str] = []
        self.time = self._find(config.time, "--time", TIMES)
        if self.time is None and not table.header and len(table.columns) == 2 and config.target is None:
            self.time = 0
        self.id = self._find(config.series, "--series", IDS)
        if self.id == self.time:
            self.id = None
        used = {self.time, self.id}
        given = [table.column(name, "--covariates") for name in listed(config.covariates)]
        chosen = [table.column(name, "--target") for name in listed(config.target)]
        if known and not chosen and not config.split_targets:
            chosen = [table.column(name, "--target") for name in known]
        guessed = not chosen
        if guessed:
            found = guess_column(table, TARGETS)
            numeric = [k for k in range(len(table.columns)) if k not in used | set(given) and self._numeric(k)]
            chosen = [found] if found is not None and not config.split_targets else numeric
            if not chosen or (len(chosen) > 1 and not config.split_targets):
                raise UserError(
                    f"{table.name}: which column is forecast? --target one of {', '.join(table.columns)}"
                    + (" (several with commas)" if len(chosen) > 1 else "")
                )
        clash = [table.columns[k] for k in chosen if k in used | set(given)]
        if clash:
            raise UserError(
                f"--target {clash[0]}: that column is also --time, --series or --covariates; name each once"
            )
        self.at = [*chosen, *given]
        self.targets, self.covariates = [table.columns[k] for k in chosen], [table.columns[k] for k in given]
        said = f"time {table.columns[self.time]}" if self.time is not None else "no time column: each row is a step"
        said += f", target {', '.join(self.targets)}"
        said += f", covariates {', '.join(self.covariates)}" if given else ""
        said += f", series by {table.columns[self.id]}" if self.id is not None else ""
        self.notes.append(f"{table.name}: {said}")

    def _find(self, name: str | None, flag: str, guesses: Sequence[str]) -> int | None:
        if name is not None:
            return self.table.column(name, flag)
        return guess_column(self.table, guesses) if self.table.header else None

    def _numeric(self, k: int) -> bool:
        cells = [str(row[k] if row[k] is not None else "").strip() for row in self.table.rows[:1000]]
        known = [cell for cell in cells if cell.lower() not in NOTHING]
        return bool(known) and all(map(is_number, known))

    def runs(self, several: bool) -> list[Run]:
        """The rows of each series, in the order of their times."""
        table, by_name = self.table, dict[str, list[int]]()
        for k, row in enumerate(table.rows):
            by_name.setdefault("" if self.id is None else str(row[self.id]).strip(), []).append(k)
        made = []
        for name, rows in by_name.items():
            full = ":".join(part for part in (table.name if several else "", name) if part)
            made.append(self._run(full, rows))
        return made

    def _run(self, name: str, rows: list[int]) -> Run:
        table, D = self.table, len(self.targets)
        numbers = np.array([[self._number(k, c) for c in self.at] for k in rows]).reshape(len(rows), len(self.at))
        moments: list[Moment] = []
        if self.time is not None:
            moments = [parse_time(str(table.rows[k][self.time]), self.config.time_format, table.where(k)) for k in rows]
            odd = next((k for k, m in enumerate(moments) if (m.at is None) != (moments[0].at is None)), None)
            if odd is not None:
                raise UserError(
                    f"{table.where(rows[odd])}: some times are numbers and some are dates; correct the column"
                )
            order = np.argsort([m.number for m in moments], kind="stable")
            if not np.array_equal(order, np.arange(len(rows))):
                self._refuse_order(name, rows, moments)
                rows, moments = [rows[k] for k in order], [moments[k] for k in order]
                numbers = numbers[order]
            same = next((k for k in range(1, len(rows)) if moments[k].number == moments[k - 1].number), None)
            if same is not None:
                raise UserError(
                    f"{table.where(rows[same])}: the time {table.rows[rows[same]][self.time]} again, after line "
                    f"{table.lines[rows[same - 1]]}; correct the file, or name the column of the series with --series"
                )
        places = [table.where(k) for k in rows]
        return Run(name, table.name, moments, places, numbers[:, :D], numbers[:, D:])

    def _refuse_order(self, name: str, rows: list[int], moments: list[Moment]) -> None:
        k = next(k for k in range(1, len(rows)) if moments[k].number < moments[k - 1].number)
        back = sum(b.number < a.number for a, b in itertools.pairwise(moments))
        place = f"{self.table.where(rows[k])}: " + (f"series {name}: " if name else "")
        assert self.time is not None
        told = (
            f"the time {self.table.rows[rows[k]][self.time]} lies before that of line {self.table.lines[rows[k - 1]]}"
        )
        if self.config.unsorted == "error":
            raise UserError(f"{place}{told} ({counted(back, 'such place')}); sort the file, or say --unsorted sort")
        self.notes.append(f"{place}{told} ({counted(back, 'such place')}); the rows were sorted")

    def _number(self, row: int, column: int) -> float:
        cell = self.table.rows[row][column]
        if cell is None or (isinstance(cell, str) and cell.strip().lower() in NOTHING):
            return math.nan
        try:
            found = float(cell)
        except (TypeError, ValueError):
            found = math.inf
        if math.isinf(found):
            name = self.table.columns[column]
            raise UserError(
                f"{self.table.where(row)}: column {name}: {str(cell)[:40]!r} is not a finite number; correct the cell, "
                "or leave it empty"
            )
        return found


def listed(names: str | None) -> list[str]:
    return [] if names is None else [name.strip() for name in names.split(",") if name.strip()]
