"""Units longer than a character that a pattern finds: words, white-space separated tokens, integers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from unrolled.data.units import UNK, Decoder, Ids, Units
from unrolled.errors import UserError

# A word with its apostrophes, or one other character, either with the single space before it; or one white-space
# character. Every character is in exactly one match, so that joining the words gives the text back.
WORD = re.compile(r" ?\w+(?:['’]\w+)*| ?[^\w\s]|\s")
# A run without white space, or the end of a line: lines matter in logs and verse.
TOKEN = re.compile(r"\S+|\n")
LARGEST_INT = 1 << 20


class ListUnits(Units):
    """A vocabulary of strings that one pattern finds."""

    pattern: re.Pattern[str]

    def __init__(self, words: Sequence[str], *, unk: bool = False, end: str | None = None) -> None:
        """``words`` in the order of their ids; then ``<unk>``; then a delimiter that is not among the words."""
        self.words = list(words)
        self.index = {word: unit for unit, word in enumerate(self.words)}
        texts = list(self.words)
        if unk:
            self.unk = len(texts)
            texts.append(UNK)
        if end is not None:
            self.end_text = end
            self.end = self.index.get(end, len(texts))
            if self.end == len(texts):
                texts.append(end)
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def encode(self, text: str, *, unknown: str = "error", where: str = "the text", at: int = 0) -> Ids:
        words = self.pattern.findall(text)
        get = self.index.get
        ids = np.fromiter([get(word, -1) for word in words], np.int64, len(words))
        return self._settle(ids, lambda index: str(words[index]), unknown, where, at)

    def spell(self, unit: int) -> bytes:
        return self._texts[unit].encode("utf-8", errors="replace")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "units": self.words, "unk": self.unk is not None, "end": self.end_text}

    def _stand_in(self) -> int | None:
        return next((self.index[one] for one in ("?", " ?", " ") if one in self.index), None)


class WordUnits(ListUnits):
    """Words and punctuation marks with the space before them, and other white space by the character; lossless."""

    kind = "word"
    pattern = WORD


class SpacingDecoder(Decoder):
    """Puts a space between units, but not around ends of lines."""

    _before = "\n"

    def push(self, unit: int) -> str:
        text = super().push(unit)
        space = "" if self._before.endswith("\n") or text.startswith("\n") else " "
        self._before = text
        return space + text


class WhitespaceUnits(ListUnits):
    """Runs without white space, and ends of lines. Decoding writes one space where there was any other white space."""

    kind = "whitespace"
    pattern = TOKEN

    def decoder(self) -> Decoder:
        return SpacingDecoder(self.spell)


class IntUnits(Units):
    """Non-negative integers separated by white space; the number is the id. Decoding writes single spaces."""

    kind = "int"

    def __init__(self, size: int, *, unk: bool = False, end: str | None = None) -> None:
        """Numbers 0 to ``size`` - 1; then ``<unk>``; then the record end."""
        self.size = size
        self._extra: list[str] = []
        if unk:
            self.unk = size
            self._extra.append(UNK)
        if end is not None:
            self.end, self.end_text = size + len(self._extra), end
            self._extra.append(end)

    def __len__(self) -> int:
        return self.size + len(self._extra)

    def encode(self, text: str, *, unknown: str = "error", where: str = "the text", at: int = 0) -> Ids:
        numbers = parse_ints(text, where, at)
        ids = np.where(numbers < self.size, numbers, -1)
        return self._settle(ids, lambda index: str(numbers[index]), unknown, where, at)

    def spell(self, unit: int) -> bytes:
        return (self._extra[unit - self.size] if unit >= self.size else str(unit)).encode()

    def decoder(self) -> Decoder:
        return SpacingDecoder(self.spell)

    def to_json(self) -> dict[str, Any]:
        return {"kind": "int", "size": self.size, "unk": self.unk is not None, "end": self.end_text}

    def _stand_in(self) -> int | None:
        return None


def parse_ints(text: str, where: str, at: int = 0) -> Ids:
    """The integers of ``text``.

    Args:
        at: how many stand before this text, where it is a piece of a longer one.
    Raises:
        UserError: something that is no non-negative integer below 2**20.
    """
    words = text.split()
    joined = "".join(words)
    if joined.isascii() and (joined.isdecimal() or not joined) and max(map(len, words), default=0) < 18:
        numbers = np.array(list(map(int, words)), dtype=np.int64)
        if len(numbers) == 0 or numbers.max() < LARGEST_INT:
            return numbers
    for index, word in enumerate(words):
        place = f"at number {at + index} (counted from 0)"
        if not (word.isascii() and word.isdecimal()):
            raise UserError(f"{where}: {word[:40]!r} is not a non-negative integer, {place}; use --units whitespace")
        if int(word[:18]) >= LARGEST_INT:
            raise UserError(
                f"{where}: {word[:40]} is out of range (0 to {LARGEST_INT - 1}), {place}; "
                "renumber it or use --units whitespace"
            )
    raise AssertionError("unreachable")
