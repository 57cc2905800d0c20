"""History, forecast and interval, drawn, and as a line of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data.series_columns import Floats
from unrolled.data.timeline import Grid

BARS = "▁▂▃▄▅▆▇█"
MOST = 4
"""Panels in a picture at most."""


@dataclasses.dataclass
class Panel:
    """One value of one series.

    Attributes:
        title: above it. grid, first: the steps, and the number of the first one of ``history``.
        history: (n,) before the origin. center, low, high: (H,) the forecast and its interval.
        truth: (H,) what came, where it is known.
    """

    title: str
    grid: Grid
    first: int
    history: Floats
    center: Floats
    low: Floats
    high: Floats
    truth: Floats | None = None


def draw(panels: Sequence[Panel], interval: float, path: Path) -> None:
    """Write a picture of the panels, one below the other, without touching pyplot's state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = list(panels[:MOST])
    figure = Figure(figsize=(9, 0.7 + 2.6 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    for k, panel in enumerate(shown):
        axes = figure.add_subplot(len(shown), 1, k + 1)
        n, H = len(panel.history), len(panel.center)
        at = places(panel.grid, panel.first, n + H)
        past = at[:n]
        axes.plot(past, panel.history, color="0.25", linewidth=1.2, label="history")
        joined = np.concatenate((panel.history[-1:], panel.center))
        if panel.truth is not None:
            came = np.concatenate((panel.history[-1:], panel.truth))
            axes.plot(at[n - 1 :], came, color="0.25", linewidth=1.2, linestyle=":", label="what came")
        low, high = (np.concatenate((panel.history[-1:], edge)) for edge in (panel.low, panel.high))
        axes.fill_between(
            at[n - 1 :], low, high, color="tab:blue", alpha=0.25, linewidth=0, label=f"{100 * interval:g} % interval"
        )
        axes.plot(at[n - 1 :], joined, color="tab:blue", linewidth=1.6, label="forecast")
        axes.set_title(panel.title, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.01)
        if k == 0:
            handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", frameon=False, fontsize=9, ncols=4)
    figure.savefig(path, dpi=110)


def places(grid: Grid, first: int, n: int) -> Any:
    """Where ``n`` steps from ``first`` on stand on the x axis: dates, years and their fractions, or numbers."""
    steps = first + np.arange(n)
    if grid.unit == "month":
        return (steps * grid.every + grid.phase) / 12
    if grid.unit == "second":
        return np.datetime64(0, "s") + np.round(steps * grid.every + grid.offset).astype("timedelta64[s]")
    return steps + 1 if grid.unit == "row" else steps * grid.every + grid.offset


def sparkline(values: Floats, low: float, high: float) -> str:
    """Values as little bars between two bounds: ``▁▃▅█``."""
    span = (high - low) or 1.0
    return "".join(BARS[int(np.clip((v - low) / span * len(BARS), 0, len(BARS) - 1))] for v in values)
