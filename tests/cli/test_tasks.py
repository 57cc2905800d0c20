"""Which task a command line is about, and what is shown of a task's report."""

from __future__ import annotations

import io
import json
import math
import sys
from pathlib import Path

import pytest

from unrolled.cli.evaluate import write_rows
from unrolled.cli.main import main
from unrolled.cli.predict import _inputs
from unrolled.cli.report import figure_text, report_json, tell_report
from unrolled.cli.tasks import positionals, task_of_training, value_of
from unrolled.errors import UserError
from unrolled.tasks.base import Figure, Report

REPORT = Report(
    figures={"accuracy": Figure(0.83124, (0.8, 0.86)), "loss": Figure(math.inf, None, "nats", low_is_good=True)},
    baselines=[("majority", {"accuracy": 0.5}), ("linear", {"accuracy": 0.9, "loss": 0.3})],
    tables=[("errors", "a\nb")],
)


def test_flags_and_their_values_are_no_files() -> None:
    line = ["--hidden", "64", "a.csv", "--guard", "--lr=3", "--out", "x", "b.csv", "--", "--c"]
    assert positionals(line) == ["a.csv", "b.csv", "--c"]
    assert value_of(line, "--out") == "x"
    assert value_of(line, "--lr") == "3"
    assert value_of(["--task", "--out", "x"], "--task") is None


def test_the_task_is_named_or_clear_or_the_language_model(tmp_path: Path) -> None:
    text, odd = tmp_path / "novel.txt", tmp_path / "odd.parquet"
    text.write_text("call me")
    odd.write_text("PAR1")
    assert task_of_training([]) == task_of_training([str(text)])
    assert task_of_training([str(text)])[0].name == "language"
    assert task_of_training(["--preset", "best", str(odd)])[0].name == "language"
    with pytest.raises(UserError, match=r"odd.parquet: which task\? say one: --task language"):
        task_of_training([str(odd)])
    with pytest.raises(UserError, match=r"--task: name one of language"):
        task_of_training(["--task"])
    with pytest.raises(UserError, match=r"--task sing: not one of language"):
        task_of_training(["--task", "sing"])


def test_a_run_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"task": "dance"}))
    with pytest.raises(UserError, match=r"the task dance, which this version does not know: upgrade"):
        task_of_training(["--resume", str(tmp_path / "run")])


def test_a_report_in_words_and_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    tell_report(REPORT, "held-out")
    assert capsys.readouterr().out.splitlines() == [
        "held-out      accuracy 0.8312 (95 %: 0.8000 to 0.8600)",
        "              loss not finite nats",
        "baseline      accuracy 0.5000: majority, which the network beats",
        "baseline      accuracy 0.9000, loss 0.3000: linear, which the network does NOT beat",
        "",
        "errors",
        "  a",
        "  b",
        "",
    ]
    found = report_json(REPORT)
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "figures": {"accuracy": 0.83124, "loss": None},
        "intervals": {"accuracy": [0.8, 0.86]},
        "baselines": [{"name": "majority", "accuracy": 0.5}, {"name": "linear", "accuracy": 0.9, "loss": 0.3}],
    }
    assert figure_text(Figure(12345.6, (-math.inf, math.inf), "ms")) == "12,345.6 ms"


def test_predictions_stay_one_a_line(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"input": "a\tb\nc\\", "predicted": None, "p": 0.123456789},
        {"input": "d", "more": [1]},
    ]
    write_rows(rows, tmp_path / "out.tsv")
    assert (tmp_path / "out.tsv").read_text().split("\n") == [
        "input\tpredicted\tp\tmore", "a\\tb\\nc\\\\\t\t0.123457\t", "d\t\t\t[1]", "",
    ]  # fmt: skip


def test_inputs_are_literal_or_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes("\ufeffone\r\n\nthr\u00e9e".encode())
    assert list(_inputs(["a b", ""], None)) == ["a b", ""]
    assert list(_inputs([], str(path))) == ["one", "", "thr\u00e9e"]
    for literal, file in ((["-"], None), ([], "-")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"x\ny\n")))
        assert list(_inputs(literal, file)) == ["x", "y"]
    path.write_bytes(b"ok\n\xff\n")
    with pytest.raises(UserError, match="line 2 is not UTF-8"):
        list(_inputs([], str(path)))
    for literal, file, words in (([], None, "nothing to answer"), (["a"], "b", "give one"), ([], "no/file", "no/file")):
        with pytest.raises(UserError, match=words):
            _inputs(literal, file)


def test_a_language_model_gives_no_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the net reads and writes. " * 40)
    run = str(tmp_path / "run")
    assert main(["train", str(text), "--out", run, "--steps", "1", "--hidden", "4", "--batch", "2"]) == 0
    capsys.readouterr()
    assert main(["predict", run, "x"]) == 2
    assert "use unrolled sample" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "nowhere"), "x"]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["train", "--help"]) == 0
    assert "The tasks: language" in capsys.readouterr().out
