"""Training pictures that look alike to the encoder, whose captions speak beside those of the beam.

Devlin, Gupta, Girshick, Mitchell & Zitnick 2015 ("Exploring nearest neighbor approaches for image captioning",
arXiv:1505.04467) caption a picture by the one of its neighbours' captions that agrees most with the others. Here the
decoder's own captions stand for election too, and vote.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.data.examples import Ints
from unrolled.data.image_sets import Features, Pictures
from unrolled.tasks.caption.looking import AT_ONCE, look
from unrolled.tasks.caption.model import CaptionModel, Scene

SIDE = 4
"""Rows and columns that a grid of places is averaged to, so that pictures of any size compare."""
SHARPNESS = 10.0
"""A neighbour's weight is exp(SHARPNESS * cosine)."""
VOTE = 2.0
"""What all neighbours weigh together, where all captions of the beam weigh 1."""

Near = Sequence[tuple[float, list[str]]]
"""Weight and units of each caption of a picture's neighbours; the weights' sum is :data:`VOTE`."""


class Neighbours:
    """The captions of the training pictures nearest to others, by the cosine of what the encoder sees.

    Args:
        model: in evaluation mode. pictures: of the training. rows: (N,) those that may be neighbours.
        captions: units of every caption of every picture. count: neighbours of each picture.
    """

    @torch.no_grad()
    def __init__(
        self, model: CaptionModel, pictures: Pictures | Features, rows: Ints, captions: Sequence[list[list[str]]],
        count: int,
    ) -> None:  # fmt: skip
        self.rows, self.captions, self.count = rows, captions, min(count, len(rows))
        blocks = (rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE))
        vectors = torch.cat([_vectors(look(model, pictures, some)) for some in blocks])
        self.mean = vectors.mean(0)
        self.known = F.normalize(vectors - self.mean, dim=1)

    def of(self, scene: Scene) -> list[Near]:
        """For each picture of a scene the captions of its neighbours, the nearest first."""
        alike, found = (F.normalize(_vectors(scene) - self.mean, dim=1) @ self.known.t()).topk(self.count, 1)
        return [self._near(a, f) for a, f in zip(alike.tolist(), found.tolist(), strict=True)]

    def _near(self, alike: list[float], found: list[int]) -> Near:
        weights = [math.exp(SHARPNESS * (one - alike[0])) for one in alike]
        total = sum(weights)
        said = [self.captions[self.rows[k]] for k in found]
        return [
            (VOTE * weight / total / len(some), units)
            for weight, some in zip(weights, said, strict=True)
            for units in some
        ]


def _vectors(scene: Scene) -> Tensor:
    """What the encoder saw of each picture as one vector: its grid averaged to :data:`SIDE` x SIDE, or the mean of
    features that lie in no grid."""
    seen = scene.seen
    S, B, M = seen.memory.shape
    if seen.grids is not None and len(set(seen.grids)) == 1:
        grid = seen.memory[: math.prod(seen.grids[0])].permute(1, 2, 0).reshape(B, M, *seen.grids[0])
        return F.adaptive_avg_pool2d(grid, SIDE).flatten(1)
    if seen.grids is not None:
        return torch.cat([
            F.adaptive_avg_pool2d(seen.memory[: h * w, k].t().reshape(1, M, h, w), SIDE).flatten(1)
            for k, (h, w) in enumerate(seen.grids)
        ])  # fmt: skip
    count = S if seen.lengths is None else seen.lengths.clamp(min=1)[:, None]
    return seen.memory.sum(0) / count
