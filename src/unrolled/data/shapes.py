"""Generated pictures of two coloured shapes, and sentences about them: captions with a right answer.

Of every picture two sentences are true, one from each shape's side: "a small red circle above a blue square" and "a
large blue square below a red circle". The parts differ by *combinations* of size, colour and shape: a small red square,
say, is in no training picture, though large red squares are, and small red circles, and small blue squares.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

SIZES = ("small", "large")
COLOURS = {
    "red": (214, 40, 40), "green": (44, 160, 60), "blue": (40, 80, 210), "yellow": (240, 200, 30),
    "purple": (140, 60, 170), "orange": (240, 130, 30), "black": (40, 40, 40), "pink": (245, 150, 190),
}  # fmt: skip
RELATIONS = ("above", "left of", "below", "right of")
"""Of the first shape to the second; two steps on is the same from the second's side."""

RADII = ((0.115, 0.135), (0.185, 0.205))
"""Of small and of large ones, as shares of the picture's side."""

Look = tuple[int, int, int]
"""Numbers of a size, a colour and a shape."""
Distance = Callable[[Floats, Floats, Floats], Floats]
"""Offsets x, y and radius r to the signed distance from the outline, negative inside."""


def _triangle(x: Floats, y: Floats, r: Floats) -> Floats:
    sides = (np.abs(x) * 2 - (y + r)) / np.float32(np.sqrt(5))
    return np.maximum(sides, y - 0.8 * r)  # type: ignore[no-any-return]


def _cross(x: Floats, y: Floats, r: Floats) -> Floats:
    x, y = np.abs(x), np.abs(y)
    upright, level = np.maximum(x - 0.33 * r, y - r), np.maximum(y - 0.33 * r, x - r)
    return np.minimum(upright, level)  # type: ignore[no-any-return]


SHAPES: dict[str, Distance] = {
    "circle": lambda x, y, r: np.hypot(x, y) - r,
    "square": lambda x, y, r: np.maximum(np.abs(x), np.abs(y)) - 0.85 * r,
    "triangle": _triangle,
    "diamond": lambda x, y, r: (np.abs(x) + np.abs(y) - 1.15 * r) / np.float32(np.sqrt(2)),
    "cross": _cross,
}


@dataclasses.dataclass
class Shapes:
    """Generated pictures.

    Attributes:
        images: uint8 (N, S, S, 3). captions: two of each. parts: "train", "dev" or "test" of each.
        heldout: the combinations that only the dev and only the test part have.
    """

    images: npt.NDArray[np.uint8]
    captions: list[list[str]]
    parts: list[str]
    heldout: dict[str, list[str]]


def generate_shapes(count: int, size: int, *, heldout: float, dev: float, seed: int = 1) -> Shapes:
    """Draw pictures; the same arguments give the same ones.

    Args:
        count: how many in all. size: S, pixels a side.
        heldout, dev: shares of the pictures: the test part's, and of the rest the dev part's. A picture there holds at
            least one combination that no training picture holds, and none of the other part.
    """
    rng = np.random.default_rng(seed)
    tests, devs = round(count * heldout), round((count - round(count * heldout)) * dev)
    parts = ["train"] * (count - tests - devs) + ["dev"] * devs + ["test"] * tests
    free, kept = _combinations()
    looks = np.empty((count, 2, 3), np.int64)  # size, colour and shape of both
    for k, part in enumerate(parts):
        looks[k] = [free[i] for i in rng.integers(0, len(free), 2)]
        if part != "train":
            looks[k, rng.integers(0, 2)] = kept[part][rng.integers(0, len(kept[part]))]
    large, colours, kinds = looks[..., 0], looks[..., 1], looks[..., 2]
    relation = rng.integers(0, 4, count)
    images = _draw(colours, kinds, large, relation, size, rng)
    captions = [
        [_sentence(colours[k], kinds[k], large[k], int(relation[k]), first) for first in (0, 1)] for k in range(count)
    ]
    names = {part: [_look(*one) for one in some] for part, some in kept.items()}
    return Shapes(images, captions, parts, names)


