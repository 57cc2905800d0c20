"""Training pictures that look alike, whose captions speak beside those of the beam.

Devlin, Gupta, Girshick, Mitchell & Zitnick 2015 ("Exploring nearest neighbor approaches for image captioning",
arXiv:1505.04467) caption a picture by the one of its neighbours' captions that agrees most with the others. Here the
decoder's own captions stand for election too, and vote.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unrolled.data.examples import Ints
from unrolled.data.image_sets import Features, Pictures
from unrolled.tasks.caption.baselines import Floats
from unrolled.tasks.caption.likeness import Likeness

SHARPNESS = 15.0
"""A neighbour's weight is exp(SHARPNESS * likeness)."""
VOTE = 1.0
"""What all neighbours weigh together, where all captions of the beam weigh 1."""

Near = Sequence[tuple[float, list[str]]]
"""Weight and units of each caption of a picture's neighbours; the weights' sum is :data:`VOTE`."""


class Neighbours:
    """The captions of the training pictures nearest to others: see :class:`~unrolled.tasks.caption.likeness.Likeness`.

    What a small encoder, trained along, sees tells neighbours less well.

    Args:
        pictures: of the training. rows: (N,) those that may be neighbours.
        captions: units of every caption of every picture. count: neighbours of each picture.
    """

    def __init__(
        self, pictures: Pictures | Features, rows: Ints, captions: Sequence[list[list[str]]], count: int
    ) -> None:
        self.rows, self.captions, self.count = rows, captions, count
        self.likeness = Likeness(pictures, rows)

    def of(self, pictures: Pictures | Features, rows: Ints | Sequence[int]) -> list[Near]:
        """For each of the pictures ``rows`` the captions of its neighbours, the nearest first."""
        alike = self.likeness.of(pictures, np.asarray(rows))
        found = np.argsort(-alike, 1, kind="stable")[:, : self.count]
        return [self._near(a[f], f) for a, f in zip(alike, found, strict=True)]

    def _near(self, alike: Floats, found: Ints) -> Near:
        weights = np.exp(SHARPNESS * (alike.astype(np.float64) - float(alike[0])))
        shares = VOTE * weights / weights.sum()
        said = [self.captions[self.rows[k]] for k in found]
        return [(float(share) / len(some), units) for share, some in zip(shares, said, strict=True) for units in some]
