"""What runs a cell over time: ``reference`` (the specification) and ``aten`` (torch's kernels)."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

from unrolled.engines.call import Call, Trace
from unrolled.engines.select import ENGINES, Explanation, Request, choose, refusal, transformed

_spies: contextvars.ContextVar[tuple[list[str], ...]] = contextvars.ContextVar("spies", default=())


@contextlib.contextmanager
def spy() -> Iterator[list[str]]:
    """Collect the names of the engines that run inside the block, one for each forward call of a layer.

    A fast path is proven to run, not hoped to: ``with spy() as ran: layer(x)``; then ``ran == ["aten"]``.
    """
    ran: list[str] = []
    token = _spies.set((*_spies.get(), ran))
    try:
        yield ran
    finally:
        _spies.reset(token)


def explain(layer: Any, input: Any, hx: Any = None, **call: Any) -> Explanation:
    """Which engine a call of ``layer`` with these arguments runs on, and why; nothing is computed.

    ``print(unrolled.explain(layer, x, resets=mask))``.

    Raises:
        TypeError: ``layer`` is not one of ours.
    """
    if not hasattr(layer, "explain"):
        raise TypeError(f"explain: {type(layer).__name__} is not a layer of unrolled, so it chooses no engine")
    found: Explanation = layer.explain(input, hx, **call)
    return found


def record(engine: str) -> None:
    """Tell the spies that ``engine`` is running a call."""
    for ran in _spies.get():
        ran.append(engine)


__all__ = [
    "ENGINES", "Call", "Explanation", "Request", "Trace", "choose", "explain", "record", "refusal", "spy",
    "transformed",
]  # fmt: skip
