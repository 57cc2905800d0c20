"""The encoder and decoder: a sequence of ids in, scores over another sequence's next id out."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unrolled.layers import Attention, AttentionalOutput, Memory
from unrolled.tasks.language.model import HEAD_STD, NORMAL_STD, TIED_STD
from unrolled.tasks.layer import recurrent_layer
from unrolled.tasks.translate.config import TranslateConfig

State = Any


class Source(NamedTuple):
    """A batch of sources, read.

    Attributes:
        memory: what attention looks at; None without attention.
        summary: (B, H), the top layer's last state: what a decoder without attention is told at every step.
        state: the decoder's state before its first step.
    """

    memory: Memory | None
    summary: Tensor
    state: State


class Translator(nn.Module):
    """Sequence to sequence, any cell, with attention in Luong's order.

    The encoder's outputs are the memory m_1 .. m_S, and its last states, both directions side by side, are the
    decoder's first ones. The decoder runs on its own, h_t from the embedding of y_{t-1} and from h_{t-1}; then it
    looks: c_t = attention(h_t, m), h~_t = tanh(W_c [c_t; h_t] + b), and the scores are W_hy h~_t + b_y (Luong, Pham &
    Manning 2015, arXiv:1508.04025, section 3). So with the true units as input the whole decoder is *one* call of a
    recurrent layer, at the speed of its kernels, and attention one product over all steps. In Bahdanau's order c_t
    enters the step itself, which then must run one after another; here ``additive`` is his score in Luong's order.
    With ``input_feeding`` h~_{t-1} is part of the next step's input (Luong's section 3.3): step by step, and slower.

    Without attention c_t is the encoder's last state, the same at every step (Cho et al. 2014, arXiv:1406.1078, eq. 8,
    without its place in the recurrence). So a model without attention has the parameters of one with ``dot``.

    Padding: positions past a row's length are cut off where no row has any, masked where some have; they get no weight
    and exactly zero gradient.

    Args:
        sources: units of the source. targets: units of the target; two more ids are its end and its start.
        config: the shape. shared: both sides have one embedding; ``sources`` and ``targets`` are then equal.
    """

    def __init__(self, sources: int, targets: int, config: TranslateConfig, *, shared: bool = False) -> None:
        super().__init__()
        self.config, self.shared = config, shared
        self.sources, self.targets = sources, targets
        E, H = config.embedding_size, config.hidden
        self.target_embedding = nn.Embedding(targets + 2, E)
        self.source_embedding = None if shared else nn.Embedding(sources, E)
        each = H // 2 if config.bidirectional else H
        self.encoder = recurrent_layer(E, config, hidden=each, bidirectional=config.bidirectional)
        self.decoder = recurrent_layer(E + (H if config.input_feeding else 0), config, cell=config.decoder)
        self.attention = None if config.attention == "none" else Attention(config.attention, H, H)
        self.output = AttentionalOutput(H, H)
        self.head_weight = None if config.tied else nn.Parameter(torch.empty(targets + 1, H))
        self.head_bias = nn.Parameter(torch.zeros(targets + 1))
        self.dropout = nn.Dropout(config.dropout)
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """The head as in the language model: as large as a first loss of ln V allows."""
        config, V = self.config, self.targets + 1
        if self.head_weight is not None:
            spread = min(1.0, math.log(V) / 4)
            std = (
                NORMAL_STD if config.init == "normal" else HEAD_STD[config.decoder] * spread / math.sqrt(config.hidden)
            )
            self.head_weight.normal_(0.0, std)
        else:
            self.target_embedding.weight.normal_(0.0, min(0.05, TIED_STD / math.sqrt(config.hidden)))

    # -- the two halves ------------------------------------------------------------------------------------------

    def encode(self, ids: Tensor, lengths: Tensor) -> Source:
        """Read sources: (S, B) ids with lengths (B,), of which at least one is S."""
        table = self.target_embedding if self.source_embedding is None else self.source_embedding
        output, state = self._run(self.encoder, table, ids, None, lengths)
        first = _bridge(state, self.config)
        h = first[0] if isinstance(first, tuple) else first
        memory = None if self.attention is None else self.attention.prepare(self.dropout(output), lengths)
        return Source(memory, h[-1], first)

    def decode(
        self, source: Source, ids: Tensor, state: State, lengths: Tensor | None = None
    ) -> tuple[Tensor, State, Tensor | None]:
        """Steps of the decoder.

        Args:
            ids: (T, B), the units before those that are to be scored.
            state: as this function or :meth:`start` gave it.
        Returns:
            h~ (T, B, H), the state after the last step, and the attention's weights (T, B, S), None without attention.
        """
        if self.config.input_feeding:
            return self._step_by_step(source, ids, state)
        h, after = self._run(self.decoder, self.target_embedding, ids, state[0], lengths)
        seen, weights = self._look(source, h)
        return seen, (after, None), weights

    def start(self, source: Source) -> State:
        """The decoder's state before its first step: of the recurrent layer, and with input feeding h~ of no step."""
        feed = torch.zeros_like(source.summary)[None] if self.config.input_feeding else None
        return source.state, feed

    def scores(self, seen: Tensor) -> Tensor:
        """h~ (..., H) to scores (..., targets + 1): the units, and the end."""
        weight = self.target_embedding.weight[: self.targets + 1] if self.head_weight is None else self.head_weight
        return F.linear(self.dropout(seen), weight, self.head_bias)

    def _look(self, source: Source, h: Tensor) -> tuple[Tensor, Tensor | None]:
        """Outputs h (T, B, H) of the decoder to h~ and the weights. B may be several times the sources, row by row."""
        B, N = len(source.summary), h.shape[1]
        query = h if N == B else h.reshape(len(h), B, N // B, -1).transpose(1, 2).flatten(0, 1)
        if self.attention is None:
            context, weights = source.summary.expand(*query.shape[:2], -1), None
        else:
            context, weights = self.attention(query, source.memory)
        if N != B:
            context = context.reshape(len(h), N // B, B, -1).transpose(1, 2).reshape(h.shape)
            if weights is not None:
                weights = weights.reshape(len(h), N // B, B, -1).transpose(1, 2).reshape(len(h), N, -1)
        return self.output(context, h), weights

    def _step_by_step(self, source: Source, ids: Tensor, state: State) -> tuple[Tensor, State, Tensor | None]:
        (inner, feed), outputs, looks = state, [], []
        for embedded in self.dropout(self.target_embedding(ids)):
            h, inner = self.decoder(torch.cat((embedded[None], feed), -1), inner)
            feed, weights = self._look(source, h)
            outputs.append(feed)
            looks += [] if weights is None else [weights]
        return torch.cat(outputs), (inner, feed), torch.cat(looks) if looks else None

    def _run(self, layer: nn.Module, table: nn.Embedding, ids: Tensor, state: State, lengths: Tensor | None) -> Any:
        """A layer over embedded ids; the layer looks them up itself where nothing is dropped between."""
        if self.training and self.dropout.p:
            return layer(self.dropout(table(ids)), state, lengths=lengths)
        return layer(ids, state, lengths=lengths, embedding=table.weight)

    # -- training ------------------------------------------------------------------------------------------------

    def forward(
        self, source: Tensor, source_lengths: Tensor, target: Tensor, target_lengths: Tensor, forcing: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Scores of every unit of the targets and of their ends.

        Args:
            source, target: ids (S, B) and (T, B), with lengths (B,); the target holds neither start nor end.
            forcing: the probability of the true unit as the next step's input; see :meth:`mixed`.
        Returns:
            Scores (n, targets + 1) and what should have come (n,), n = sum of the target lengths + B, in the order of
            time, then of the batch.
        """
        source, target = source[: max(1, int(source_lengths.max()))], target[: int(target_lengths.max())]
        T, B = target.shape
        read = self.encode(source, source_lengths)
        steps = torch.arange(T + 1, device=target.device)[:, None]
        first = target.new_full((1, B), self.targets + 1)
        inside = steps <= target_lengths
        wanted = torch.cat((target, first)).masked_fill(steps == target_lengths, self.targets)
        # Padding is read as the start, an id that is there; no target's padding is looked at.
        given = torch.cat((first, target)).masked_fill(~inside, self.targets + 1)
        if forcing < 1.0:
            given = self.mixed(source, source_lengths, given, forcing)
        seen, _, _ = self.decode(read, given, self.start(read), target_lengths + 1)
        return self.scores(seen[inside]), wanted[inside]

    @torch.no_grad()
    def mixed(self, source: Tensor, source_lengths: Tensor, given: Tensor, forcing: float) -> Tensor:
        """The decoder's input with some true units replaced by its own: scheduled sampling.

        Step by step, in evaluation mode, the model writes on from what it was given so far; with probability 1 -
        ``forcing``, drawn for each step and row from torch's global generator, its most probable unit is the next input
        (Bengio et al. 2015, arXiv:1506.03099). No gradient passes through that choice, so the pass that has one is a
        single call as always, over the inputs made here. Where the model chooses the end, the true unit stays.

        Args:
            given: (T+1, B), the start and the true units.
        """
        T, B = given.shape
        own = torch.rand(T, B, device=given.device) >= forcing
        was, given = self.training, given.clone()
        self.eval()
        try:
            read = self.encode(source, source_lengths)
            state = self.start(read)
            for t in range(T - 1):
                seen, state, _ = self.decode(read, given[t : t + 1], state)
                best = self.scores(seen[0]).argmax(-1)
                given[t + 1] = torch.where(own[t + 1] & (best != self.targets), best, given[t + 1])
        finally:
            self.train(was)
        return given


def _bridge(state: State, config: TranslateConfig) -> State:
    """An encoder's last states as a decoder's first: directions side by side, and c where both have one (zero where
    only the decoder has)."""

    def beside(s: Tensor) -> Tensor:
        if not config.bidirectional:
            return s
        return torch.cat((s[0::2], s[1::2]), -1)

    h = beside(state[0] if isinstance(state, tuple) else state)
    if config.decoder != "lstm":
        return h
    return h, beside(state[1]) if isinstance(state, tuple) else torch.zeros_like(h)