def _combinations() -> tuple[list[Look], dict[str, list[Look]]]:
    """Looks that any picture may hold, and those of the dev and the test part alone: one for each colour.

    No two of them share colour and shape, nor all of a size: whatever two of their three attributes are, the training
    part has both together.
    """
    diagonal = [((c // 2) % 2, c, (2 * c + 1) % len(SHAPES)) for c in range(len(COLOURS))]
    kept = {"dev": diagonal[1::2], "test": diagonal[0::2]}
    every = [(z, c, s) for z in range(2) for c in range(len(COLOURS)) for s in range(len(SHAPES))]
    return [look for look in every if look not in diagonal], kept


def _look(large: int, colour: int, kind: int) -> str:
    return f"{SIZES[large]} {list(COLOURS)[colour]} {list(SHAPES)[kind]}"


def _sentence(colours: Ints, kinds: Ints, large: Ints, relation: int, first: int) -> str:
    """What is true of a picture, told from the side of its ``first`` shape."""
    second, names, shapes = 1 - first, list(COLOURS), list(SHAPES)
    place = RELATIONS[(relation + 2 * first) % 4]
    subject = _look(large[first], colours[first], kinds[first])
    other = f"{names[colours[second]]} {shapes[kinds[second]]}"
    return f"a {subject} {place} {_article(other)} {other}"


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


def _draw(
    colours: Ints, kinds: Ints, large: Ints, relation: Ints, size: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Pixels (N, S, S, 3): edges are smooth, colours and the background vary a little."""
    n = len(relation)
    centres, radii = _place(large, relation, rng)
    palette = np.array(list(COLOURS.values()), np.float32)
    paint = palette[colours] + rng.uniform(-18, 18, (n, 2, 3)).astype(np.float32)
    images = np.empty((n, size, size, 3), np.uint8)
    axis = np.arange(size, dtype=np.float32) + 0.5
    distances = list(SHAPES.values())
    for k in range(n):
        canvas = rng.normal(rng.uniform(225, 250), 4.0, (size, size, 1)).astype(np.float32).repeat(3, 2)
        for j in range(2):
            x, y = axis[None, :] - centres[k, j, 0] * size, axis[:, None] - centres[k, j, 1] * size
            cover = np.clip(0.5 - distances[kinds[k, j]](x, y, radii[k, j] * size), 0, 1)[..., None]
            canvas += cover * (paint[k, j] - canvas)
        images[k] = np.clip(canvas, 0, 255).astype(np.uint8)
    return images


def _place(large: Ints, relation: Ints, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Centres (N, 2, 2) as (x, y) and radii (N, 2), as shares of the side: apart along one axis, near on the other."""
    n, bounds = len(relation), np.array(RADII)
    radii = rng.uniform(bounds[large, 0], bounds[large, 1])
    gap = rng.uniform(0.04, 0.08, n)
    length = 2 * radii.sum(1) + gap
    start = rng.uniform(0.02, np.maximum(0.021, 0.98 - length))
    swap = relation >= 2  # below and right of: the second shape comes first along the axis
    lead = np.where(swap, radii[:, 1], radii[:, 0])
    trail = np.where(swap, radii[:, 0], radii[:, 1])
    ahead, behind = start + lead, start + 2 * lead + gap + trail
    along = np.stack((np.where(swap, behind, ahead), np.where(swap, ahead, behind)), 1)
    slack = 0.35 * (behind - ahead)
    middle = rng.uniform(0.22, 0.78, n)
    across = np.stack((middle, middle + rng.uniform(-slack, slack)), 1)
    across = np.clip(across, radii + 0.02, 0.98 - radii)
    upright = (relation % 2 == 0)[:, None]
    centres = np.stack((np.where(upright, across, along), np.where(upright, along, across)), -1)
    return centres.astype(np.float32), radii.astype(np.float32)
