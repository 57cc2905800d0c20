"""Recurrent networks for PyTorch with nothing hidden.

``import unrolled`` imports nothing else; a name is fetched when it is first used, so that the command line starts at
once and torch is paid for only by those who compute.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unrolled.errors import UserError

if TYPE_CHECKING:  # the same names for type checkers and editors
    from unrolled.engines import explain
    from unrolled.layers import CRF, GRU, LSTM, RNN, Attention, GRUCell, LSTMCell, RNNCell
    from unrolled.state import detach, reset, select, split, stack, zeros

    __version__: str

__all__ = [
    "CRF",
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "UserError",
    "__version__",
    "detach",
    "explain",
    "reset",
    "select",
    "split",
    "stack",
    "zeros",
]

_HOME = {
    "unrolled.layers": ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "Attention", "CRF"),
    "unrolled.state": ("zeros", "detach", "reset", "select", "stack", "split"),
    "unrolled.engines": ("explain",),
}
_ROOMS = ("bundle", "cells", "data", "decoding", "engines", "inspect", "layers", "state", "tasks", "training")
_MODULE = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _MODULE:
        value = getattr(importlib.import_module(_MODULE[name]), name)
    else:
        if name in _ROOMS:
            return importlib.import_module(f"unrolled.{name}")
        raise AttributeError(f"module 'unrolled' has no attribute {name!r}")
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    import importlib.metadata

    try:
        return importlib.metadata.version("unrolled")
    except importlib.metadata.PackageNotFoundError:  # a source tree on the path, not installed
        return "0.1.0"
