"""Pictures of captions: a grid of what a model says, and where attention lies, word by word."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.data.examples import Ints
from unrolled.data.image_sets import Features, Pictures
from unrolled.data.images import Pixels
from unrolled.tasks.caption.writing import Written

DRAWN = 6
"""Pictures whose attention is drawn in a report."""
ACROSS, DOWN = 8, 4
"""Of the grid of captions."""
MOST_WORDS = 24
"""Words (or characters) whose attention is drawn for one picture."""

Draw = Callable[[Path], None]


def grid(pictures: Pictures | Features, rows: Ints, said: Sequence[str], targets: Sequence[Sequence[str]]) -> Draw:
    """Pictures with what the model says in bold, a spread of at most 32: green where one of the picture's captions says
    the same, else above the first of them."""

    def draw(path: Path) -> None:
        count = min(len(rows), ACROSS * DOWN)
        chosen = np.linspace(0, len(rows) - 1, count).astype(int).tolist()
        across = min(ACROSS, count)
        down = -(-count // across)
        figure, axes = _figure(across, down, (1.55 * across, 1.95 * down))
        for axis, k in zip(axes, chosen, strict=False):
            _show(axis, pictures, int(rows[k]))
            text = textwrap.fill(said[k], 22) + "\n"
            right = said[k].lower() in [target.lower() for target in targets[k]]
            axis.set_title(text.rstrip(), fontsize=6.5, fontweight="bold", color="#117733" if right else "black", pad=3)
            if not right:
                axis.text(0.5, -0.04, textwrap.fill(targets[k][0], 26), fontsize=5.5, color="#777777", ha="center",
                          va="top", transform=axis.transAxes)  # fmt: skip
        _save(figure, path)

    return draw


def attention(pictures: Pictures | Features, rows: Ints, written: Sequence[Written]) -> Draw:
    """A row for each picture: the picture, then for each word where attention lay when it was chosen."""

    def draw(path: Path) -> None:
        shown = [one for one in written if one.weights is not None and one.grid is not None]
        widest = min(MOST_WORDS, max((len(one.units) for one in shown), default=0)) + 1
        figure, axes = _figure(widest, len(shown), (1.05 * widest, 1.3 * len(shown)))
        for r, one in enumerate(shown):
            line = axes[r * widest : (r + 1) * widest]
            _show(line[0], pictures, int(rows[r]))
            assert one.weights is not None
            assert one.grid is not None
            for axis, word, weights in zip(line[1:], one.units, one.weights.double().numpy(), strict=False):
                _lay(axis, pictures, int(rows[r]), weights.reshape(one.grid))
                axis.set_title(word[:14], fontsize=7, pad=2)
        _save(figure, path)

    return draw


def _figure(across: int, down: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    FigureCanvasAgg(figure)
    axes = np.asarray(figure.subplots(max(1, down), max(1, across), squeeze=False)).reshape(-1).tolist()
    # By hand: matplotlib's own layouts draw everything several times over.
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.5 / size[1], bottom=0.4 / size[1], wspace=0.12, hspace=0.55)
    for axis in axes:
        axis.set_axis_off()
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=130)


def _show(axis: Any, pictures: Pictures | Features, row: int) -> None:
    if isinstance(pictures, Pictures):
        axis.imshow(pictures[row], interpolation="nearest")
    else:
        axis.text(0.5, 0.5, f"image {row}", fontsize=7, ha="center", va="center", transform=axis.transAxes)


def _lay(axis: Any, pictures: Pictures | Features, row: int, weights: npt.NDArray[np.float64]) -> None:
    """Light where attention lies, dark where not."""
    if not isinstance(pictures, Pictures):
        axis.imshow(weights, cmap="gray", vmin=0, vmax=weights.max() or 1)
        return
    pixels = pictures[row]
    axis.imshow(_lit(pixels, weights), interpolation="nearest")


def _lit(pixels: Pixels, weights: npt.NDArray[np.float64]) -> Pixels:
    height, width = pixels.shape[:2]
    down = np.minimum(np.arange(height) * weights.shape[0] // height, weights.shape[0] - 1)
    across = np.minimum(np.arange(width) * weights.shape[1] // width, weights.shape[1] - 1)
    light = 0.15 + 0.85 * (weights / max(float(weights.max()), 1e-12))[down][:, across]
    return np.asarray(np.clip(pixels * light[..., None], 0, 255), np.uint8)
