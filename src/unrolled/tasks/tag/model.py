"""The recurrent tagger: words and their letters, or numbers, in; scores of every tag, or values, out."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from unrolled.layers import CRF
from unrolled.tasks import long
from unrolled.tasks.language.sizes import recurrent_parameters
from unrolled.tasks.layer import recurrent_layer
from unrolled.tasks.tag.config import TagConfig
from unrolled.tasks.tag.encoding import Batch

HEAD_STD = {"lstm": 1.0, "gru": 0.6, "rnn-tanh": 0.3, "rnn-relu": 0.05}
"""Standard deviation of the output weights, times the root of their number: the first loss is ln V within 3 %."""


class Tagger(nn.Module):
    """``h = rnn([word; letters])``, ``scores = W h + b``, both directions side by side; a CRF over them if asked for.

    A word's letters are read by a network of their own, from both ends, once for each distinct word of the batch; its
    last states are what the word is read as beside its embedding (Ling et al. 2015, arXiv:1508.02096; Plank, Søgaard &
    Goldberg 2016, arXiv:1604.05529). In training a word that was seen n times becomes the unknown word with probability
    a / (a + n) (Kiperwasser & Goldberg 2016, arXiv:1603.04351): so unknown ones are learnt to be read by their letters.

    Between time and padding stand flat rows, one for each real unit: dropout, the head and the loss see no padding, and
    the recurrent layers are told the lengths. Steps and letters behind the longest are cut off before anything is
    computed, since the rounding of a matrix product may hang on its number of rows.

    Args:
        outputs: V tags, or O values.
        words, letters: sizes of the vocabularies, ``<unk>`` is 0 in both; or
        inputs: I, the numbers of a step.
    Attributes:
        cut: steps after which the gradient is cut in training (see :func:`unrolled.tasks.long.read`); None: nowhere.
    """

    def __init__(self, config: TagConfig, outputs: int, *, words: int = 0, letters: int = 0, inputs: int = 0) -> None:
        super().__init__()
        self.config, self.outputs = config, outputs
        self.cut: int | None = None
        self.word: nn.Embedding | None = None
        self.letter: nn.Embedding | None = None
        self.speller: nn.Module | None = None
        size = inputs
        if words and config.embedding:
            self.word = _embedding(words, config.embedding)
            size += config.embedding
        if letters and config.letters:
            self.letter = _embedding(letters, config.letters)
            self.speller = recurrent_layer(
                config.letters, config, hidden=config.letter_hidden, layers=config.letter_layers, bidirectional=True
            )
            size += 2 * config.letter_hidden
        self.rnn = recurrent_layer(size, config, bidirectional=config.bidirectional)
        H = config.hidden * (2 if config.bidirectional else 1)
        self.head = nn.Linear(H, outputs)
        self.dropout = nn.Dropout(config.dropout)
        self.crf = CRF(outputs) if config.crf else None
        with torch.no_grad():
            spread = min(1.0, math.log(max(outputs, 2)) / 4)
            self.head.weight.normal_(0.0, HEAD_STD[config.cell] * spread / math.sqrt(H))
            self.head.bias.zero_()

    def forward(self, batch: Batch) -> Tensor:
        """Scores (N, V), or values (N, O), of every real unit of the batch."""
        device = self.head.weight.device
        places = torch.from_numpy(batch.places).to(device)
        units = self.dropout(self._units(batch, device))
        x, lengths = over_time(units, batch)
        output, _ = long.read(self.rnn, x, lengths, cut=self.cut)
        rows = output.flatten(0, 1).index_select(0, places)
        return cast(Tensor, self.head(self.dropout(rows)))

    def _units(self, batch: Batch, device: torch.device) -> Tensor:
        """What each real unit is read as: (N, I)."""
        if batch.x is not None:
            return torch.from_numpy(batch.x).to(self.head.weight)
        found = []
        if self.word is not None:
            assert batch.words is not None
            assert batch.counts is not None
            words = torch.from_numpy(batch.words).to(device)
            if self.training and self.config.word_dropout:
                a = self.config.word_dropout
                unread = a / (a + torch.from_numpy(batch.counts).to(device))
                words = words.masked_fill(torch.rand(len(words), device=device) < unread, 0)
            found.append(self.word(words))
        if self.letter is not None:
            assert batch.form is not None
            found.append(self._spelled(batch, device).index_select(0, torch.from_numpy(batch.form).to(device)))
        return torch.cat(found, 1)

    def _spelled(self, batch: Batch, device: torch.device) -> Tensor:
        """The last states of the network over letters, one row for each distinct word: (W, 2 * letter_hidden)."""
        assert self.letter is not None
        assert self.speller is not None
        assert batch.letters is not None
        found = []
        for ids, count in batch.letters:
            letters = torch.from_numpy(ids[: count.max()]).to(device)
            lengths = torch.from_numpy(count).to(device)
            _, state = self.speller(letters, lengths=lengths, embedding=self.letter.weight)
            h = state[0] if isinstance(state, tuple) else state
            found.append(torch.cat((h[-2], h[-1]), 1))
        return torch.cat(found)


def over_time(rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Rows (N, ...), one a real unit, in (T, B, ...), 0 in the padding, and the lengths (B,).

    T is the longest of the batch, whatever more of padding it has.
    """
    T, B = int(batch.lengths.max()), batch.size
    places = torch.from_numpy(batch.places).to(rows.device)
    padded = rows.new_zeros(T * B, *rows.shape[1:]).index_copy(0, places, rows)
    return padded.view(T, B, *rows.shape[1:]), torch.from_numpy(batch.lengths).to(rows.device)


def count_parameters(config: TagConfig, outputs: int, *, words: int = 0, letters: int = 0, inputs: int = 0) -> int:
    """How many numbers a :class:`Tagger` of these sizes has."""
    total, size = 0, inputs
    if words and config.embedding:
        total, size = total + words * config.embedding, size + config.embedding
    if letters and config.letters:
        total += letters * config.letters
        total += recurrent_parameters(
            config.cell, config.letters, config.letter_hidden, config.letter_layers, directions=2,
            layer_norm=config.layer_norm,
        )  # fmt: skip
        size += 2 * config.letter_hidden
    directions = 2 if config.bidirectional else 1
    total += recurrent_parameters(
        config.cell, size, config.hidden, config.layers, directions=directions, layer_norm=config.layer_norm
    )
    total += (config.hidden * directions + 1) * outputs
    return total + (outputs * (outputs + 2) if config.crf else 0)


def _embedding(n: int, size: int) -> nn.Embedding:
    """Rows of about unit length: torch's own, N(0, 1), drown what the letters say."""
    made = nn.Embedding(n, size)
    nn.init.normal_(made.weight, 0.0, 1.0 / math.sqrt(size))
    return made
