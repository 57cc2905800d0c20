"""Writing captions: greedy or by beam, for many pictures at once; where attention lay comes along."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unrolled.data.examples import Ints
from unrolled.data.image_sets import Features, Pictures
from unrolled.data.vocabulary import Vocabulary
from unrolled.decoding.beam import beam_search
from unrolled.decoding.config import BeamConfig
from unrolled.tasks.caption.config import CaptionPredict
from unrolled.tasks.caption.looking import AT_ONCE, look
from unrolled.tasks.caption.metrics import token_f1
from unrolled.tasks.caption.model import CaptionModel, Scene, State, select_state
from unrolled.tasks.caption.neighbours import Near, Neighbours


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
        return self.allowed(scores), (own, scene, weights)

    def allowed(self, scores: Tensor) -> Tensor:
        """Scores (..., V) without what never comes."""
        return scores.index_fill(-1, self.never.to(scores.device), -torch.inf)

    @staticmethod
    def select(state: Walk, rows: Tensor) -> Walk:
        """These rows. A row never changes its picture but when pictures become beams, so only then are they copied."""
        own, scene, weights = state
        if len(rows) != scene.seen.memory.shape[1]:
            scene = scene.select(rows)
        return select_state(own, rows), scene, None if weights is None else weights.index_select(0, rows)


@torch.no_grad()
def write(
    model: CaptionModel, vocabulary: Vocabulary, pictures: Pictures | Features, rows: Ints | Sequence[int],
    options: CaptionPredict, longest: int, neighbours: Neighbours | None = None,
) -> list[list[Written]]:  # fmt: skip
    """The ``nbest`` captions of each picture, best first. Put the model in evaluation mode first.

    Args:
        longest: units of a caption at most.
        neighbours: pictures whose captions take part in the consensus.
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
        scene = look(model, pictures, some)
        first = torch.full((len(some),), vocabulary.start, device=device)
        attends = scene.memory is not None
        best = beam_search(
            writer, (model.start(scene), scene, None), first, config, end=vocabulary.end, max_length=longest,
            select=Writer.select, attention=(lambda state: state[2]) if attends else None,
        )  # fmt: skip
        for k, row in enumerate(best):
            said = [
                Written(vocabulary.decode(one.ids), one.score, one.log_probability, one.ended,
                        *placed(scene, k, one.weights))
                for one in row
            ]  # fmt: skip
            found.append(said)
        if options.consensus:
            near: list[Near] = [[]] * len(some) if neighbours is None else neighbours.of(pictures, some)
            for k, votes in enumerate(near):
                own = {tuple(one.units): one for one in reversed(found[at + k])}
                known = [(weight, units) for weight, units in votes if all(u in vocabulary for u in units)]
                found[at + k] = [
                    dataclasses.replace(own.get(units) or read(model, vocabulary, scene, k, units), score=worth)
                    for worth, units in agreeing(found[at + k], known)[: options.nbest]
                ]
    return found


def agreeing(said: Sequence[Written], near: Near = ()) -> list[tuple[float, tuple[str, ...]]]:
    """Captions of one picture, first the one whose mean token F1 with all of them, weighted by their probability, is
    highest: the least risk under that measure (Kumar & Byrne 2004; for captions Devlin et al. 2015, arXiv:1505.04467).

    Args:
        near: captions of neighbours with their weights, where those of ``said`` weigh 1 together.
    Returns:
        That mean and the units, of each different caption.
    """
    best = max(one.log_probability for one in said)
    shares = [math.exp(one.log_probability - best) for one in said]
    votes = [(share / sum(shares), one.units) for share, one in zip(shares, said, strict=True)] + list(near)
    total = sum(weight for weight, _ in votes)
    every = dict.fromkeys(tuple(units) for _, units in votes)
    worth = {units: sum(w * token_f1(list(units), [judge]) for w, judge in votes) / total for units in every}
    return [(worth[units], units) for units in sorted(every, key=lambda units: -worth[units])]


def read(model: CaptionModel, vocabulary: Vocabulary, scene: Scene, k: int, units: Sequence[str]) -> Written:
    """A given caption of the picture ``k`` of a scene, as if the model had written it: how probable it is to it, and
    where attention lies."""
    device = model.head.weight.device
    whole = torch.tensor([vocabulary.start, *vocabulary.encode(units), vocabulary.end], device=device)
    alone = scene.select(torch.tensor([k], device=device))
    output, _, weights = model.features(whole[:-1, None], alone, model.start(alone))
    scores = Writer(model, vocabulary).allowed(model.scores(output)[:, 0]).log_softmax(-1)
    log_probability = float(scores.gather(1, whole[1:, None]).double().sum())
    looked = None if weights is None else weights[:, 0]
    return Written(list(units), log_probability, log_probability, True, *placed(scene, k, looked))


def placed(scene: Scene, k: int, weights: Tensor | None) -> tuple[Tensor | None, tuple[int, int] | None]:
    """Where attention lay (T, S) over the own places of picture ``k`` of a scene, and their grid."""
    count = None if scene.seen.lengths is None else int(scene.seen.lengths[k])
    grid = None if scene.seen.grids is None else scene.seen.grids[k]
    return None if weights is None else weights[:, :count], grid
