"""What runs a cell over time: ``reference`` (the specification), ``aten`` (torch's kernels), ``native`` (compiled)."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

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


def record(engine: str) -> None:
    """Tell the spies that ``engine`` is running a call."""
    for ran in _spies.get():
        ran.append(engine)


__all__ = [
    "ENGINES", "Call", "Explanation", "Request", "Trace", "choose", "record", "refusal", "spy", "transformed",
]  # fmt: skip
