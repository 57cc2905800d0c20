"""How large a language model is: parameters by formula, memory by estimate. No torch here."""

from __future__ import annotations

import dataclasses

from unrolled.tasks.language.config import LanguageConfig

GATES = {"rnn-tanh": 1, "rnn-relu": 1, "gru": 3, "lstm": 4}
STATES = {"rnn-tanh": 1, "rnn-relu": 1, "gru": 1, "lstm": 2}

MOMENTS = {"adamw": 2, "adam": 2, "rmsprop": 1, "sgd": 0, "adagrad": 1, "min-char-rnn-adagrad": 1}
"""Numbers an optimiser keeps for each weight (momentum adds one to sgd and rmsprop)."""


def count_parameters(V: int, config: LanguageConfig) -> int:
    """Trained parameters of a model over ``V`` units.

    A layer with G gates, input I and width H has G*H*(I + H) weights and 2*G*H biases (G*H with ``single_bias``); layer
    norm adds 2*G*H gains, and for an LSTM H gains and H shifts of c. The head has V*H weights (none when tied) and V
    biases.
    """
    H, embedded = config.hidden, config.input == "embedding"
    total = V * config.embedding_size if embedded else 0
    total += recurrent_parameters(
        config.cell, config.embedding_size if embedded else V, H, config.layers, layer_norm=config.layer_norm
    )
    if config.single_bias:
        total -= config.layers * GATES[config.cell] * H
    return total + V + (0 if config.tied else V * H)


def recurrent_parameters(
    cell: str, inputs: int, hidden: int, layers: int = 1, *, directions: int = 1, layer_norm: bool = False
) -> int:
    """Parameters of recurrent layers with two biases: a layer and direction of G gates over an input I has
    G*H*(I + H + 2); layer norm adds a gain for each product, 2*G*H, and for an LSTM a gain and a shift of c, 2*H."""
    H, G = hidden, GATES[cell]
    gains = (2 * G * H + (2 * H if cell == "lstm" else 0)) if layer_norm else 0
    sizes = [inputs, *[directions * H] * (layers - 1)]
    return sum(directions * (G * H * (size + H + 2) + gains) for size in sizes)


@dataclasses.dataclass(frozen=True)
class Memory:
    """Estimated bytes of training: the weights with their gradients, the optimiser's numbers, and the activations that
    one update keeps for its backward pass."""

    weights: int
    optimiser: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.optimiser + self.activations

    def to_dict(self) -> dict[str, int]:
        """Every figure, as JSON values."""
        return {**dataclasses.asdict(self), "total": self.total}


def activations_per_unit(V: int, config: LanguageConfig) -> int:
    """Numbers kept for the backward pass of one unit of text.

    The embedding; a layer's input product, gates, states and output; the scores, their log-softmax and its gradient.
    Dropout keeps its masks as well. An estimate: kernels differ in what they keep.
    """
    H, G = config.hidden, GATES[config.cell]
    inputs = config.embedding_size if config.input == "embedding" else 0
    layer = (2 * G + 2 * STATES[config.cell]) * H
    masks = inputs * (config.embedding_rate > 0) + config.layers * H * (config.dropout > 0)
    return inputs + config.layers * layer + masks + 3 * V


def estimate_memory(
    V: int, config: LanguageConfig, *, units: int, optimiser: str, momentum: bool, average: bool, bytes_each: int
) -> Memory:
    """Bytes of training with ``units`` = T*B units an update, each number ``bytes_each`` wide."""
    weights = count_parameters(V, config) * bytes_each
    moments = MOMENTS[optimiser] + (momentum and optimiser in ("sgd", "rmsprop")) + average
    return Memory(2 * weights, moments * weights, units * activations_per_unit(V, config) * bytes_each)


def readable(size: float) -> str:
    """``1536`` is ``1.5 KiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
