"""Series from files: columns, times, gaps, and every mistake a file can hold."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from unrolled.data.generated_series import generated_series, mackey_glass, seasonal_sum
from unrolled.data.series import Series, fill, read_series
from unrolled.data.timeline import FREQUENCIES, ROWS, find_grid, parse_time
from unrolled.errors import UserError
from unrolled.tasks.forecast import config
from unrolled.tasks.forecast.config import ForecastData


def write(folder: Path, text: str, name: str = "a.csv") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def read(folder: Path, text: str, name: str = "a.csv", **options):
    return read_series([write(folder, text, name)], ForecastData(**options))


def test_columns_are_guessed_and_said(tmp_path):
    text = "date,store,sales,price\n2020-01-01,1,3,1.5\n2020-01-02,1,4,1.5\n"
    found = read(tmp_path, text, target="sales", series="store", covariates="price")
    assert (found.targets, found.covariates, found.grid.name) == (["sales"], ["price"], "day")
    assert found.series[0].name == "1"
    assert found.series[0].values.tolist() == [[3.0], [4.0]]
    assert found.notes[0].endswith("a.csv: time date, target sales, covariates price, series by store")
    with pytest.raises(UserError, match=r"which column is forecast\? --target one of date, a, b"):
        read(tmp_path, "date,a,b\n2020-01-01,1,3\n2020-01-02,1,4\n")
    with pytest.raises(UserError, match=r"--target nosuch: .* has the columns date, y"):
        read(tmp_path, "date,y\n2020-01-01,1\n", target="nosuch")
    with pytest.raises(UserError, match=r"--target date: .*also --time"):
        read(tmp_path, "date,y\n2020-01-01,1\n", target="date")


def test_many_series_in_one_file_keep_apart(tmp_path):
    rows = "id,t,y\n" + "".join(f"{name},{t},{t * k}\n" for t in range(5) for k, name in ((1, "a"), (2, "b")))
    found = read(tmp_path, rows)
    assert [s.name for s in found.series] == ["a", "b"]
    assert found.series[1].values[:, 0].tolist() == [0, 2, 4, 6, 8]


def test_target_columns_may_be_series_of_their_own(tmp_path):
    text = "date,a,b\n" + "".join(f"2020-01-0{d},{d},{10 * d}\n" for d in range(1, 6))
    found = read(tmp_path, text, split_targets=True)
    assert [(s.name, s.values[:, 0].tolist()) for s in found.series] == [
        ("a", [1, 2, 3, 4, 5]),
        ("b", [10, 20, 30, 40, 50]),
    ]
    both = read(tmp_path, text, target="a,b")
    assert both.series[0].values.shape == (5, 2)


@pytest.mark.parametrize(
    ("times", "name", "season", "after"),
    [
        (["2001-01-31", "2001-02-28", "2001-03-31"], "month", 12, "2001-04-30"),
        (["2001-01", "2001-02", "2001-03"], "month", 12, "2001-04"),
        (["2001Q3", "2001Q4", "2002Q1"], "quarter", 4, "2002Q2"),
        (["2001-06-15", "2002-06-15", "2003-06-15"], "year", None, "2004-06-15"),
        (["2001-01-05", "2001-01-12", "2001-01-19"], "week", 52, "2001-01-26"),
        (["2001-01-05 10:00", "2001-01-05 11:00", "2001-01-05 12:00"], "hour", 24, "2001-01-05 13:00:00"),
        (["2001-01-05T10:00:00Z", "2001-01-05T10:15:00Z"], "15 minutes", None, "2001-01-05 10:30:00"),
        (["1999", "2000", "2001"], "1", None, "2002"),
        (["0.5", "1.0", "1.5"], "0.5", None, "2"),
        (["5/2/2020", "6/2/2020", "7/2/2020"], "day", 7, "2020-02-08"),
    ],
)  # fmt: skip
def test_the_frequency_is_inferred_and_the_next_time_written_alike(times, name, season, after):
    format = "%d/%m/%Y" if "/" in times[0] else None
    moments = [parse_time(t, format, "x") for t in times]
    grid = find_grid([moments], "auto", [["x"] * len(times)])
    assert (grid.name, grid.season) == (name, season)
    indices = [grid.index(m) for m in moments]
    assert indices == list(range(indices[0], indices[0] + len(times)))
    assert grid.label(indices[-1] + 1) == after


def test_frequencies_are_the_same_list_here_and_in_the_configuration():
    assert FREQUENCIES == config.FREQUENCIES


def test_rows_of_one_step_are_averaged_and_absent_ones_are_missing(tmp_path):
    found = read(tmp_path, "date,y\n2001-01-03,1\n2001-01-20,3\n2001-03-05,7\n", frequency="month")
    assert found.series[0].values[:, 0].tolist()[::2] == [2.0, 7.0]
    assert math.isnan(found.series[0].values[1, 0])
    assert "3 rows averaged into 3 steps of one month" in found.notes[-1]
    gap = read(tmp_path, "date,y\n2001-01-01,1\n2001-01-02,3\n2001-01-05,7\n")
    assert len(gap.series[0]) == 5
    assert "2 of 5 steps of one day have no row" in gap.notes[-1]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("date,y\n2001-01-02,1\n2001-01-01,2\n", {}, r"a.csv:3: the time 2001-01-01 lies before .*--unsorted"),
        ("date,y\n2001-01-02,1\n2001-01-02,2\n", {}, r"a.csv:3: the time 2001-01-02 again, after line 2;.*--series"),
        ("date,y\n2001-01-02,1\nsoon,2\n", {}, r"a.csv:3: the time 'soon' is neither .*--time-format"),
        ("date,y\n2001-01-02,1\n5,2\n", {}, r"a.csv:3: some times are numbers and some are dates"),
        ("date,y\n2001-01-02,1\n2001-01-03,two\n", {}, r"a.csv:3: column y: 'two' is not a finite number"),
        ("date,y\n2001-01-02,1\n2001-01-03,inf\n", {}, r"a.csv:3: column y: 'inf' is not a finite number"),
        ("date,y\n2001-01-02,1\n2001-01-03\n", {}, r"a.csv:3: 1 column where the file has 2;.*--bad skip"),
        ("t,y\n0,1\n1,1\n2,1\n3.5,1\n", {}, r"a.csv:5: the times are irregular: most are 1 apart.*--frequency rows"),
        ("t,y\n0,1\n1,1\n", {"frequency": "month"}, r"--frequency month: the times are numbers"),
        ("date,y\n1900-01-01,1\n1900-01-02,1\n2020-01-01,4\n", {}, r"3 rows on 43,830 steps of one day"),
        ("date,y\n02.01.2001,1\n", {"time_format": "%Y"}, r"a.csv:2: the time '02.01.2001' does not fit --time-f"),
        ("date,y\n", {}, r"no rows"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_and_line(tmp_path, text, options, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, text, **options)


def test_out_of_order_is_sorted_on_request_and_said(tmp_path):
    found = read(tmp_path, "date,y\n2001-01-02,2\n2001-01-01,1\n2001-01-03,3\n", unsorted="sort")
    assert found.series[0].values[:, 0].tolist() == [1, 2, 3]
    assert any("the rows were sorted" in note for note in found.notes)


def test_irregular_rows_as_steps(tmp_path):
    found = read(tmp_path, "date,y\n2001-01-05,1\n2001-01-08,2\n2001-01-09,3\n", frequency="rows")
    assert (found.grid, len(found.series[0])) == (ROWS, 3)


def test_arrays(tmp_path):
    for shape, expected in (((7,), (1, 7, 1)), ((2, 7), (2, 7, 1)), ((2, 7, 3), (2, 7, 3))):
        np.save(tmp_path / "a.npy", np.arange(math.prod(shape), dtype=np.float32).reshape(shape))
        found = read_series([str(tmp_path / "a.npy")], ForecastData())
        assert (len(found.series), *found.series[0].values.shape) == expected
    np.save(tmp_path / "b.npy", np.array(["x"]))
    np.save(tmp_path / "c.npy", np.array([1.0, np.inf]))
    (tmp_path / "d.npy").write_bytes(b"no array")
    for name in "bcd":
        with pytest.raises(UserError, match=f"{name}.npy"):
            read_series([str(tmp_path / f"{name}.npy")], ForecastData())
    with pytest.raises(UserError, match="not a file of series"):
        read_series(["x.txt"], ForecastData())


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import datetime

    import pyarrow.parquet as pq

    times = [datetime.datetime(2001, 1, d) for d in (1, 2, 3)]
    pq.write_table(pa.table({"date": times, "y": [1.0, None, 3.0]}), tmp_path / "a.parquet")
    found = read_series([str(tmp_path / "a.parquet")], ForecastData())
    assert found.grid.name == "day"
    assert np.isnan(found.series[0].values[:, 0]).tolist() == [False, True, False]
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match=r"b.parquet: not a Parquet file"):
        read_series([str(tmp_path / "b.parquet")], ForecastData())


def series(values) -> Series:
    array = np.array(values, float)[:, None]
    return Series("", 0, array, np.zeros((len(array), 0)), "a.csv", "a.csv:4")


def test_missing_values_go_by_a_policy_and_a_line_never_looks_past_a_cut():
    nan = math.nan
    gaps = series([nan, 1, nan, nan, 4, 5, nan])
    with pytest.raises(UserError, match=r"a.csv:4: 4 values missing of 7; .*--missing forward, interpolate or mask"):
        fill(gaps, "error", [])
    assert fill(gaps, "forward", [])[0][:, 0].tolist() == [1, 1, 1, 1, 4, 5, 5]
    assert fill(gaps, "interpolate", [])[0][:, 0].tolist() == [1, 1, 2, 3, 4, 5, 5]
    assert fill(gaps, "interpolate", [3])[0][:, 0].tolist() == [1, 1, 1, 2.5, 4, 5, 5]
    assert fill(gaps, "mask", [])[0][:, 0].tolist() == [1, 1, 1, 1, 4, 5, 5]


def test_the_digest_changes_with_a_value():
    a = generated_series(50, 1)
    b = dataclasses.replace(
        a, series=[dataclasses.replace(s, values=s.values + (k == 1)) for k, s in enumerate(a.series)]
    )
    assert a.digest == generated_series(50, 1).digest != b.digest


def test_generated_series_are_what_they_are_called():
    x = mackey_glass(1000, 3)
    assert np.array_equal(x, mackey_glass(1000, 3))
    assert 0.2 < x.min() < 0.5 < 1.2 < x.max() < 1.5  # the attractor of tau = 17
    finer = mackey_glass(20, 3, dt=0.05)
    assert np.abs(x[:20] - finer).max() < 0.05  # chaos makes the two solvers part, but not at once
    y = seasonal_sum(480, 1)
    change = y[24:] - y[:-24]
    assert change.std() < 0.5 * y.std()  # the season is the most of it
