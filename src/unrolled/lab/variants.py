"""Grids in which one problem and one length are met by many ways to start: shared by ``starts`` and ``showpiece``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrolled.errors import UserError
from unrolled.lab import drawing, grid
from unrolled.lab.problems import Adding
from unrolled.lab.report import Picture, Table, Watch, number
from unrolled.lab.trial import Trial

Done = list[tuple[Trial, dict[str, Any]]]


def run(trials: Sequence[Trial], out: Path, watch: Watch, *, quick: bool) -> Done:
    """The trials' results; all on adding.

    Raises:
        UserError: not one was finished in time.
    """
    problems = {t.T: Adding(t.T) for t in trials}
    done = grid.run(trials, lambda t: problems[t.T], out, watch, quick=quick)
    if not done:
        raise UserError("no trial was finished in time; run the same command again, it goes on")
    return done


def table(title: str, trials: Sequence[Trial], done: Done) -> Table:
    """A row for each variant, in the order of ``trials``."""
    rows = []
    for name in dict.fromkeys(t.variant for t in trials):
        found = sorted(((t.seed, t, r) for t, r in done if t.variant == name), key=lambda p: p[0])
        if not found:
            rows.append((name, "not run", "", "", "", ""))
            continue
        results = [r for _, _, r in found]
        rows.append(
            (
                name,
                "  ".join(number(r["score"]) + ("*" if r["solved"] else "") for r in results),
                f"{sum(r['solved'] for r in results)} of {len(results)}",
                "  ".join(f"{r['steps']:,}" + (" (diverged)" if r["diverged"] else "") for r in results),
                "  ".join(number(r["norm"]) for r in results),
                "  ".join(f"{r['clipped']:.0%}" for r in results),
            )
        )
    header = ("start", "test MSE, each seed", "solved", "updates", "median gradient norm", "updates clipped")
    reading = (
        "* is solved (MSE below 0.01); to answer 1 always has 0.167. A training ends early where its dev MSE is below "
        "0.005; the weights that were best on the dev examples are tested."
    )
    return Table(title, header, rows, reading)


def picture(name: str, title: str, done: Done, caption: str) -> Picture:
    """The dev MSE while training, a colour a variant, a line a seed."""
    made, (axis,) = drawing.figure(width=6.6, height=4.0)
    for k, variant in enumerate(dict.fromkeys(t.variant for t, _ in done)):
        colour, style = drawing.SERIES[k % len(drawing.SERIES)], "-" if k < len(drawing.SERIES) else "--"
        for j, r in enumerate(r for t, r in done if t.variant == variant):
            curve = [(step, value) for step, value in r["curve"] if value is not None]
            if curve:
                axis.plot(*zip(*curve, strict=True), color=colour, linestyle=style, linewidth=1.2,
                          label=variant if j == 0 else None)  # fmt: skip
    axis.set_yscale("log")
    drawing.level(axis, 0.01, "solved")
    drawing.level(axis, 1 / 6, "trivial")
    drawing.label(axis, title, "update", "MSE (dev)")
    made.legend(frameon=False, fontsize=7.5, loc="outside right center")
    return Picture(name, made, caption)
