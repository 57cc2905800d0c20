"""``unrolled lab``: the list, a run from end to end, and one line for each mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unrolled.cli.main import main
from unrolled.lab.config import EXPERIMENTS


def test_without_a_name_the_experiments_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{name} " in shown for name in EXPERIMENTS)


def test_a_grid_from_end_to_end_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["lab", "adding", "--lengths", "4", "--cells", "gru", "--seeds", "2", "--steps", "2",
                 "--parameters", "300", "--threads", "1"]  # fmt: skip
    assert main(arguments) == 0
    first = capsys.readouterr().out
    assert "2 trials, at most" in first
    assert "gru, T=4, seed 1: not solved" in first
    assert "gru solves T=4 in 0 of 2 seeds." in first
    results = json.loads(Path("lab/adding/results.json").read_text(encoding="utf-8"))
    assert main(arguments) == 0
    assert "2 of 2 trials are in lab/adding/results.jsonl already" in capsys.readouterr().out
    assert json.loads(Path("lab/adding/results.json").read_text(encoding="utf-8")) == results


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["subtracting"], "subtracting: no experiment; there are adding, copy"),
        (["adding", "--lengths", "10,x"], "--lengths 10,x: 'x' is no length"),
        (["adding", "--lengths", "0"], "'0' is no length"),
        (["adding", "--lengths", "1"], "--lengths 1: adding needs at least 2 steps"),
        (["digits", "--lengths", "30"], "--lengths 30: 784 pixels make no 30 equal pieces"),
        (["adding", "--cells", "lstm,rnn"], "'rnn' is none of rnn-tanh, rnn-relu, lstm, gru"),
        (["adding", "--seeds", "0"], "--seeds 0: must be at least 1"),
        (["adding", "--data", "x"], "--data: adding does not take it, only digits"),
        (["gradients", "--cells", "gru"], "--cells: gradients does not take it"),
        (["truncation", "--lengths", "5"], "--lengths 5: nothing is truncated there"),
        (["tradeoffs", "--lengths", "1"], "--lengths 1: at least 2"),
        (["digits", "--data", "nowhere"], "--data nowhere: no train-images-idx3-ubyte"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["lab", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["lab", "gradients", "--out", str(tmp_path / "file" / "x")]) == 2
    assert "choose a folder that can be written" in capsys.readouterr().err
