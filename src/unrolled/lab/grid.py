"""Many trials, one JSON line each: what is in the file already is not done again."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unrolled.errors import UserError
from unrolled.lab.config import QUICK_SECONDS
from unrolled.lab.problems import Problem
from unrolled.lab.report import Watch, clean, number
from unrolled.lab.trial import Progress, Trial, train

FILE = "results.jsonl"
PROBE = 3
"""Updates by which the time of a whole training is estimated."""


class OutOfTimeError(Exception):
    """The time of a quick run is over."""


def read(path: Path) -> list[dict[str, Any]]:
    """The results of earlier calls. A last line that was cut off by an end in mid-write is removed from the file.

    Raises:
        UserError: another line is no result, or the file cannot be read.
    """
    if not path.exists():
        return []
    try:
        raw = path.read_bytes()
        whole = raw[: raw.rfind(b"\n") + 1]
        if len(whole) < len(raw):
            path.write_bytes(whole)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; choose another --out") from None
    found = []
    for k, line in enumerate(whole.splitlines(), 1):
        try:
            record = json.loads(line)
            found.append({"trial": dict(record["trial"]), "result": dict(record["result"])})
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}: line {k} is no result of the lab; delete it, or choose another --out") from None
    return found


def run(
    trials: Sequence[Trial], problem_of: Callable[[Trial], Problem], out: Path, watch: Watch, *, quick: bool,
    clock: Callable[[], float] = time.monotonic,
) -> list[tuple[Trial, dict[str, Any]]]:  # fmt: skip
    """Do the trials that ``out`` has no line for.

    Args:
        quick: begin no update after :data:`unrolled.lab.config.QUICK_SECONDS`; the trial that was under way is left
            out, and done by the next call.
    Returns:
        The trials that are done, in their order, each with its result.
    """
    path, begun = out / FILE, clock()
    known = {json.dumps(r["trial"], sort_keys=True): r["result"] for r in read(path)}
    left = [t for t in trials if _key(t) not in known]
    if len(left) < len(trials):
        watch.note(f"{len(trials) - len(left)} of {len(trials)} trials are in {path} already")
    if left:
        watch.note(_estimate(left, problem_of, quick))
    for k, trial in enumerate(left):
        name = f"{trial.variant or trial.cell}, T={trial.T}, seed {trial.seed}"
        follow = _follower(name, k, len(left), trial, watch, begun + QUICK_SECONDS if quick else None, clock)
        try:
            result = train(trial, problem_of(trial), follow)
        except OutOfTimeError:
            watch.note(f"five minutes are over: {len(left) - k} trials are left; the same command goes on with them")
            break
        known[_key(trial)] = clean(result)
        _append(path, {"trial": trial.key(), "result": clean(result)})
        verdict = "solved" if result["solved"] else "diverged" if result["diverged"] else "not solved"
        watch.note(f"{name}: {verdict}, {number(result['score'])} after {result['steps']} steps")
    return [(t, known[_key(t)]) for t in trials if _key(t) in known]


def _key(trial: Trial) -> str:
    return json.dumps(trial.key(), sort_keys=True)


def _append(path: Path, record: dict[str, Any]) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; choose another --out") from None


def _follower(
    name: str, k: int, n: int, trial: Trial, watch: Watch, end: float | None, clock: Callable[[], float]
) -> Callable[[Progress], None]:
    def follow(progress: Progress) -> None:
        share = progress.step / trial.steps
        watch.stage(f"trial {k + 1}/{n}: {name}, loss {number(progress.loss)}, step {progress.step}", (k + share) / n)
        if end is not None and clock() > end:
            raise OutOfTimeError

    return follow


def _estimate(left: Sequence[Trial], problem_of: Callable[[Trial], Problem], quick: bool) -> str:
    """How long it may take at most, from a few updates of every kind of trial that is left."""
    seconds: dict[tuple[Any, ...], float] = {}
    total = 0.0
    for trial in left:
        kind = (trial.name, trial.cell, trial.T, trial.hidden, trial.batch)
        if kind not in seconds:
            seconds[kind] = _seconds_per_update(trial, problem_of(trial))
        total += seconds[kind] * trial.steps
    words = f"{total / 60:.1f} minutes" if total < 5400 else f"{total / 3600:.1f} hours"
    line = f"{len(left)} trials, at most {words} on this machine (one that is solved ends early)"
    if quick and total > QUICK_SECONDS:
        line += "; --quick stops within five minutes whatever is left"
    return line


def _seconds_per_update(trial: Trial, problem: Problem) -> float:
    times: list[float] = []

    def follow(progress: Progress) -> None:
        times.append(time.perf_counter())
        if len(times) > PROBE:
            raise OutOfTimeError

    try:
        train(trial, problem, follow)
    except OutOfTimeError:
        return min(b - a for a, b in itertools.pairwise(times))
    return 0.0
