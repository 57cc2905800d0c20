"""Which engines ran: written down by the engines themselves, where they run, and read in a ``with spy()`` block."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import torch

_spies: contextvars.ContextVar[tuple[list[str], ...]] = contextvars.ContextVar("spies", default=())


@contextlib.contextmanager
def spy() -> Iterator[list[str]]:
    """Collect the names of the engines that run inside the block: one for each forward call of a layer or cell.

    A name is written by the engine's own entrance, not by the choice of an engine, and once however many layers,
    directions and steps the call has. A compiled call writes nothing: its graph has no engine any more. A fast path is
    proven to run, not hoped to: ``with spy() as ran: layer(x)``; then ``ran == ["aten"]``.
    """
    ran: list[str] = []
    token = _spies.set((*_spies.get(), ran))
    try:
        yield ran
    finally:
        _spies.reset(token)


def record(engine: str) -> None:
    """Tell the spies that ``engine`` is running a call; silent while torch.compile traces."""
    if torch.compiler.is_compiling():
        return
    for ran in _spies.get():
        ran.append(engine)
