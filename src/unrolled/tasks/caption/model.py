"""The captioning model: a picture in, scores over the next word out."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.layers.attention import Attention, AttentionalOutput, Memory
from unrolled.state import select
from unrolled.tasks.caption.config import TIMM, CaptionConfig
from unrolled.tasks.caption.encoder import Looker, Seen, SmallEncoder
from unrolled.tasks.caption.timm_encoder import TimmEncoder
from unrolled.tasks.layer import recurrent_layer

HEAD_STD = 1.0
"""Standard deviation of the output weights, times sqrt(H): see :data:`unrolled.tasks.language.model.HEAD_STD`."""

State = Any
"""A tuple of the recurrent layers' states, each as torch's layers return it."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a model is made for, beside its configuration.

    Attributes:
        V: size of the vocabulary.
        features: width F of precomputed features; None for pictures.
        places: S, where every picture has the same grid or number of features; None where not.
        grid: rows and columns of features that lie in one.
    """

    V: int
    features: int | None = None
    places: int | None = None
    grid: tuple[int, int] | None = None


@dataclasses.dataclass
class Scene:
    """A batch of pictures as the decoder takes them: prepared once, looked at in every step.

    Attributes:
        seen: of the encoder. memory: prepared for attention; None where the decoder does not attend.
    """

    seen: Seen
    memory: Memory | None

    def select(self, rows: Tensor) -> Scene:
        """These rows of the batch (N,); a row may be taken more than once (beam search)."""
        seen, s = self.seen, self.seen.lengths
        picked = Seen(
            seen.memory.index_select(1, rows), None if s is None else s.index_select(0, rows),
            seen.whole.index_select(0, rows), None if seen.grids is None else [seen.grids[k] for k in rows.tolist()],
        )  # fmt: skip
        return Scene(picked, None if self.memory is None else self.memory.select(rows))


class CaptionModel(nn.Module):
    """An encoder and a recurrent decoder; the teacher-forced recurrence is one call of our layers (two, where there are
    several layers and attention between them).

    The picture enters, by ``image_as``:

    - ``h0``: the first state of every layer is a linear map of the whole picture's vector (CS231n).
    - ``first``: that vector, mapped to the width of a word, is the first input, before ``<s>`` (Vinyals et al. 2015,
      arXiv:1411.4555).
    - ``every``: it stands beside the word in every input.
    - ``attend``: the first state as in ``h0``; then the lowest layer's h_t looks at the places of the picture, and what
      it sees goes, beside h_t, into the layers above, and with their h_t into the output, h~ = tanh(W [context; h])
      (Xu et al. 2015, arXiv:1502.03044, with the attention behind the recurrence, as in Luong et al. 2015,
      arXiv:1508.04025, so that all steps run at once).

    The head starts small, so that the first loss is ln V (within 3 %).

    Args:
        inputs: sizes of vocabulary and features. config: the shape of the model.
    """

    def __init__(self, inputs: Inputs, config: CaptionConfig) -> None:
        super().__init__()
        self.V, self.config, self.inputs = inputs.V, config, inputs
        c, M, H = config, config.memory, config.hidden
        self.encoder: nn.Module | None = None
        width = inputs.features
        if width is None:
            self.encoder = TimmEncoder(c) if c.encoder.startswith(TIMM) else SmallEncoder(c)
            width = self.encoder.width
        # What attends finds the places by itself: one map for all of them learns from all of them.
        flat = None if c.image_as == "attend" else inputs.places
        self.looker = Looker(width, M, flat, placed=inputs.features is None or inputs.grid is not None)
        self.embedding = nn.Embedding(inputs.V, c.embedding)
        self.dropout = nn.Dropout(c.dropout)
        entry = c.embedding + (M if c.image_as == "every" else 0)
        attends = c.image_as == "attend"
        below = 1 if attends and c.layers > 1 else c.layers
        self.rnn = recurrent_layer(entry, c, layers=below, forget_bias=1.0)
        above = c.layers - below
        self.upper = recurrent_layer(H + M, c, layers=above, forget_bias=1.0) if above else None
        self.attention = Attention(c.attention, H, M) if attends else None
        self.output = AttentionalOutput(M, H) if attends else None
        states = (2 if c.cell == "lstm" else 1) * c.layers
        self.begin = nn.Linear(M, states * H) if c.image_as in ("h0", "attend") else None
        self.first = nn.Linear(M, c.embedding) if c.image_as == "first" else None
        self.head = nn.Linear(H, inputs.V)
        with torch.no_grad():
            self.head.weight.normal_(0.0, HEAD_STD * min(1.0, math.log(max(2, inputs.V)) / 4) / math.sqrt(H))
            self.head.bias.zero_()

    # -- the picture -------------------------------------------------------------------------------------------

    def look(self, values: Tensor, extent: Tensor | None = None) -> Scene:
        """See a batch of pictures.

        Args:
            values: uint8 pixels (B, H, W, 3); or precomputed features (S, B, F).
            extent: the pictures' own sizes, int64 (B, 2); or how many features each has, (B,). None: all alike.
        """
        if self.encoder is not None:
            seen = self.looker(*self.encoder(values, extent))
        else:
            grid = self.inputs.grid
            seen = (
                self.looker.lists(values, extent)
                if grid is None
                else self.looker(values.transpose(0, 1).reshape(values.shape[1], *grid, -1), None)
            )
        seen = dataclasses.replace(seen, memory=self.dropout(seen.memory), whole=self.dropout(seen.whole))
        memory = None if self.attention is None else self.attention.prepare(seen.memory, seen.lengths)
        return Scene(seen, memory)

    # -- the words ---------------------------------------------------------------------------------------------

    def start(self, scene: Scene) -> State:
        """The state before ``<s>``: of the picture, or zeros (None)."""
        whole = scene.seen.whole
        if self.first is not None:
            _, state = self.rnn(self.first(whole)[None])
            return (state, None)
        if self.begin is None:
            return (None, None)
        L, H, gated = self.config.layers, self.config.hidden, self.config.cell == "lstm"
        drawn = self.begin(whole).view(len(whole), -1, L, H).permute(1, 2, 0, 3)  # (1 or 2, L, B, H)
        below = self.rnn.num_layers

        def part(rows: slice) -> Any:
            h = drawn[0, rows].contiguous()
            return (h, drawn[1, rows].contiguous()) if gated else h

        return (part(slice(0, below)), part(slice(below, L)) if self.upper is not None else None)

    def features(
        self, ids: Tensor, scene: Scene, state: State, lengths: Tensor | None = None
    ) -> tuple[Tensor, State, Tensor | None]:
        """What the head reads: ids (T, B) to (T, B, H), the state after them, and where attention lay (T, B, S)."""
        x = self.embedding(ids)
        if self.training and self.config.word_dropout:
            x = x * (torch.rand(ids.shape, device=ids.device) >= self.config.word_dropout)[..., None].to(x.dtype)
        x = self.dropout(x)
        if self.config.image_as == "every":
            x = torch.cat((x, scene.seen.whole.expand(len(ids), -1, -1)), -1)
        h, lower = self.rnn(x, state[0], lengths=lengths)
        if self.attention is None:
            return h, (lower, None), None
        assert scene.memory is not None
        assert self.output is not None
        context, weights = self.attention(self.dropout(h), scene.memory)
        upper = None
        if self.upper is not None:
            h, upper = self.upper(torch.cat((h, context), -1), state[1], lengths=lengths)
        return self.output(context, h), (lower, upper), weights

    def scores(self, output: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the next word: (..., H) to (..., V)."""
        return self.head(self.dropout(output))  # type: ignore[no-any-return]

    def forward(self, ids: Tensor, scene: Scene, lengths: Tensor | None = None) -> Tensor:
        """Teacher forcing.

        Args:
            ids: int64 (T, B), ``<s>`` first. scene: of :meth:`look`. lengths: int64 (B,); steps past them are padding.
        Returns:
            Scores of the next word at every step (T, B, V).
        """
        return self.scores(self.features(ids, scene, self.start(scene), lengths)[0])

    def step(self, ids: Tensor, state: State, scene: Scene) -> tuple[Tensor, State, Tensor | None]:
        """One step: ids (B,) to scores (B, V), the new state, and where attention lay (B, S)."""
        output, state, weights = self.features(ids[None], scene, state)
        return self.scores(output)[0], state, None if weights is None else weights[0]


def select_state(state: State, rows: Tensor) -> State:
    """Rows of a state; a part that is still zero stays None."""
    return tuple(select(part, rows) for part in state)


def count_parameters(model: nn.Module) -> int:
    """Trained numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
