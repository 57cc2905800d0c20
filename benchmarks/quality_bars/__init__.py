"""The bars of quality, a module for each task; every function marked with :func:`bar` is one of them.

A bar runs trainings through the command line, as a user would, and returns a :class:`Row`. Add a file here, and its
bars are found.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import pkgutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@dataclasses.dataclass
class Options:
    """What was asked for on the command line.

    Attributes:
        data: the folder that holds the data sets, each in a folder of its own.
        threads: of each training.
        quick: prove the pipeline on little data; no bar is judged.
        keep: folder in which the runs are kept; None: thrown away.
    """

    data: Path
    threads: int
    quick: bool = False
    keep: Path | None = None


@dataclasses.dataclass
class Row:
    """A line of the table.

    Attributes:
        figures: name to (value, low, high) of what was reached; the interval as the bar defines it.
        bars: name to (limit, whether at least or at most).
        steps, minutes: of one training.
    """

    name: str
    task: str
    data: str
    cell: str
    parameters: int
    minutes: float
    steps: int
    figures: dict[str, tuple[float, float | None, float | None]]
    baselines: dict[str, dict[str, float]]
    published: str
    bars: dict[str, tuple[float, str]]
    note: str = ""

    def passed(self) -> bool:
        """Whether every bar is reached."""
        return all(
            self.figures[n][0] >= x if how == "min" else self.figures[n][0] <= x for n, (x, how) in self.bars.items()
        )


BARS: dict[str, Callable[[Options], Row]] = {}


def bar(name: str) -> Callable[[Callable[[Options], Row]], Callable[[Options], Row]]:
    """Register a function as the bar of this name."""

    def keep(function: Callable[[Options], Row]) -> Callable[[Options], Row]:
        BARS[name] = function
        return function

    return keep


def load_all() -> dict[str, Callable[[Options], Row]]:
    """All bars, from every module in this folder."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return BARS


def unrolled(*arguments: object) -> str:
    """Run a verb; what it printed. Ends the benchmark where it fails."""
    result = subprocess.run([sys.executable, "-m", "unrolled", *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"unrolled {' '.join(map(str, arguments))}\n{result.stderr}")
    return result.stdout


def train(options: Options, name: str, *arguments: object) -> dict[str, Any]:
    """A training; ``config.json`` of its run, with the seconds of the whole command as ``"seconds"`` and the figures of
    its report as ``"result"``."""
    with keeping(options) as (_, home):
        run = home / name
        begun = time.monotonic()
        unrolled("train", *arguments, "--out", run, "--threads", options.threads, "--sample-every", 0)
        config: dict[str, Any] = json.loads((run / "config.json").read_text(encoding="utf-8"))
        print(f"  {name}: " + ", ".join(f"{n} {f[0]:.4f}" for n, f in (config["result"].get("figures") or {}).items()),
              file=sys.stderr, flush=True)  # fmt: skip
        return config | {"seconds": time.monotonic() - begun}


@contextlib.contextmanager
def keeping(options: Options) -> Iterator[tuple[Options, Path]]:
    """The options with a folder that keeps the runs while they are read again, and that folder: the user's own, else
    one that is thrown away at the end."""
    with tempfile.TemporaryDirectory() as folder:
        home = options.keep or Path(folder)
        yield dataclasses.replace(options, keep=home), home


def over(values: list[float]) -> tuple[float, float | None, float | None]:
    """The mean of several trainings, and mean -+ 1.96 standard errors over them."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None, None
    half = 1.96 * statistics.stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half


def summary(
    name: str,
    configs: list[dict[str, Any]],
    *,
    data: str,
    published: str,
    bars: dict[str, tuple[float, str]],
    note: str = "",
) -> Row:
    """The row of some trainings with one setting: means over them; of one training, its own interval."""
    results = [config["result"] for config in configs]
    figures = {n: over([r["figures"][n][0] for r in results]) for n in results[0]["figures"]}
    if len(results) == 1:
        figures = {n: (f[0], *(f[1:3] if len(f) > 2 else (None, None))) for n, f in results[0]["figures"].items()}
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        for title, values in result["baselines"]:
            for n, v in values.items():
                found.setdefault(title, {}).setdefault(n, []).append(v)
    first, model = configs[0], configs[0]["model"]
    return Row(
        name, first["task"], data, f"{model['layers']} x {model['hidden']} {model['cell']}", first["parameters"],
        statistics.fmean(r["minutes"] for r in results), round(statistics.fmean(r["steps"] for r in results)), figures,
        {title: {n: statistics.fmean(v) for n, v in values.items()} for title, values in found.items()},
        published, bars, note,
    )  # fmt: skip
