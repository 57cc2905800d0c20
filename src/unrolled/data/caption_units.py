"""Captions as words or characters, and back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

WORD = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")
"""A word with its apostrophes and hyphens, or one other character."""

_CLOSING = frozenset(".,:;!?)]}%…")
_OPENING = frozenset("([{#$")


def caption_units(text: str, units: str, lower: bool) -> list[str]:
    """The words or characters of a caption. White space becomes single spaces, Unicode its composed form (NFC).

    A full stop at the end of a caption of words is left out: half of all people set one, and it says nothing.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    text = text.lower() if lower else text
    if units == "char":
        return list(text)
    words = WORD.findall(text)
    return words[:-1] if len(words) > 1 and words[-1] == "." else words


def caption_text(units: Sequence[str], kind: str) -> str:
    """A caption from its words or characters; no space stands before a closing mark or after an opening one."""
    if kind == "char":
        return "".join(units)
    text = ""
    for k, word in enumerate(units):
        bound = k == 0 or word in _CLOSING or units[k - 1] in _OPENING
        text += word if bound else " " + word
    return text


def is_word(unit: str) -> bool:
    """Whether a unit holds a letter or digit, and is no mark alone."""
    return any(c.isalnum() for c in unit)
