"""The recurrent classifier: a sequence in, its states pooled, scores out."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unrolled.tasks import long
from unrolled.tasks.classify.config import ClassifyConfig
from unrolled.tasks.language.sizes import recurrent_parameters
from unrolled.tasks.layer import recurrent_layer

LONGEST_RUN = {"char": 4, "word": 2}
GAIN = {4: 5.0}
"""What the linear path is multiplied by, by its longest run (1 otherwise): Adam moves the weight of a run that is seen
a few times in all hardly at all, and names hang on such runs. Sentences gained nothing from 3."""
HEAD_STD = 0.4
"""Standard deviation of the output weights, times the root of the features and ln K / 4: as large as a first loss
within 3 % of ln K allows."""
EMBEDDING_STD = 0.1


class Classifier(nn.Module):
    """``score = W pool(h_1 ... h_T) + b`` over the states of a recurrent network.

    Args:
        inputs: V ids, or I numbers a step with ``numbers``.
        outputs: K classes, or 1 for a number.
        config: the shape. numbers: whether inputs are vectors and not ids.
        unk: the id that takes the place of a dropped unit.
        run: with ``ngrams`` the longest run of units that the linear path scores: ``gain sum w(run) / sqrt(runs)`` is
            added to the scores, where w is a table over hashed runs that starts at zero (Cheng et al. 2016,
            arXiv:1606.07792; Joulin et al. 2016, arXiv:1607.01759).
    Attributes:
        cut: steps after which the gradient is cut in training (see :func:`unrolled.tasks.long.read`); None: nowhere.
    """

    def __init__(
        self, inputs: int, outputs: int, config: ClassifyConfig, *, numbers: bool, unk: int = 0, run: int = 2
    ) -> None:
        super().__init__()
        self.config, self.unk, self.run = config, unk, run
        self.cut: int | None = None
        self.wide = nn.Embedding(1 << config.ngram_bits, outputs) if config.ngrams and not numbers else None
        self.apart = self.wide is not None and config.ngram_training == "apart"
        self.gain = GAIN.get(run, 1.0) if config.ngram_gain is None else config.ngram_gain
        self.embedding = None if numbers else nn.Embedding(inputs, config.embedding)
        self.rnn = recurrent_layer(inputs if numbers else config.embedding, config, bidirectional=config.bidirectional)
        self.directions = 2 if config.bidirectional else 1
        width = config.hidden * self.directions
        self.attention = nn.Linear(width, 1) if config.pool == "attention" else None
        features = width * (3 if config.pool == "concat" else 1)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(features, outputs)
        if numbers:
            self.register_buffer("mean", torch.zeros(inputs))
            self.register_buffer("scale", torch.ones(inputs))
        # Set when training is over, on the dev part: see ClassifyTask.settle.
        self.register_buffer("temperature", torch.ones(()))
        # Of a number that is predicted: mean and deviation in training, and of the errors on the dev part.
        self.register_buffer("target", torch.tensor([0.0, 1.0, 1.0]))
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        spread = min(1.0, math.log(max(2, self.head.out_features)) / 4)
        self.head.weight.normal_(0.0, HEAD_STD * spread / math.sqrt(self.head.in_features))
        self.head.bias.zero_()
        if self.embedding is not None:
            self.embedding.weight.normal_(0.0, EMBEDDING_STD)
        if self.wide is not None:
            self.wide.weight.zero_()
        if self.attention is not None:
            self.attention.weight.zero_()  # the mean, to begin with
            self.attention.bias.zero_()

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Scores (B, K): the sum of the paths', or their mean where each learns by itself.

        Args:
            x: int64 (T, B), or (T, B, I).
            lengths: int64 (B,); steps from there on are padding, and change nothing.
        """
        paths = self.paths(x, lengths)
        return paths.mean(0) if self.apart else paths.sum(0)

    def paths(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Scores (P, B, K) of the recurrent path and, with ``ngrams``, of the linear one."""
        x = x[: max(1, int(lengths.max()))]  # more padding is no other computation
        whole = x
        if self.training and self.config.word_dropout and self.embedding is not None:
            x = torch.where(torch.rand(x.shape, device=x.device) < self.config.word_dropout, self.unk, x)
        T, B = x.shape[:2]
        if not (self.training and torch.is_grad_enabled()) or self.kept(T, B) <= long.LIMIT or B == 1:
            return self._read(x, whole, lengths)
        # Too much is kept for the backward pass: some rows after others, whose activations are computed again when the
        # gradient needs them. A row that is too long alone is then cut along time, in long.read.
        rows = max(1, B * long.LIMIT // self.kept(T, B))
        pieces = zip(*(torch.split(t, rows, 1) for t in (x, whole)), torch.split(lengths, rows), strict=True)
        scores: list[Tensor] = [checkpoint(self._read, *piece, use_reentrant=False) for piece in pieces]
        return torch.cat(scores, 1)

    def _read(self, x: Tensor, whole: Tensor, lengths: Tensor) -> Tensor:
        """``x`` may have dropped units, ``whole`` has not."""
        if self.embedding is not None:
            steps = self.dropout(self.embedding(x))
        else:
            steps = (x - self.get_buffer("mean")) * self.get_buffer("scale")
        output, state = long.read(self.rnn, steps, lengths, cut=self.cut)
        scores: Tensor = self.head(self.dropout(self._pool(output, state, lengths)))
        if self.wide is None:
            return scores.unsqueeze(0)
        return torch.stack((scores, self._linear(whole if self.apart else x, lengths)))

    def _linear(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """(T, B) to (B, K): the linear path; in training runs are dropped as features are."""
        assert self.wide is not None
        T, B = ids.shape
        keys, total = torch.zeros_like(ids), torch.zeros(B, self.head.out_features).to(self.head.weight)
        for n in range(1, min(self.run, T) + 1):
            keys = (keys[: T - n + 1] * 31 + ids[n - 1 :] + 1) * -7046029254386353131  # splitmix64's odd constant
            keys = keys ^ (keys >> 29)
            inside = torch.arange(n, T + 1, device=ids.device).unsqueeze(-1) <= lengths
            weight = self.dropout(inside.to(total.dtype)).unsqueeze(-1)
            total = total + (self.wide((keys >> 7) & (self.wide.num_embeddings - 1)) * weight).sum(0)
        runs = sum((lengths - n).clamp(min=0) for n in range(self.run))
        assert isinstance(runs, Tensor)
        return self.gain * total / runs.clamp(min=1).to(total.dtype).sqrt().unsqueeze(-1)

    def _pool(self, output: Tensor, state: Any, lengths: Tensor) -> Tensor:
        """(T, B, D*H) and the last state to (B, features). Past a length the output is zero."""
        pool = self.config.pool
        if pool == "attention":
            assert self.attention is not None
            weights = self.attention(output).squeeze(-1).masked_fill(_padding(output, lengths), -math.inf)
            weights = torch.nan_to_num(weights.softmax(0))  # an example without a step attends to nothing
            return (weights.unsqueeze(-1) * output).sum(0)
        found = []
        if pool in ("last", "concat"):
            h = state[0] if isinstance(state, tuple) else state
            found.append(torch.cat(tuple(h[-self.directions :]), -1))
        if pool in ("mean", "concat"):
            found.append(output.sum(0) / lengths.clamp(min=1).unsqueeze(-1).to(output.dtype))
        if pool in ("max", "concat"):
            largest = output.masked_fill(_padding(output, lengths).unsqueeze(-1), -math.inf).amax(0)
            found.append(torch.where((lengths > 0).unsqueeze(-1), largest, 0.0))
        return found[0] if len(found) == 1 else torch.cat(found, -1)

    def kept(self, steps: int, rows: int) -> int:
        """Numbers that the backward pass of ``rows`` examples of ``steps`` steps needs, about."""
        linear = 0 if self.wide is None else 2 * self.run * self.head.out_features
        return long.kept(self.rnn, steps, rows) + steps * rows * linear


def _padding(output: Tensor, lengths: Tensor) -> Tensor:
    """(T, B): True past an example's end."""
    return torch.arange(output.shape[0], device=output.device).unsqueeze(-1) >= lengths


def count_parameters(inputs: int, outputs: int, config: ClassifyConfig, *, numbers: bool) -> int:
    """Trained parameters: the embedding V*E; a layer and direction of G gates G*H*(I + H + 2) (layer norm adds gains
    2*G*H, and 2*H for an LSTM); the head features*K + K; attention D*H + 1; the linear path a row of K a bucket."""
    H, D = config.hidden, 2 if config.bidirectional else 1
    total = 0 if numbers else inputs * config.embedding
    total += recurrent_parameters(
        config.cell, inputs if numbers else config.embedding, H, config.layers, directions=D,
        layer_norm=config.layer_norm,
    )  # fmt: skip
    total += (outputs << config.ngram_bits) if config.ngrams and not numbers else 0
    features = D * H * (3 if config.pool == "concat" else 1)
    return total + features * outputs + outputs + (D * H + 1 if config.pool == "attention" else 0)
