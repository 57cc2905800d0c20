"""The metrics log, and the list of runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from unrolled.bundle.metrics import MetricsLog
from unrolled.bundle.runs import describe_run, list_runs, resolve
from unrolled.errors import UserError


@pytest.fixture
def log(tmp_path: Path) -> MetricsLog:
    made = MetricsLog(tmp_path / "metrics.jsonl")
    made.write({"kind": "start"})
    for step in range(1, 6):
        made.write({"step": step, "nats": step / 3, "bad": float("nan"), "deep": [{"x": float("inf")}, "ü\n"]})
    return made


def test_a_line_is_there_at_once_and_is_json(log: MetricsLog) -> None:
    lines = log.path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6
    assert json.loads(lines[3]) == {"step": 3, "nats": 1.0, "bad": None, "deep": [{"x": None}, "ü\n"]}
    assert log.count() == 6
    assert log.records()[1]["nats"] == 1 / 3
    log.sync()


def test_cut_back_and_go_on(log: MetricsLog) -> None:
    before = log.path.read_bytes().splitlines(keepends=True)
    log.cut_back(3)
    assert log.path.read_bytes() == b"".join(before[:4])
    log.write({"step": 4})
    assert [r.get("step") for r in log.records()] == [None, 1, 2, 3, 4]


@pytest.mark.parametrize("torn", [b'{"step": 2, "na', b"{", b'{"step": 2}', b"\x00\x00\x00\n", b"3\n"])
def test_a_torn_last_line_is_mended(log: MetricsLog, torn: bytes) -> None:
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + torn)
    log.cut_back(100)
    assert log.path.read_bytes() == whole


def test_cut_back_to_a_number_of_lines(log: MetricsLog) -> None:
    log.write({"step": 2, "after": "the guard went back"})
    log.cut_back(2, lines=4)
    assert [r.get("step") for r in log.records()] == [None, 1, 2, 3]


def test_without_a_log(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "none.jsonl")
    log.cut_back(3)
    assert (log.count(), log.records(), log.path.exists()) == (0, [], False)


def make(folder: Path, name: str, when: int, files: dict[str, str]) -> None:
    for file, text in files.items():
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (when, when))


def test_runs_are_listed_and_the_newest_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="@latest: no runs in runs/"):
        resolve("@latest")
    assert list_runs() == []
    runs = tmp_path / "runs"
    result = {"stopped_by": "budget", "steps": 900, "nats": 1.5, "bpc": 2.164, "minutes": 3.0}
    make(runs, "old-10", 50, {"config.json": json.dumps({"task": "language", "result": result}), "manifest.json": "{}"})
    make(runs, "cut-short", 70, {"checkpoint/latest": "step-30\n", "config.json": "{half"})
    make(runs, "started", 60, {"metrics.jsonl": ""})
    make(runs, "not-a-run", 99, {"notes.txt": "hello"})
    (runs / "file").write_text("")
    first, second, third = list_runs()
    assert (first.name, first.task, first.state, first.steps, first.nats) == (
        "old-10",
        "language",
        "finished",
        900,
        1.5,
    )
    assert (first.bpc, first.minutes, first.size) == (
        2.164,
        3.0,
        2 + len(json.dumps({"task": "language", "result": result})),
    )
    assert (second.name, second.state, second.steps) == ("started", "started", None)
    assert (third.name, third.state, third.steps, third.task) == ("cut-short", "unfinished", 30, None)
    assert resolve("@latest") == Path("runs/cut-short")
    assert resolve("runs/started") == Path("runs/started")
    assert resolve("started") == Path("runs/started")
    assert resolve("no/such") == Path("no/such")  # what loads it says what is wrong
    with pytest.raises(UserError, match="@newest: unknown"):
        resolve("@newest")


def test_runs_of_one_moment_are_in_natural_order(tmp_path: Path) -> None:
    for n in (10, 9, 2):
        make(tmp_path, f"2026-01-01-language-{n}", 5, {"metrics.jsonl": ""})
    assert [r.name[-2:] for r in list_runs(tmp_path)] == ["-2", "-9", "10"]


@pytest.mark.parametrize(
    ("stopped", "state"),
    [
        ("budget", "finished"),
        ("patience", "finished"),
        ("interrupted", "interrupted"),
        (None, "unfinished"),
        ("else", "unfinished"),
        ([], "unfinished"),
    ],
)
def test_what_a_run_with_a_model_is_called(tmp_path: Path, stopped: Any, state: str) -> None:
    config = json.dumps({"task": "language", "result": {"stopped_by": stopped}})
    make(tmp_path, "run", 5, {"config.json": config, "manifest.json": "{}", "checkpoint/latest": "step-30\n"})
    assert describe_run(tmp_path / "run").state == state


def test_a_model_saved_on_the_way_is_unfinished(tmp_path: Path) -> None:
    make(tmp_path, "run", 5, {"config.json": '{"task": "language"}', "manifest.json": "{}"})
    assert describe_run(tmp_path / "run").state == "unfinished"
