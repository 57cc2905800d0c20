"""Learning a vocabulary from a text, in one pass and bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from unrolled.data.config import TextConfig
from unrolled.data.subword import SMALLEST, BpeUnits, learn_bpe
from unrolled.data.units import CharUnits, Units, code_points
from unrolled.data.words import IntUnits, ListUnits, WhitespaceUnits, WordUnits, parse_ints
from unrolled.errors import UserError

MOST_WORDS = 1_000_000  # distinct words counted at once; beyond that the rarest are forgotten
DEFAULT_SIZE = {"word": 30_000, "bpe": 1024}


class Learner(Protocol):
    """Sees the text piece by piece, whole units only, then makes the vocabulary."""

    def add(self, text: str) -> None: ...

    def units(self, config: TextConfig) -> Units: ...


class CharLearner:
    """Counts code points."""

    def __init__(self) -> None:
        self.counts = np.zeros(256, dtype=np.int64)

    def add(self, text: str) -> None:
        found = np.bincount(code_points(text))
        if len(found) > len(self.counts):
            self.counts = np.concatenate([self.counts, np.zeros(len(found) - len(self.counts), np.int64)])
        self.counts[: len(found)] += found

    def units(self, config: TextConfig) -> CharUnits:
        codes = np.flatnonzero(self.counts)
        cut = config.vocab == "train"
        size = config.vocab_size
        if size is not None and len(codes) > size - cut:
            order = np.lexsort((codes, -self.counts[codes]))  # by count, then by code
            codes, cut = np.sort(codes[order[: size - 1]]), True
        characters = [chr(code) for code in codes]
        end = config.delimiter
        if end is not None and len(end) == 1 and end not in characters:
            characters = sorted([*characters, end])
        return CharUnits(characters, unk=cut, end=end)


class WordLearner:
    """Counts words; of more than a million distinct ones the rarest are dropped as the count goes on."""

    def __init__(self, kind: type[ListUnits]) -> None:
        self.kind = kind
        self.counts: Counter[str] = Counter()
        self.floor = 0

    def add(self, text: str) -> None:
        self.counts.update(self.kind.pattern.findall(text))
        while len(self.counts) > MOST_WORDS:
            self.floor += 1
            self.counts = Counter({word: count for word, count in self.counts.items() if count > self.floor})

    def units(self, config: TextConfig) -> ListUnits:
        size = config.vocab_size or DEFAULT_SIZE.get(self.kind.kind)
        words = sorted(self.counts, key=lambda word: (-self.counts[word], word))
        cut = config.vocab == "train" or self.floor > 0
        if size is not None and len(words) > size - cut:
            words, cut = words[: size - 1], True
        end = config.delimiter
        if end is not None and self.kind.pattern.findall(end) == [end] and end not in words:
            words.append(end)
        return self.kind(words, unk=cut, end=end)


class IntLearner:
    """Finds the largest number."""

    def __init__(self, where: str) -> None:
        self.where, self.largest, self.seen = where, -1, 0

    def add(self, text: str) -> None:
        numbers = parse_ints(text, self.where, self.seen)
        self.largest = max(self.largest, int(numbers.max(initial=-1)))
        self.seen += len(numbers)

    def units(self, config: TextConfig) -> IntUnits:
        size = config.vocab_size
        if size is not None and self.largest >= size:
            raise UserError(
                f"{self.where}: the number {self.largest} is out of range for --vocab-size {size}; "
                f"use --vocab-size {self.largest + 1} or leave it out"
            )
        return IntUnits(size or self.largest + 1, unk=config.vocab == "train", end=config.delimiter)


def learner(kind: str, where: str) -> Learner:
    """A fresh learner for ``kind``; byte units have nothing to learn, and BPE learns by :func:`learn_subwords`."""
    made: dict[str, Callable[[], Learner]] = {
        "char": CharLearner,
        "word": lambda: WordLearner(WordUnits),
        "whitespace": lambda: WordLearner(WhitespaceUnits),
        "int": lambda: IntLearner(where),
    }
    return made[kind]()


def learn_subwords(texts: Iterable[str], config: TextConfig) -> BpeUnits:
    """Learn BPE from ``texts``, none of which cuts a word.

    Raises:
        UserError: a vocabulary smaller than the bytes themselves.
    """
    size = config.vocab_size or DEFAULT_SIZE["bpe"]
    if size < SMALLEST:
        raise UserError(f"--vocab-size {size}: bpe needs at least {SMALLEST}, one for each byte")
    return BpeUnits(learn_bpe(iter(texts), size), end=config.delimiter)
