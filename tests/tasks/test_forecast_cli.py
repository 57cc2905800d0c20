"""The forecasting task from the command line: trained, asked, measured, resumed, and told what is wrong."""

from __future__ import annotations

import json
import math

import pytest

from unrolled.cli import main as entry


@pytest.fixture
def unrolled(monkeypatch, tmp_path, capsys):
    """``unrolled ARGUMENTS`` in an empty folder: exit code, what was printed, what was complained of."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["unrolled", *map(str, arguments)])
        code = 0
        try:
            code = int(entry.main() or 0)
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def write(folder, n=120, gap=None, name="a.csv"):
    rows = [f"20{10 + k // 12}-{k % 12 + 1:02d}-01,{5 + math.sin(k / 2) + 0.01 * k:.4f}" for k in range(n)]
    if gap is not None:
        rows[gap] = rows[gap].split(",")[0] + ","
    (folder / name).write_text("date,value\n" + "\n".join(rows) + "\n")


TRAIN = ("--steps-ahead", 4, "--steps", 4, "--hidden", 8, "--out", "run", "--threads", 1, "--bptt", 20)


def test_from_a_file_to_forecasts(unrolled, tmp_path):
    write(tmp_path)
    code, out, err = unrolled("train", "a.csv", *TRAIN)
    assert code == 0, err
    assert "taken for the task forecast, since its header names a time (date) and a value (value)" in out
    assert "120 steps in all of one month, season 12, from steps of one month; 4 steps ahead" in out
    assert "seasonal naive (season 12)" in out
    assert (tmp_path / "run" / "forecast.png").exists()
    code, out, err = unrolled("predict", "run", "a.csv", "--samples", 10)
    assert code == 0, err
    assert [line.split("\t")[0] for line in out.splitlines()] == [
        "time",
        "2020-01-01",
        "2020-02-01",
        "2020-03-01",
        "2020-04-01",
    ]
    code, out, _ = unrolled("predict", "run", "a.csv", "--samples", 10, "--json", "--steps-ahead", 1)
    (row,) = json.loads(out)["rows"]
    assert row["low"] <= row["high"]
    code, out, err = unrolled("evaluate", "run", "--json", "--predictions", "rows.tsv", "--samples", 10)
    assert code == 0, err
    assert set(json.loads(out)["figures"]) == {"mase", "smape", "pinball", "coverage", "coverage_plain"}
    assert (tmp_path / "rows.tsv").read_text().startswith("series\torigin\tstep\t")
    code, out, err = unrolled("train", "--resume", "run", "--steps", 6)
    assert code == 0, err
    assert "going on at step 4 of 6" in out


def test_missing_values_are_refused_with_the_line_until_they_are_named(unrolled, tmp_path):
    write(tmp_path, gap=7)
    code, _, err = unrolled("train", "a.csv", *TRAIN)
    assert code == 2
    assert "a.csv:9: 1 value missing of 120; say what to do with --missing forward, interpolate or mask" in err
    code, out, err = unrolled("train", "a.csv", *TRAIN, "--missing", "mask")
    assert code == 0, err
    assert "1 missing value of 120 masked" in out


def test_a_dry_run_and_the_flags_of_the_task(unrolled, tmp_path):
    code, out, err = unrolled("train", "--task", "forecast", "--dry-run", "--steps", 5, "--threads", 1)
    assert code == 0, err
    assert "6 Mackey-Glass series" in out
    code, out, _ = unrolled("train", "--task", "forecast", "--help")
    assert all(flag in out for flag in ("--steps-ahead", "--missing", "--bptt", "--noise"))
