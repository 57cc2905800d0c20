"""The recurrent language model: unit ids in, scores over the next unit out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unrolled.engines import masks
from unrolled.state import zeros
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.dropout import SeededDropout
from unrolled.tasks.layer import recurrent_layer

State = Any
"""What torch's layers take and return: h (L, B, H), or the pair (h, c)."""

NORMAL_STD = 0.01
HEAD_STD = {"lstm": 1.0, "gru": 0.6, "rnn-tanh": 0.3, "rnn-relu": 0.05}
"""Standard deviation of the output weights, times sqrt(H): as large as a first loss within 3 % of ln V allows, for 65
units; a small vocabulary gets less. Too small costs dearly: with a tenth of it an LSTM is 0.2 to 0.3 nats behind
after a million characters."""
TIED_STD = 0.3


class LanguageModel(nn.Module):
    """``h = rnn(embed(ids))``, ``scores = W_hy h + b_y``: the lecture's character model, any cell and depth.

    Dropout acts on the embedding, between layers and before the head. On the embedding its mask is drawn anew for each
    token, or with ``embedding_mask="table"`` once for each call, for every element of the table (V, E): a unit then has
    the same mask wherever it stands in the chunk, as in the embedding dropout of Gal & Ghahramani (2016,
    arXiv:1512.05287, section 4.2), which drops whole rows, and the input product is made once for each unit.

    One-hot input is a lookup of rows of ``weight_ih_l0``; nothing one-hot is ever built. With ``tied`` the head shares
    the embedding's weight (Press & Wolf 2017, arXiv:1608.05859), and ``state_dict()`` holds it once, as
    ``embedding.weight``.

    The head starts small, N(0, 0.01/H) with bias 0, so that the first loss is ln V (within 3 %); ten times smaller
    behind ReLU, whose h has no bound. A tied weight serves as the embedding as well and starts at N(0, 0.09/H), at most
    N(0, 0.05^2). ``init="normal"`` draws every weight from N(0, 0.01^2) and sets every bias to 0, as the lecture's
    program does.

    Args:
        V: size of the vocabulary.
        config: the shape of the model.
    """

    def __init__(self, V: int, config: LanguageConfig) -> None:
        super().__init__()
        self.V, self.config = V, config
        self.embedding: nn.Embedding | None = None
        size = V
        if config.input == "embedding":
            size = config.embedding_size
            self.embedding = nn.Embedding(V, size)
        self.rnn = recurrent_layer(size, config)
        self.head = nn.Linear(config.hidden, V)
        table = config.embedding_mask == "table"
        self.embedding_dropout = (
            SeededDropout(config.embedding_rate, masks.stream(masks.EMBEDDING, 0, 0))
            if table
            else nn.Dropout(config.embedding_rate)
        )
        self.dropout = SeededDropout(config.dropout, masks.stream(masks.DROPOUT, config.layers - 1, 0))
        self._initialise()
        if config.tied:
            assert self.embedding is not None  # LanguageConfig refuses tied one-hot input
            self.head.weight = self.embedding.weight
            self.register_state_dict_post_hook(_drop_shared_weight)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_pre_hook(_restore_shared_weight)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _initialise(self) -> None:
        config = self.config
        spread = min(1.0, math.log(self.head.out_features) / 4)
        std = NORMAL_STD if config.init == "normal" else HEAD_STD[config.cell] * spread / math.sqrt(config.hidden)
        self.head.weight.normal_(0.0, std)
        self.head.bias.zero_()
        if self.embedding is not None and config.init == "normal":
            self.embedding.weight.normal_(0.0, NORMAL_STD)
        elif self.embedding is not None and config.tied:
            self.embedding.weight.normal_(0.0, min(0.05, TIED_STD / math.sqrt(config.hidden)))
        if config.single_bias:
            self.fold_biases()

    @torch.no_grad()
    def fold_biases(self) -> None:
        """Hold every ``bias_hh`` at 0, untrained, and let ``bias_ih`` take over what it was.

        The two enter an RNN and an LSTM only as their sum; in a GRU the candidate's ``bias_hh`` stands behind the reset
        gate, so there the function changes with the move.
        """
        for name, bias in self.rnn.named_parameters():
            if name.startswith("bias_hh"):
                self.rnn.get_parameter(name.replace("bias_hh", "bias_ih")).add_(bias)
                bias.zero_().requires_grad_(False)

    def features(
        self, ids: Tensor, state: State = None, *, resets: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """The top layer's h at every step, before dropout and head: (T, B) ids to (T, B, H), and the state."""
        x, table = ids, None
        drop = self.embedding_dropout
        if self.embedding is not None and self.training and drop.p > 0 and isinstance(drop, nn.Dropout):
            x = drop(self.embedding(ids))
        elif self.embedding is not None:  # the input product once for each unit of the vocabulary, not for each token
            table = drop(self.embedding.weight)
        output, state = self.rnn(x, state, lengths=lengths, resets=resets, embedding=table)
        return output, state

    def scores(self, output: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the next unit: (..., H) to (..., V)."""
        return self.head(self.dropout(output))  # type: ignore[no-any-return]

    def forward(
        self, ids: Tensor, state: State = None, *, resets: Tensor | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Scores of the next unit at every step.

        Args:
            ids: int64 (T, B).
            state: the state before the first step, None for zeros.
            resets: bool (T, B); a reset at t starts step t from zeros.
            lengths: int64 (B,); steps from there on are padding.
        Returns:
            Scores (T, B, V) and the state after the last step.
        """
        output, state = self.features(ids, state, resets=resets, lengths=lengths)
        return self.scores(output), state

    def step(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: ids (B,) to scores (B, V) and the new state."""
        logits, state = self(ids.unsqueeze(0), state)
        return logits.squeeze(0), state

    def initial_state(self, B: int) -> State:
        """Zeros for ``B`` streams: h (L, B, H), for an LSTM (h, c)."""
        return zeros(self.rnn, B)

    def first_scores(self, state: State) -> Tensor:
        """Scores (B, V) that follow from a state alone: the last output of every cell is the top layer's h."""
        h = state[0] if isinstance(state, tuple) else state
        return self.scores(h[-1])


# A shared weight is saved once: a file format without aliases (safetensors) refuses it twice.


def _drop_shared_weight(module: nn.Module, state_dict: dict[str, Any], prefix: str, local_metadata: object) -> None:
    state_dict.pop(prefix + "head.weight", None)


def _restore_shared_weight(module: nn.Module, state_dict: dict[str, Any], prefix: str, *rest: object) -> None:
    if prefix + "embedding.weight" in state_dict:
        state_dict.setdefault(prefix + "head.weight", state_dict[prefix + "embedding.weight"])


def state_to_dict(state: State) -> dict[str, Tensor]:
    """A state as named tensors, which is how it is carried and checkpointed: ``{"h": ...}`` or with ``"c"``."""
    return {"h": state[0], "c": state[1]} if isinstance(state, tuple) else {"h": state}


def state_from_dict(carry: Mapping[str, Tensor]) -> State:
    """The inverse of :func:`state_to_dict`; an empty mapping is None, zeros."""
    if not carry:
        return None
    return (carry["h"], carry["c"]) if "c" in carry else carry["h"]
