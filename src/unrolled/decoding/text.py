"""Ending a stream of text at a given word. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def until(pieces: Iterable[str], stop: str | None) -> Iterator[str]:
    """Hand text on until ``stop`` appears, which is left out and may lie across several pieces.

    No character is held back longer than it could still belong to ``stop``, so that a terminal shows text as it is
    written. Nothing is taken from ``pieces`` after the end.
    """
    if not stop:
        yield from pieces
        return
    held = ""
    for piece in pieces:
        held += piece
        found = held.find(stop)
        if found >= 0:
            if found:
                yield held[:found]
            return
        keep = next((n for n in range(min(len(stop) - 1, len(held)), 0, -1) if stop.startswith(held[-n:])), 0)
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if held:
        yield held
