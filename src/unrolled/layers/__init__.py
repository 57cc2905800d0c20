"""torch.nn.Modules: the drop-in recurrent layers and cells."""

from __future__ import annotations

from unrolled.layers.attention import Attention, AttentionalOutput, Memory
from unrolled.layers.cells import GRUCell, LSTMCell, RNNCell
from unrolled.layers.recurrent import Recurrent
from unrolled.layers.rnn import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "AttentionalOutput",
    "GRUCell",
    "LSTMCell",
    "Memory",
    "RNNCell",
    "Recurrent",
]
