"""Writing captions: greedy or by beam, for many pictures at once; where attention lay comes along."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from unrolled.data.examples import Ints
from unrolled.data.image_sets import Features, Pictures
from unrolled.data.vocabulary import Vocabulary
from unrolled.decoding.beam import beam_search
from unrolled.decoding.config import BeamConfig
from unrolled.tasks.caption.config import CaptionPredict
from unrolled.tasks.caption.metrics import token_f1
from unrolled.tasks.caption.model import CaptionModel, Scene, State, select_state

AT_ONCE = 64
"""Pictures that are captioned together."""


@dataclasses.dataclass
class Written:
    """One caption.

    Attributes:
        units: its words or characters. score: what it was ranked by. log_probability: in nats, its end included.
        weights: (units + 1, places) where attention lay at each and at the end; None without attention.
        grid: rows and columns of the places; None where they lie in no grid.
    """

    units: list[str]
    score: float
    log_probability: float
    ended: bool
    weights: Tensor | None
    grid: tuple[int, int] | None


Walk = tuple[State, Scene, Tensor | None]
"""What goes from step to step: the state, the pictures, and where attention lay last."""


class Writer:
    """A model that steps for :func:`unrolled.decoding.beam.beam_search`; the specials but ``</s>`` never come."""

    def __init__(self, model: CaptionModel, vocabulary: Vocabulary) -> None:
        self.model = model
        never = [k for k in (vocabulary.pad, vocabulary.unk, vocabulary.start) if k is not None]
        self.never = torch.tensor(never)

    def step(self, ids: Tensor, state: Walk) -> tuple[Tensor, Walk]:
        own, scene, _ = state
        scores, own, weights = self.model.step(ids, own, scene)
        scores = scores.index_fill(-1, self.never.to(scores.device), -torch.inf)
        return scores, (own, scene, weights)

    @staticmethod
    def select(state: Walk, rows: Tensor) -> Walk:
        """These rows. A row never changes its picture but when pictures become beams, so only then are they copied."""
        own, scene, weights = state
        if len(rows) != scene.seen.memory.shape[1]:
            scene = scene.select(rows)
        return select_state(own, rows), scene, None if weights is None else weights.index_select(0, rows)


def tensors(
    pictures: Pictures | Features, rows: Ints | Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Pictures or features as :meth:`CaptionModel.look` takes them."""
    if isinstance(pictures, Pictures):
        batch = pictures.batch(rows)
        extent = batch.sizes
        values = torch.from_numpy(batch.pixels)
    else:
        found = pictures.batch(rows)
        extent, values = found.lengths, torch.from_numpy(found.values)
    return values.to(device), None if extent is None else torch.from_numpy(np.asarray(extent)).to(device)


@torch.no_grad()
def write(
    model: CaptionModel, vocabulary: Vocabulary, pictures: Pictures | Features, rows: Ints | Sequence[int],
    options: CaptionPredict, longest: int, progress: Callable[[int], None] | None = None,
) -> list[list[Written]]:  # fmt: skip
    """The ``nbest`` captions of each picture, best first. Put the model in evaluation mode first.

    Args:
        longest: units of a caption at most.
    Raises:
        UserError: the model's scores are not finite.
    """
    assert vocabulary.start is not None
    assert vocabulary.end is not None
    kept = options.beam if options.consensus else options.nbest
    config = BeamConfig(beam=options.beam, nbest=kept, length_penalty=options.length_penalty)
    writer, device = Writer(model, vocabulary), model.head.weight.device
    found: list[list[Written]] = []
    chosen = list(rows)
    for at in range(0, len(chosen), AT_ONCE):
        some = chosen[at : at + AT_ONCE]
        values, extent = tensors(pictures, some, device)
        if values.is_floating_point():
            values = values.to(model.head.weight.dtype)
        scene = model.look(values, extent)
        first = torch.full((len(some),), vocabulary.start, device=device)
        attends = scene.memory is not None
        best = beam_search(
            writer, (model.start(scene), scene, None), first, config, end=vocabulary.end, max_length=longest,
            select=Writer.select, attention=(lambda state: state[2]) if attends else None,
        )  # fmt: skip
        for k, row in enumerate(best):
            grid = None if scene.seen.grids is None else scene.seen.grids[k]
            count = None if scene.seen.lengths is None else int(scene.seen.lengths[k])
            said = [
                Written(vocabulary.decode(one.ids), one.score, one.log_probability, one.ended,
                        None if one.weights is None else one.weights[:, :count], grid)
                for one in row
            ]  # fmt: skip
            found.append(agreeing(said)[: options.nbest] if options.consensus else said)
    return found


def agreeing(said: Sequence[Written]) -> list[Written]:
    """Captions of one picture, first the one whose token F1 with all of them, weighted by their probability, is
    highest: the least risk under that measure (Kumar & Byrne 2004; for captions Devlin et al. 2015, arXiv:1505.04467).
    The score becomes that mean."""
    best = max(one.log_probability for one in said)
    weights = [math.exp(one.log_probability - best) for one in said]
    total = sum(weights)
    shares = [
        sum(w * token_f1(one.units, [other.units]) for w, other in zip(weights, said, strict=True)) / total
        for one in said
    ]
    ranked = sorted(zip(shares, said, strict=True), key=lambda pair: -pair[0])
    return [dataclasses.replace(one, score=share) for share, one in ranked]
