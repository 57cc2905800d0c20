"""Series of numbers: from CSV, TSV, JSON lines, Parquet and ``.npy``, on a grid of equal steps, gaps and all."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.data.series_columns import IDS, TARGETS, TIMES, Columns, Floats, Reading, Series
from unrolled.data.tables import Table, kind_of, read_table
from unrolled.data.timeline import ROWS, Grid, find_grid
from unrolled.data.wording import counted
from unrolled.errors import UserError

MISSING = ("error", "forward", "interpolate", "mask")


@dataclasses.dataclass
class SeriesSet:
    """All series of a task.

    Attributes:
        targets, covariates: their names, D and C of them.
        grid: the steps.
        label: a short name for people. notes: what was read, assumed and skipped, one line each.
    """

    series: list[Series]
    targets: list[str]
    covariates: list[str]
    grid: Grid
    label: str
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def digest(self) -> str:
        """Identifies the values."""
        found = hashlib.sha256(repr((self.targets, self.covariates, self.grid)).encode())
        for one in self.series:
            found.update(repr((one.name, one.start, one.values.shape)).encode())
            found.update(np.ascontiguousarray(one.values).tobytes() + np.ascontiguousarray(one.covariates).tobytes())
        return found.hexdigest()


def read_series(paths: Sequence[str], config: Reading, known: SeriesSet | None = None) -> SeriesSet:
    """Read series from files, all of one shape.

    Args:
        paths: ``.csv``, ``.tsv``, ``.jsonl`` (also packed), ``.parquet``, or ``.npy`` of (T,), (N, T) or (N, T, D).
        known: what a model was trained on: its columns and its grid are taken.
    Raises:
        UserError: a file that cannot be read, columns that are not there or no numbers, times out of order or
            irregular; with file and line.
    """
    if not paths:
        raise UserError("no file; name one with series: .csv, .tsv, .jsonl, .parquet or .npy")
    if all(path.lower().endswith(".npy") for path in paths):
        return _arrays(paths, config)
    tables = [_table(path, config) for path in paths]
    columns = [Columns(table, config, known.targets if known is not None else []) for table in tables]
    names = [(c.targets, c.covariates) for c in columns]
    if any(found != names[0] for found in names):
        odd = next(k for k, found in enumerate(names) if found != names[0])
        raise UserError(
            f"{tables[odd].name}: its columns are not those of {tables[0].name}; name them: --target, --covariates"
        )
    rows = [run for found in columns for run in found.runs(len(paths) > 1)]
    notes = [note for found in columns for note in (*found.table.notes, *found.notes)]
    if known is not None:
        grid = known.grid
    elif columns[0].time is None:
        grid = ROWS
    else:
        grid = find_grid([r.moments for r in rows], config.frequency, [r.places for r in rows])
    series, more = [], []
    for run in rows:
        one, found_notes = run.on(grid)
        series.append(one)
        more += found_notes
    if config.split_targets and len(columns[0].targets) > 1:
        series = [_column(one, k, name) for one in series for k, name in enumerate(columns[0].targets)]
        names[0] = (["value"], names[0][1])
    label = tables[0].name if len(tables) == 1 else f"{tables[0].name} and {counted(len(tables) - 1, 'more file')}"
    return SeriesSet(series, *names[0], grid, label, [*notes, *_summed(more)])


def _column(one: Series, k: int, name: str) -> Series:
    full = f"{one.name}:{name}" if one.name else name
    return dataclasses.replace(one, name=full, values=one.values[:, k : k + 1])


def _summed(notes: list[str]) -> list[str]:
    return notes if len(notes) <= 5 else [*notes[:5], f"and so in {len(notes) - 5} more series"]


def _table(path: str, config: Reading) -> Table:
    if path.lower().endswith(".parquet"):
        return read_parquet(path)
    if kind_of(path) is None:
        raise UserError(
            f"{path}: not a file of series (.csv, .tsv, .jsonl, .parquet, .npy); rename it, or give another"
        )
    return read_table(path, encoding=config.encoding, header=config.header, known=(*TIMES, *IDS, *TARGETS),
                      bad=config.bad)  # fmt: skip


def read_parquet(path: str) -> Table:
    """A Parquet file as a table; its rows count as lines from 1.

    Raises:
        UserError: pyarrow is not installed, or the file is none.
    """
    try:
        import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise UserError(f"{path}: reading Parquet needs pyarrow; pip install 'unrolled[parquet]'") from None
    try:
        found = pq.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise UserError(f"{path}: not a Parquet file that can be read ({str(error).splitlines()[0]})") from None
    cells = [[_plain(value) for value in column.to_pylist()] for column in found.columns]
    rows = [list(row) for row in zip(*cells, strict=True)]
    if not rows:
        raise UserError(f"{path}: no rows; give a table with some")
    return Table(path, list(found.column_names), True, rows, list(range(1, len(rows) + 1)), [])


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (int, float, str)) else str(value)


def _arrays(paths: Sequence[str], config: Reading) -> SeriesSet:
    series: list[Series] = []
    width: int | None = None
    for path in paths:
        try:
            array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"{path}: not an array of numbers that can be read ({error}); save one with numpy.save"
            ) from None
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub" or array.ndim not in (1, 2, 3):
            raise UserError(f"{path}: an array of numbers (T,), (N, T) or (N, T, D) is needed")
        values = np.asarray(array, np.float64)
        values = values[None, :, None] if values.ndim == 1 else values[..., None] if values.ndim == 2 else values
        if np.isinf(values).any() or not values.size or (width is not None and width != values.shape[2]):
            raise UserError(f"{path}: infinite values, none at all, or another number of values a step; correct it")
        width = values.shape[2]
        for k, one in enumerate(values):
            name = ":".join(p for p in (path if len(paths) > 1 else "", str(k + 1) if len(values) > 1 else "") if p)
            gone = np.flatnonzero(np.isnan(one).any(1))
            at = f"{path}, step {gone[0] + 1}" if len(gone) else None
            series.append(Series(name, 0, one, np.zeros((len(one), 0)), path, at))
    names = ["value"] if width == 1 else [f"value {k + 1}" for k in range(width or 0)]
    if config.split_targets and len(names) > 1:
        series = [_column(one, k, name) for one in series for k, name in enumerate(names)]
        names = ["value"]
    return SeriesSet(series, names, [], ROWS, paths[0], [])


def fill(one: Series, policy: str, cuts: Sequence[int]) -> tuple[Floats, Floats]:
    """Targets and covariates of a series without gaps, by a policy that has a name.

    "forward" and "mask" repeat the last value; "interpolate" draws a line through a gap, which never looks past a cut:
    up to there the last value is repeated. What stands before the first value repeats that.

    Args:
        cuts: numbers of steps, ascending, at which one part ends and the next begins.
    Returns:
        (T, D) and (T, C).
    Raises:
        UserError: the policy is "error" and something is missing; a column without a single value.
    """
    gone = int(np.isnan(one.values).sum() + np.isnan(one.covariates).sum())
    if gone and policy == "error":
        raise UserError(
            f"{one.missing_at or one.title}: {counted(gone, 'value')} missing of "
            f"{one.values.size + one.covariates.size:,}; say what to do with --missing forward, interpolate or mask"
        )
    filled = [_fill(array, policy == "interpolate", cuts, one.title) for array in (one.values, one.covariates)]
    return filled[0], filled[1]


def _fill(array: Floats, line: bool, cuts: Sequence[int], title: str) -> Floats:
    out: Floats = array.copy()
    for column in out.T:
        known = np.flatnonzero(np.isfinite(column))
        if not len(known):
            raise UserError(f"{title}: a column without any value; leave it out")
        column[: known[0]] = column[known[0]]
        for cut in (*cuts, len(column)) if line else (len(column),):
            there = np.isfinite(column[:cut])
            at = np.arange(len(there))
            if line:
                column[:cut] = np.interp(at, at[there], column[:cut][there])
            else:
                column[:cut] = column[np.maximum.accumulate(np.where(there, at, 0))]
    return out
