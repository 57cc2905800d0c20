"""Handwritten digits, drawn by the project itself, and MNIST's files where somebody has them."""

from __future__ import annotations

import gzip
import math
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from unrolled.errors import UserError

SIDE, FINE = 28, 4
Point = tuple[float, float]


def _arc(cx: float, cy: float, rx: float, ry: float, begin: float, end: float) -> list[Point]:
    """Points of an arc in degrees, clockwise from three o'clock, y downwards."""
    steps = max(4, round(abs(end - begin) / 20))
    angles = [math.radians(begin + (end - begin) * k / steps) for k in range(steps + 1)]
    return [(cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles]


STROKES: dict[int, list[list[list[Point]]]] = {
    0: [[_arc(0, 0, 0.55, 0.95, -90, 270)]],
    1: [[[(0, -1), (0, 1)]], [[(-0.4, -0.6), (0, -1), (0, 1)]]],
    2: [[[*_arc(0, -0.5, 0.5, 0.5, -170, 40), (-0.55, 0.95), (0.6, 0.95)]]],
    3: [[[*_arc(0, -0.5, 0.5, 0.48, -150, 90), *_arc(0, 0.45, 0.55, 0.52, -90, 150)]]],
    4: [[[(0.3, 1), (0.3, -1), (-0.6, 0.35), (0.65, 0.35)]],
        [[(-0.5, -0.9), (-0.55, 0.1), (0.55, 0.1)], [(0.35, -0.9), (0.3, 1)]]],
    5: [[[(0.5, -0.95), (-0.4, -0.95), (-0.45, -0.1), *_arc(0, 0.4, 0.52, 0.55, -130, 140)]]],
    6: [[[(0.35, -0.95), (-0.25, -0.35), *_arc(0, 0.42, 0.5, 0.52, 180, 540)]]],
    7: [[[(-0.55, -0.95), (0.55, -0.95), (-0.15, 1)]],
        [[(-0.55, -0.95), (0.55, -0.95), (-0.15, 1)], [(-0.3, 0.05), (0.4, 0.05)]]],
    8: [[[*_arc(0, -0.48, 0.42, 0.47, 90, 450), *_arc(0, 0.48, 0.52, 0.5, -90, 270)]]],
    9: [[[*_arc(0, -0.45, 0.48, 0.5, 0, 360), (0.48, -0.45), (0.3, 1)]]],
}  # fmt: skip
"""Of each digit one or two ways to write it: strokes of points in a box from -1 to 1, y downwards."""


def draw(digit: int, chance: random.Random) -> Image.Image:
    """One digit, 28 x 28, white on black: strokes bent, slanted, turned, scaled and shifted by chance, of any width."""
    turn, slant = chance.gauss(0, 0.12), chance.gauss(0.08, 0.15)
    sx, sy = chance.uniform(0.75, 1.15), chance.uniform(0.85, 1.1)
    dx, dy = chance.uniform(-2.5, 2.5), chance.uniform(-2.0, 2.0)
    wave, phase = chance.uniform(0, 0.09), chance.uniform(0, 6.28)
    width = chance.uniform(1.4, 3.2)
    canvas = Image.new("L", (SIDE * FINE, SIDE * FINE), 0)
    pen = ImageDraw.Draw(canvas)
    for stroke in chance.choice(STROKES[digit]):
        placed = []
        for x, y in stroke:
            x, y = x + wave * math.sin(3 * y + phase), y + wave * math.cos(3 * x + phase)
            x, y = sx * x - slant * y, sy * y
            x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
            placed.append((FINE * (SIDE / 2 + dx + 9 * x), FINE * (SIDE / 2 + dy + 9.5 * y)))
        pen.line(placed, fill=chance.randint(190, 255), width=round(width * FINE), joint="curve")
    return canvas.filter(ImageFilter.GaussianBlur(0.3 * FINE)).resize((SIDE, SIDE), Image.Resampling.BOX)


def drawn(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """``n`` digits, as many of each, in a random order: pixels (n, 784) uint8, classes (n,)."""
    chance = random.Random(seed)
    classes = [k % 10 for k in range(n)]
    chance.shuffle(classes)
    pixels = np.stack([np.asarray(draw(k, chance), dtype=np.uint8).reshape(-1) for k in classes])
    return torch.from_numpy(pixels), torch.tensor(classes)


def drawn_parts(train: int, other: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Training, dev and test part, each from its own seed."""
    return {"train": drawn(train, 1), "dev": drawn(other, 2), "test": drawn(other, 3)}


def mnist_parts(data: str) -> dict[str, tuple[Tensor, Tensor]]:
    """MNIST from its four idx files, plain or .gz; the last 5,000 training images are the dev part.

    Raises:
        UserError: the folder or a file is not there, or is no such file.
    """
    train = _images(data, "train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    test = _images(data, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    cut = len(train[1]) - min(5000, len(train[1]) // 10)
    return {
        "train": (train[0][:cut], train[1][:cut]),
        "dev": (train[0][cut:], train[1][cut:]),
        "test": test,
    }


def _images(data: str, images: str, labels: str) -> tuple[Tensor, Tensor]:
    pixels, classes = _idx(data, images, (SIDE, SIDE)), _idx(data, labels, ())
    if len(pixels) != len(classes) or not len(classes):
        raise UserError(f"--data {data}: {len(pixels)} images in {images}, {len(classes)} labels in {labels}; "
                        "take files that belong together")  # fmt: skip
    if int(classes.max()) > 9:
        raise UserError(f"--data {data}: a label of {labels} is {int(classes.max())}; digits go from 0 to 9")
    return torch.from_numpy(pixels.reshape(len(pixels), -1)), torch.from_numpy(classes.astype(np.int64))


def _idx(data: str, name: str, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One idx file of unsigned bytes: two zeros, 8, the number of dimensions, their sizes (big-endian), the bytes."""
    base = Path(data)
    for path in (base / name, base / f"{name}.gz", base / name.replace("-idx", ".idx")):
        if not path.is_file():
            continue
        try:
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); fetch it again") from None
        head = 4 + 4 * (1 + len(shape))
        if len(raw) < head or raw[:4] != bytes((0, 0, 8, 1 + len(shape))):
            raise UserError(f"{path}: no idx file of unsigned bytes with {1 + len(shape)} dimensions; fetch it again")
        sizes = tuple(int.from_bytes(raw[4 + 4 * k : 8 + 4 * k], "big") for k in range(1 + len(shape)))
        if sizes[1:] != shape or len(raw) - head != math.prod(sizes):
            raise UserError(f"{path}: says sizes {sizes}, which its {len(raw) - head} bytes are not; fetch it again")
        found: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = np.frombuffer(raw, np.uint8, offset=head)
        return np.array(found.reshape(sizes))
    raise UserError(f"--data {data}: no {name} (nor {name}.gz) in it; name the folder of MNIST's four files")
