"""How alike pictures are that nothing was trained on: by their pixels, their shapes and their colours.

Shapes are histograms of the directions of gradients in 8 x 8 cells (Dalal & Triggs 2005, "Histograms of oriented
gradients for human detection", CVPR), colours a histogram of 64 of them, whatever their place (Swain & Ballard 1991,
"Color indexing", IJCV 7). Where pixels ask for the same thing in the same place, these two forgive a shift.
"""

from __future__ import annotations

import math

import numpy as np

from unrolled.data.examples import Ints
from unrolled.data.image_sets import Features, Pictures
from unrolled.tasks.caption.baselines import THUMB, Floats, vectors

CELLS, DIRECTIONS, SHADES = 8, 8, 4
"""Cells a side; directions of a half turn; shades of each of red, green and blue."""
SHARES = (1.0, 1.0, 0.5)
"""Of pixels, shapes and colours in the likeness."""
AT_ONCE = 2048


def descriptions(pictures: Pictures | Features, rows: Ints) -> list[Floats]:
    """Of each picture several vectors, which :class:`Likeness` weighs; of precomputed features one, their mean."""
    found = vectors(pictures, rows, shrink=True)
    if isinstance(pictures, Features):
        return [found]
    parts = [found[at : at + AT_ONCE].reshape(-1, THUMB, THUMB, 3) for at in range(0, len(found), AT_ONCE)]
    return [found, np.concatenate([shapes(p) for p in parts]), np.concatenate([colours(p) for p in parts])]


def shapes(pixels: Floats) -> Floats:
    """(N, S, S, 3) from 0 to 1, to (N, CELLS * CELLS * DIRECTIONS): the root of each cell's gradients by direction."""
    grey = pixels.mean(-1)
    across, down = np.diff(grey, axis=2)[:, :-1], np.diff(grey, axis=1)[:, :, :-1]
    turn = np.arctan2(down, across) % np.pi / np.pi
    direction = np.minimum((turn * DIRECTIONS).astype(np.int64), DIRECTIONS - 1)
    place = np.arange(grey.shape[1] - 1) * CELLS // grey.shape[1]
    cell = place[:, None] * CELLS + place
    return np.sqrt(_counts(cell * DIRECTIONS + direction, CELLS * CELLS * DIRECTIONS, np.hypot(across, down)))


def colours(pixels: Floats) -> Floats:
    """(N, S, S, 3) from 0 to 1, to (N, SHADES^3): the root of each colour's share."""
    shade = np.minimum((pixels * SHADES).astype(np.int64), SHADES - 1)
    colour = (shade[..., 0] * SHADES + shade[..., 1]) * SHADES + shade[..., 2]
    return np.sqrt(_counts(colour, SHADES**3, np.full(colour.shape, 1 / colour[0].size)))


def _counts(kind: Ints, kinds: int, weight: Floats) -> Floats:
    """Of each row of ``kind`` (N, ...) how much weight every kind has: (N, kinds)."""
    n = len(kind)
    own = kind.reshape(n, -1) + np.arange(n)[:, None] * kinds
    return np.bincount(own.ravel(), weight.ravel(), n * kinds).reshape(n, kinds).astype(np.float32)


class Likeness:
    """Cosines from the mean of the known pictures, one for each description, in the proportion :data:`SHARES`.

    Args:
        pictures: of the training. rows: (N,) the known ones.
    """

    def __init__(self, pictures: Pictures | Features, rows: Ints) -> None:
        known = descriptions(pictures, rows)
        self._means = [part.mean(0) for part in known]
        self._known = self._directions(known)

    def of(self, pictures: Pictures | Features, rows: Ints) -> Floats:
        """(M, N): how alike each of the pictures ``rows`` is to every known one, up to the sum of the shares."""
        found: Floats = self._directions(descriptions(pictures, rows)) @ self._known.T
        return found

    def _directions(self, parts: list[Floats]) -> Floats:
        away = [part - mean for part, mean in zip(parts, self._means, strict=True)]
        sized = [a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-12) for a in away]
        return np.concatenate([math.sqrt(share) * s for share, s in zip(SHARES, sized, strict=False)], 1)
