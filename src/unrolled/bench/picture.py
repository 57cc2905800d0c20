"""The ratios of a run as one picture: how many times a peer's speed each row has, with its quartiles. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unrolled.bench.figures import SUMMARY, Figure, Row
from unrolled.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
FASTER, SLOWER = "#0072b2", "#d55e00"
MANY = 30
"""A case with more rows than this is drawn in one line, a dot for each."""


def check_target(path: Path) -> None:
    """Before anything is measured.

    Raises:
        UserError: a format that is not drawn; no such folder.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"--plot {path}: name a file that ends in {', '.join(FORMATS)}")
    if not path.resolve().parent.is_dir():
        raise UserError(f"--plot {path}: there is no folder {path.parent}; make it first")


def draw(path: Path, cases: Sequence[tuple[str, Sequence[Row]]], caption: str) -> None:
    """Draw all rows that have a ratio of speeds, case by case.

    Raises:
        UserError: none has; the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    lines = [line for name, rows in cases for line in _lines(name, rows)]
    if not lines:
        raise UserError(f"--plot: {', '.join(name for name, _ in cases)} has no ratio of speeds to draw")
    made = Canvas(figsize=(8.5, 1.1 + 0.19 * len(lines)), layout="constrained")
    FigureCanvasAgg(made)
    axis = made.add_subplot()
    axis.axvline(1, color="0.5", linestyle="--", linewidth=0.9)
    for y, (_, ratios) in enumerate(lines):
        _dots(axis, y, ratios)
    axis.set_xscale("log")
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50) if _within(t, lines)]
    axis.set_xticks(ticks, [f"{t:g}x" for t in ticks])
    axis.minorticks_off()
    axis.set_yticks(range(len(lines)), [name for name, _ in lines], fontsize=7.5)
    axis.set_ylim(len(lines) - 0.4, -0.6)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.set_title(f"the peer's time over ours: right of 1 we are faster\n{caption}", fontsize=8.5, loc="left")
    try:
        made.savefig(path, dpi=150)
    except OSError as error:
        raise UserError(f"--plot {path}: {error.strerror}; name another file") from None


def _dots(axis: Axes, y: int, ratios: Sequence[Figure]) -> None:
    one = len(ratios) == 1
    for ratio in ratios:
        colour = FASTER if ratio.median >= 1 else SLOWER
        axis.plot(ratio.median, y, "o", color=colour, markersize=4 if one else 2.5, alpha=1 if one else 0.4)
        if one:
            axis.plot([ratio.low, ratio.high], [y, y], color=colour, linewidth=3, alpha=0.35, solid_capstyle="butt")
            axis.annotate(f"{ratio.median:.2f}", (max(ratio.high, ratio.median), y), (4, 0),
                          textcoords="offset points", va="center", fontsize=7, color="0.35")  # fmt: skip


def _lines(name: str, rows: Sequence[Row]) -> list[tuple[str, list[Figure]]]:
    every = [(row.name, row.figures["ratio"]) for row in rows if "ratio" in row.figures and row.name != SUMMARY]
    found = [(row, ratio) for row, ratio in every if ratio.bar is None or not ratio.bar.below]  # not one of memory
    if len(found) > MANY:
        return [(f"{name}: {len(found)} rows", [ratio for _, ratio in found])]
    return [(f"{name}: {row}", [ratio]) for row, ratio in found]


def _within(tick: float, lines: Sequence[tuple[str, list[Figure]]]) -> bool:
    every = [f for _, ratios in lines for r in ratios for f in (r.low, r.high, r.median)]
    return tick == 1 or min(every) / 1.5 <= tick <= max(every) * 1.5
