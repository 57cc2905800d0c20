"""Figures in one hand: the same colour for the same cell everywhere, no chart junk, pyplot's state untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"rnn-tanh": "#0072b2", "rnn-relu": "#56b4e9", "lstm": "#d55e00", "gru": "#009e73"}
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Okabe & Ito's palette, which colour-blind readers tell apart."""


def figure(columns: int = 1, width: float = 4.6, height: float = 3.4, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of ``rows`` x ``columns`` axes, each of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(made)
    axes = [made.add_subplot(rows, columns, k + 1) for k in range(rows * columns)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return made, axes


def label(axis: Axes, title: str, x: str, y: str) -> None:
    """Name everything."""
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)


def level(axis: Axes, y: float, words: str) -> None:
    """A dashed line to compare with, named where it stands."""
    axis.axhline(y, color="0.5", linestyle="--", linewidth=0.9)
    axis.annotate(words, (0.99, y), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7.5,
                  color="0.35")  # fmt: skip


def legend(axis: Axes, **options: Any) -> None:
    """Small and without a frame."""
    axis.legend(frameon=False, fontsize=8, **options)
