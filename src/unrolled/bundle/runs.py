"""The runs in a folder: what they are, and which is the newest. No torch here, so that listing them is quick."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from unrolled.errors import UserError

CHECKPOINT, LATEST = "checkpoint", "latest"
RUNS = Path("runs")
_MARKS = ("manifest.json", "config.json", "metrics.jsonl", f"{CHECKPOINT}/{LATEST}")


@dataclasses.dataclass(frozen=True)
class Run:
    """One line of ``unrolled runs``; a figure that is not known yet is None.

    Attributes:
        name: the folder's name.
        state: "finished" (a model whose training came to its end), "interrupted" (a model saved on Ctrl-C),
            "unfinished" (under way or killed: a checkpoint, or a model without a result), or "started".
        steps: updates made.
        nats: held-out loss, nats per unit.
        bpc: bits per character of the original text.
        headline: name of the figure that the task is measured by, ``accuracy`` say; the language model's is the loss.
        figure: that figure on the held-out part.
        minutes: training wall time.
        size: bytes of the whole folder.
    """

    name: str
    path: Path
    task: str | None
    state: str
    steps: int | None
    nats: float | None
    bpc: float | None
    headline: str | None
    figure: float | None
    minutes: float | None
    size: int


def pointed(run: Path) -> str | None:
    """The folder that ``checkpoint/latest`` names; None where there is none or it is not one of ours."""
    try:
        name = (run / CHECKPOINT / LATEST).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return name if re.fullmatch(r"step-\d+(-again)?", name) else None


def list_runs(folder: Path = RUNS) -> list[Run]:
    """The runs in ``folder``, oldest first; [] where there is no such folder."""
    return [describe_run(path) for path in _runs_in(folder)]


def describe_run(path: Path) -> Run:
    """What can be told about a run without loading it: ``config.json`` and its "result" table."""
    try:
        config = json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError):
        config = {}
    config = config if isinstance(config, dict) else {}
    result = config.get("result")
    result = result if isinstance(result, dict) else {}
    checkpoint = pointed(path)
    steps = _number(result, "steps")
    if steps is None and checkpoint is not None:
        steps = int(checkpoint.split("-")[1])
    task, headline = config.get("task"), result.get("headline")
    return Run(
        name=path.name,
        path=path,
        task=task if isinstance(task, str) else None,
        state=_state((path / "manifest.json").exists(), result.get("stopped_by"), checkpoint is not None),
        steps=None if steps is None else int(steps),
        nats=_number(result, "nats"),
        bpc=_number(result, "bpc"),
        headline=headline if isinstance(headline, str) else None,
        figure=_number(result, "figure"),
        minutes=_number(result, "minutes"),
        size=_size(path),
    )


def _state(model: bool, stopped_by: Any, checkpoint: bool) -> str:
    if model and stopped_by in ("budget", "patience"):
        return "finished"
    if model and stopped_by == "interrupted":
        return "interrupted"
    return "unfinished" if model or checkpoint else "started"


def resolve(run: str) -> Path:
    """The folder of a run: a path, the name of one in ``./runs``, or ``@latest`` for the one last written to.

    Raises:
        UserError: ``@latest`` where there are no runs, or another word with ``@``.
    """
    if run.startswith("@"):
        if run != "@latest":
            raise UserError(f"{run}: unknown; @latest is the newest run in {RUNS}/")
        found = _runs_in(RUNS)
        if not found:
            raise UserError(f"@latest: no runs in {RUNS}/ of {Path.cwd()}; train one with unrolled train, or give its "
                            "folder")  # fmt: skip
        return found[-1]
    path = Path(run)
    if not path.exists() and (RUNS / run).is_dir():
        return RUNS / run
    return path


def _runs_in(folder: Path) -> list[Path]:
    """Folders that hold a run, the one last written to at the end."""
    if not folder.is_dir():
        return []
    found = []
    for path in folder.iterdir():
        times = [(path / m).stat().st_mtime_ns for m in _MARKS if (path / m).exists()]
        if times and path.is_dir():
            found.append((max(times), _natural(path.name), path))
    return [path for *_, path in sorted(found, key=lambda f: f[:2])]


def _natural(name: str) -> list[tuple[int, str]]:
    """run-10 comes after run-9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _number(table: dict[str, Any], key: str) -> float | None:
    value = table.get(key)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() and not path.is_symlink() else 0
        except OSError:  # a checkpoint that a running training has just removed
            continue
    return total
