"""One step of a cell: its equations, forward and backward, side by side. No time here (see ``engines``)."""

from __future__ import annotations

from unrolled.cells.base import Cell, Gradients, Parameter, State, Tape, Weights
from unrolled.cells.gru import GRUCell
from unrolled.cells.init import INITS, check_init, initialise
from unrolled.cells.lstm import LSTMCell
from unrolled.cells.rnn import NONLINEARITIES, RNNCell

__all__ = [
    "INITS", "NONLINEARITIES", "Cell", "GRUCell", "Gradients", "LSTMCell", "Parameter", "RNNCell", "State", "Tape",
    "Weights", "check_init", "initialise",
]  # fmt: skip
