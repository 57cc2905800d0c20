"""``unrolled runs``: what has been trained here."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from unrolled.bundle.runs import Run, list_runs
from unrolled.errors import UserError

_HEAD = ("name", "task", "state", "steps", "loss", "bpc", "figure", "minutes", "size")


def runs(
    folder: Annotated[str, typer.Argument(help="folder that holds the runs", metavar="[FOLDER]")] = "runs",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON list instead of a table")] = False,
) -> None:
    """List the runs of this folder, the newest last.

    Loss in nats per unit, bits per character, or the figure that the task is measured by, on what was held out.
    """
    path = Path(folder)
    if not path.is_dir() and (path.exists() or folder != "runs"):
        raise UserError(f"{folder}: no such folder; give the one that holds the runs")
    found = list_runs(path)
    if as_json:
        print(json.dumps([dataclasses.asdict(run) | {"path": str(run.path)} for run in found], indent=1))
    elif found:
        print(_table(found))
    else:
        print(f"no runs in {folder}/; unrolled train starts one", file=sys.stderr)


def _table(found: list[Run]) -> str:
    """Plain columns; words to the left, numbers to the right."""
    rows = [_HEAD, *(_row(run) for run in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    cells = [[c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
             for row in rows]  # fmt: skip
    return "\n".join("  ".join(row).rstrip() for row in cells)


def _row(run: Run) -> tuple[str, ...]:
    figures = (
        "-" if run.steps is None else f"{run.steps}",
        "-" if run.nats is None else f"{run.nats:.4f}",
        "-" if run.bpc is None else f"{run.bpc:.4f}",
        "-" if run.figure is None else f"{run.headline} {run.figure:.4f}",
        "-" if run.minutes is None else f"{run.minutes:.1f}",
        _bytes(run.size),
    )
    return (run.name, run.task or "-", run.state, *figures)


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} GB"
