"""Numbers about a network: how far its gradient reaches, how far it remembers, what its units follow.

The functions take any model that holds our layers and return arrays; figures and the HTML page are apart from them.
Names are fetched when they are first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME: dict[str, str] = {"diagram": "diagrams"}
"""Public name to module."""

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'unrolled.inspect' has no attribute {name!r}")
    return getattr(importlib.import_module(f"unrolled.inspect.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
