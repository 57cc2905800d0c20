"""What captions are worth that look at no picture, or at no more than its pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from unrolled.data.examples import Ints
from unrolled.data.image_sets import Features, Pictures
from unrolled.data.images import fit
from unrolled.tasks.caption.metrics import token_f1

THUMB = 32
"""Pixels a side at which pictures of different sizes are compared."""
CANDIDATES, JUDGES = 200, 500
"""Captions that may become the constant one, and captions by which they are judged."""

Floats = npt.NDArray[np.float32]


def nearest(pictures: Pictures | Features, train: Ints, part: Ints, block: int = 256) -> Ints:
    """Of each picture of ``part`` the training picture that is nearest, by the Euclidean distance of pixels (shrunk to
    32 x 32 where sizes differ), or of features (their mean over places)."""
    shrink = isinstance(pictures, Pictures) and not pictures.same
    known, asked = (vectors(pictures, rows, shrink=shrink) for rows in (train, part))
    norms = np.einsum("nf,nf->n", known, known)
    found = np.empty(len(part), np.int64)
    for at in range(0, len(asked), block):
        distances = norms - 2 * (asked[at : at + block] @ known.T)  # the asked one's own norm changes no order
        found[at : at + block] = train[distances.argmin(1)]
    return found


def vectors(pictures: Pictures | Features, rows: Ints, *, shrink: bool) -> Floats:
    """Each picture as one vector: its pixels, shrunk to 32 x 32 or as they are, where all have one size; or the mean of
    its features over places."""
    if isinstance(pictures, Features):
        return np.stack([pictures[k].mean(0) for k in rows.tolist()])
    if shrink:
        pixels = np.stack([fit(pictures[k], THUMB, "stretch") for k in rows.tolist()])
    else:
        pixels = pictures.batch(rows).pixels
    return np.asarray(pixels.reshape(len(rows), -1) / 255.0, np.float32)


def constant(captions: Sequence[list[list[str]]], train: Ints) -> list[str]:
    """The one caption that fits the training part best, by token F1: of its captions the most frequent and some
    spread over the part, judged on a spread of its images."""
    every = [tuple(c) for k in train.tolist() for c in captions[k]]
    frequent = [list(c) for c, _ in Counter(every).most_common(CANDIDATES // 2)]
    spread = [list(every[k]) for k in np.linspace(0, len(every) - 1, min(len(every), CANDIDATES // 2)).astype(int)]
    judges = [captions[train[k]] for k in np.linspace(0, len(train) - 1, min(len(train), JUDGES)).astype(int)]
    return max(frequent + spread, key=lambda c: sum(token_f1(c, refs) for refs in judges))
