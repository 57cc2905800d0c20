"""The cells, engines and options the laws are tested on, by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import unrolled.layers
import unrolled.state
from unrolled.engines import ENGINES, Request, native, refusal

I, H, P = 4, 5, 3
"""Input, hidden and projection sizes: small, and all different, so that a mixed-up dimension shows."""

CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn-tanh": ("RNN", {}),
    "rnn-relu": ("RNN", {"nonlinearity": "relu"}),
    "rnn-identity": ("RNN", {"nonlinearity": "identity"}),
    "lstm": ("LSTM", {}),
    "lstm-projected": ("LSTM", {"proj_size": P}),
    "gru": ("GRU", {}),
    "gru-reset-before": ("GRU", {"reset_after": False}),
}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **CELLS,
    "rnn-layer-norm": ("RNN", {"layer_norm": True}),
    "lstm-layer-norm": ("LSTM", {"layer_norm": True}),
    "lstm-layer-norm-projected": ("LSTM", {"layer_norm": True, "proj_size": P}),
    "lstm-layer-norm-no-bias": ("LSTM", {"layer_norm": True, "bias": False}),
    "gru-layer-norm": ("GRU", {"layer_norm": True}),
    "lstm-zoneout": ("LSTM", {"zoneout": (0.2, 0.4)}),
    "gru-zoneout": ("GRU", {"zoneout": 0.3}),
    "lstm-everything": ("LSTM", {"layer_norm": True, "zoneout": 0.3, "recurrent_dropout": 0.4, "proj_size": P}),
    "gru-everything": ("GRU", {"layer_norm": True, "zoneout": 0.3, "recurrent_dropout": 0.4}),
    "rnn-everything": ("RNN", {"layer_norm": True, "zoneout": 0.3, "recurrent_dropout": 0.4}),
    "gru-reset-before-dropout": ("GRU", {"reset_after": False, "recurrent_dropout": 0.4, "zoneout": 0.1}),
}


def layer(variant: str, engine: str = "reference", **options: Any) -> Any:
    """A float64 layer of this variant, in evaluation mode unless told otherwise."""
    kind, extras = VARIANTS[variant]
    options = {"dtype": torch.float64, "input_size": I, "hidden_size": H, **extras, **options}
    training = options.pop("training", False)
    return getattr(unrolled.layers, kind)(engine=engine, **options).train(training)


def takes(engine: str, variant: str, **request: bool) -> bool:
    """Whether an engine of this installation takes a variant in evaluation mode."""
    kind, extras = VARIANTS[variant]
    cell = {"RNN": "rnn-" + extras.get("nonlinearity", "tanh"), "LSTM": "lstm", "GRU": "gru"}[kind]
    cell += "-reset-before" if extras.get("reset_after") is False else ""
    options = {"proj_size": "proj_size" in extras, "layer_norm": "layer_norm" in extras, "zoneout": "zoneout" in extras}
    return refusal(engine, Request(cell, **{**options, **request})) is None


def pairs(variants: Any = VARIANTS, **request: bool) -> list[tuple[str, str]]:
    """Every (engine, variant) that runs here."""
    return [(engine, variant) for engine in ENGINES for variant in variants if takes(engine, variant, **request)]


def state_of(layer: Any, B: int, requires_grad: bool = False) -> tuple[Tensor, ...]:
    """A random initial state, as a tuple."""
    zeros = unrolled.state.zeros(layer, B)
    zeros = (zeros,) if isinstance(zeros, Tensor) else zeros
    return tuple(torch.randn_like(s).requires_grad_(requires_grad) for s in zeros)


def hx(state: tuple[Tensor, ...]) -> Any:
    """The state in torch's form."""
    return state if len(state) > 1 else state[0]


def as_tuple(hx: Any) -> tuple[Tensor, ...]:
    """torch's form as a tuple."""
    return (hx,) if isinstance(hx, Tensor) else tuple(hx)


def call_of(layer: Any, x: Tensor, state: tuple[Tensor, ...], seed: int | None = None, **options: Any) -> Any:
    """The engine's Call for a one-layer, one-direction layer (``reverse`` for the other direction)."""
    from unrolled.layers.border import enter

    reverse = options.pop("reverse", False)
    entry = enter(layer, x, hx(state), options.get("lengths"), options.get("resets"))
    given = torch.tensor(seed) if seed is not None else None
    call = layer._call(entry, entry.x, 0, 0, given)
    return call if not reverse else type(call)(**{**vars(call), "reverse": True})


def gradients(loss: Tensor, wrt: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, wrt, retain_graph=True, allow_unused=True, materialize_grads=True)


def cotangent(tensor: Tensor, k: int) -> Tensor:
    return torch.cos(torch.arange(tensor.numel(), dtype=tensor.dtype) + k).reshape(tensor.shape)


def scalar(*tensors: Tensor) -> Tensor:
    """A loss that sees every element differently."""
    total = torch.zeros((), dtype=tensors[0].dtype)
    for k, tensor in enumerate(tensors):
        total = total + (tensor * cotangent(tensor, k)).sum()
    return total


needs_core = pytest.mark.skipif(native.missing() is not None, reason=str(native.missing()))
"""For tests of the native engine alone. Where it must be there (UNROLLED_NATIVE=required), its import fails instead."""
