"""A recurrent layer from a model's settings."""

from __future__ import annotations

from typing import Any, Protocol

from unrolled.errors import UserError
from unrolled.layers import GRU, LSTM, RNN


class Shape(Protocol):
    """The settings that a recurrent layer is made from; the configurations of the tasks have them all."""

    @property
    def cell(self) -> str: ...
    @property
    def layers(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def dropout(self) -> float: ...
    @property
    def recurrent_dropout(self) -> float: ...
    @property
    def zoneout(self) -> float: ...
    @property
    def layer_norm(self) -> bool: ...
    @property
    def init(self) -> str: ...
    @property
    def forget_bias(self) -> float | None: ...
    @property
    def engine(self) -> str: ...


def recurrent_layer(input_size: int, config: Shape, *, bidirectional: bool = False) -> LSTM | GRU | RNN:
    """The layer that ``config`` describes, over inputs of ``input_size``; dropout stands between its layers.

    Raises:
        UserError: settings that do not go together, in the layer's own words, which name the option.
    """
    options: dict[str, Any] = {
        "dropout": config.dropout if config.layers > 1 else 0.0,
        "bidirectional": bidirectional,
        "layer_norm": config.layer_norm,
        "recurrent_dropout": config.recurrent_dropout,
        "zoneout": config.zoneout,
        "init": config.init,
        "engine": config.engine,
    }
    try:
        if config.cell == "lstm":
            return LSTM(input_size, config.hidden, config.layers, forget_bias=config.forget_bias, **options)
        if config.cell == "gru":
            return GRU(input_size, config.hidden, config.layers, **options)
        nonlinearity = config.cell.removeprefix("rnn-")
        return RNN(input_size, config.hidden, config.layers, nonlinearity=nonlinearity, **options)
    except ValueError as error:
        raise UserError(str(error)) from None
