"""A recurrent layer from a model's settings."""

from __future__ import annotations

from typing import Any

from unrolled.errors import UserError
from unrolled.layers import GRU, LSTM, RNN

PASSED_ON = ("layer_norm", "recurrent_dropout", "zoneout", "init", "engine")


def recurrent_layer(
    input_size: int, config: Any, *, cell: str | None = None, hidden: int | None = None, layers: int | None = None,
    bidirectional: bool = False, forget_bias: float | None = None,
) -> LSTM | GRU | RNN:  # fmt: skip
    """The layer that a task's configuration describes; dropout stands between its layers.

    Args:
        input_size: I.
        config: has ``cell``, ``hidden``, ``layers`` and ``dropout``, and of ``layer_norm``, ``recurrent_dropout``,
            ``zoneout``, ``init``, ``engine``, ``forget_bias`` those that the task offers.
        cell, hidden, layers: in place of the configuration's, where a model has several layers.
        forget_bias: of an LSTM, where the configuration gives none.
    Raises:
        UserError: settings that do not go together, in the layer's own words, which name the option.
    """
    cell, H, L = cell or config.cell, hidden or config.hidden, layers or config.layers
    options: dict[str, Any] = {name: getattr(config, name) for name in PASSED_ON if hasattr(config, name)}
    options |= {"dropout": config.dropout if L > 1 else 0.0, "bidirectional": bidirectional}
    try:
        if cell == "lstm":
            own = getattr(config, "forget_bias", None)
            return LSTM(input_size, H, L, forget_bias=forget_bias if own is None else own, **options)
        if cell == "gru":
            return GRU(input_size, H, L, **options)
        return RNN(input_size, H, L, nonlinearity=cell.removeprefix("rnn-"), **options)
    except ValueError as error:
        raise UserError(str(error)) from None
