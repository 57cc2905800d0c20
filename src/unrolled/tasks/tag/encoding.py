"""Sentences and arrays as numbers: vocabularies, encoded parts, and batches of them. No torch here."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.data.examples import Ragged
from unrolled.data.step_arrays import StepArrays
from unrolled.data.tagged import Sentence
from unrolled.data.vocabulary import UNK, Vocabulary
from unrolled.errors import UserError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
GROUPS = 6
"""Groups by length in which the distinct words of a batch are spelled."""
UNKNOWN = -1
"""The id of a tag that the training part lacks: always wrong, and in no loss."""


@dataclasses.dataclass
class Batch:
    """Sentences side by side; what stands for a unit (a word, a step) is in one row, units in order of time.

    Attributes:
        steps, size: T and B.
        lengths: (B,).
        places: (N,) where each real unit stands in (T*B,), ascending.
        targets: (N,) tags, or (N, O) values.
        words: (N,) ids of words; counts: (N,) how often each was seen in training; None for arrays.
        form: (N,) which distinct word; letters: of the distinct words, the shortest first, in some groups, the letters
            (C, W) and the lengths (W,): so there is hardly any padding.
        x: (N, I); None for words.
    """

    steps: int
    size: int
    lengths: Ints
    places: Ints
    targets: NDArray[Any]
    words: Ints | None = None
    counts: Ints | None = None
    form: Ints | None = None
    letters: list[tuple[Ints, Ints]] | None = None
    x: Floats | None = None


class Part(Protocol):
    """Examples, encoded."""

    targets: Ragged

    @property
    def lengths(self) -> Ints: ...

    def batch(self, rows: ArrayLike) -> Batch:
        """The examples ``rows`` (B,) side by side."""
        ...


class Words:
    """What a tagger knows of words: their ids, their letters, the tags, and what the training part said of each.

    Args:
        words: in lower case if ``lower``, with ``<unk>``. letters: with ``<unk>``. tags: in their order.
        usual: for each form of the training part, as it is written, its most frequent tag; what is not in it is unseen.
        common: the most frequent tag of all.
    """

    def __init__(
        self, words: Vocabulary, letters: Vocabulary, tags: Vocabulary, usual: Mapping[str, int], common: int,
        lower: bool, longest: int,
    ) -> None:  # fmt: skip
        self.words, self.letters, self.tags, self.usual, self.common = words, letters, tags, dict(usual), common
        self.lower, self.longest = lower, longest
        self.counts: Ints = np.zeros(len(words), np.int64)

    @classmethod
    def learn(cls, sentences: Sequence[Sentence], *, lower: bool, longest: int, min_count: int) -> Words:
        """From the training part; ``counts`` holds how often each word was seen there."""
        forms: dict[str, Counter[str]] = {}
        tags: Counter[str] = Counter()
        for sentence in sentences:
            tags.update(sentence.tags)
            for word, tag in zip(sentence.words, sentence.tags, strict=True):
                forms.setdefault(word, Counter())[tag] += 1
        seen: Counter[str] = Counter()
        for form, found in forms.items():
            seen[form.lower() if lower else form] += found.total()
        words = Vocabulary.learn(seen.elements(), [UNK], min_count=min_count)
        letters = Vocabulary.learn((letter for form in forms for letter in form), [UNK])
        known = Vocabulary.learn(tags.elements())
        usual = {form: known.index[min(found, key=lambda tag: (-found[tag], known.index[tag]))]
                 for form, found in forms.items()}  # fmt: skip
        made = cls(words, letters, known, usual, 0, lower, longest)
        for word, k in words.index.items():
            made.counts[k] = seen[word]
        return made

    def word(self, form: str) -> int:
        """The id of a word, that of ``<unk>`` where it was not seen."""
        assert self.words.unk is not None
        return self.words.index.get(form.lower() if self.lower else form, self.words.unk)

    def spell(self, form: str) -> Ints:
        """The ids of its letters: of a long word its first and last half."""
        if len(form) > self.longest:
            half = self.longest // 2
            form = form[: self.longest - half] + form[-half:]
        return self.letters.encode(form)

    def to_json(self) -> dict[str, Any]:
        """JSON values for ``tokens.json``."""
        return {"words": self.words.to_json(), "letters": self.letters.to_json(), "tags": self.tags.to_json(),
                "usual": self.usual, "common": self.common, "lower": self.lower, "longest": self.longest}  # fmt: skip

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], where: str) -> Words:
        """What :meth:`to_json` gave.

        Raises:
            UserError: something is missing or of another kind.
        """
        try:
            words, letters, tags = (Vocabulary.from_json(saved[name], where) for name in ("words", "letters", "tags"))
            return cls(words, letters, tags, saved["usual"], saved["common"], saved["lower"], saved["longest"])
        except (KeyError, TypeError) as error:
            raise UserError(f"{where}: damaged vocabulary ({error}); restore the folder") from None


class WordPart:
    """Sentences as ids.

    Attributes:
        form: which distinct form each word is. targets: tags, :data:`UNKNOWN` where the training part lacks one.
        forms: the distinct forms. unseen: (F,) whether the training part lacks it.
    """

    def __init__(self, sentences: Sequence[Sentence], known: Words) -> None:
        self.known = known
        place: dict[str, int] = {}
        numbers = [[place.setdefault(word, len(place)) for word in sentence.words] for sentence in sentences]
        self.forms = list(place)
        self.form = Ragged.of(numbers)
        get = known.tags.index.get
        self.targets = Ragged.of([[get(tag, UNKNOWN) for tag in sentence.tags] for sentence in sentences])
        self.unseen = np.array([form not in known.usual for form in self.forms], dtype=bool)
        self._words = np.array([known.word(form) for form in self.forms], dtype=np.int64)
        self._letters = Ragged.of([known.spell(form) for form in self.forms])

    @property
    def lengths(self) -> Ints:
        return self.form.lengths

    def batch(self, rows: ArrayLike) -> Batch:
        form, lengths = self.form.padded(rows, least=0)
        T, B = form.shape
        places = _places(T, B, lengths)
        distinct, column = np.unique(form.ravel()[places], return_inverse=True)
        order = np.argsort(self._letters.lengths[distinct], kind="stable")
        column = np.argsort(order, kind="stable")[column]  # places in the order by length
        groups = np.array_split(distinct[order], max(1, min(GROUPS, len(distinct))))
        letters = [self._letters.padded(group) for group in groups]
        words = self._words[form.ravel()[places]]
        targets = self.targets.padded(rows, least=0)[0].ravel()[places]
        return Batch(T, B, lengths, places, targets, words, self.known.counts[words], column,
                     letters)  # fmt: skip

    def take(self, rows: ArrayLike) -> WordPart:
        """The sentences ``rows``, in that order."""
        one = copy.copy(self)
        one.form, one.targets = self.form.take(rows), self.targets.take(rows)
        return one

    def usual(self) -> Ints:
        """The most frequent tag of each word's form, that of all words where it is unseen: (units,)."""
        known = self.known
        by_form: Ints = np.array([known.usual.get(form, known.common) for form in self.forms], np.int64)
        found: Ints = by_form[self.form.values]
        return found


class StepPart:
    """Sequences of numbers, standardised.

    Args:
        x: as read. targets: labels' ids, or standardised values.
        mean, spread: (I,) of the training part.
    """

    def __init__(self, x: Ragged, targets: Ragged, mean: Floats, spread: Floats) -> None:
        self.x, self.targets = Ragged((x.values - mean) / spread, x.lengths), targets

    @property
    def lengths(self) -> Ints:
        return self.x.lengths

    def batch(self, rows: ArrayLike) -> Batch:
        x, lengths = self.x.padded(rows, least=0)
        T, B = x.shape[:2]
        places = _places(T, B, lengths)
        targets = self.targets.padded(rows, least=0)[0]
        return Batch(T, B, lengths, places, targets.reshape(T * B, *targets.shape[2:])[places],
                     x=np.ascontiguousarray(x.reshape(T * B, -1)[places], dtype=np.float32))  # fmt: skip


class Steps:
    """What a tagger knows of sequences of numbers: the labels, or the values' size; what inputs are standardised by.

    Args:
        tags: the labels; None where values are learnt.
        mean, spread: of the inputs (I,). y_mean, y_spread: of the values (O,).
    """

    def __init__(
        self, tags: Vocabulary | None, mean: ArrayLike, spread: ArrayLike, y_mean: ArrayLike, y_spread: ArrayLike
    ) -> None:
        self.tags = tags
        self.mean, self.spread, self.y_mean, self.y_spread = (
            np.asarray(a, np.float32) for a in (mean, spread, y_mean, y_spread)
        )

    @classmethod
    def learn(cls, arrays: StepArrays) -> Steps:
        """From the training part."""
        tags = None if arrays.numbers else Vocabulary.learn(arrays.y.values.tolist())
        values = arrays.y.values if arrays.numbers else np.zeros((1, 0), np.float32)
        return cls(tags, *_standard(arrays.x.values), *_standard(values))

    def part(self, arrays: StepArrays) -> StepPart:
        """Sequences, encoded."""
        if self.tags is None:
            values: NDArray[Any] = (arrays.y.values - self.y_mean) / self.y_spread
        else:
            values = np.array([self.tags.index.get(str(label), UNKNOWN) for label in arrays.y.values], np.int64)
        return StepPart(arrays.x, Ragged(values, arrays.x.lengths), self.mean, self.spread)

    def to_json(self) -> dict[str, Any]:
        """JSON values for ``tokens.json``."""
        numbers = {name: getattr(self, name).tolist() for name in ("mean", "spread", "y_mean", "y_spread")}
        return numbers | {"tags": None if self.tags is None else self.tags.to_json()}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], where: str) -> Steps:
        """What :meth:`to_json` gave.

        Raises:
            UserError: something is missing or of another kind.
        """
        try:
            tags = None if saved["tags"] is None else Vocabulary.from_json(saved["tags"], where)
            return cls(tags, saved["mean"], saved["spread"], saved["y_mean"], saved["y_spread"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: damaged tokens.json ({error}); restore the folder") from None


def _standard(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and standard deviation; 1 where nothing varies."""
    wide = values.astype(np.float64)
    spread = wide.std(0)
    return wide.mean(0), np.where(spread > 0, spread, 1.0)


def _places(T: int, B: int, lengths: Ints) -> Ints:
    """Where the real units stand in (T*B,)."""
    return np.flatnonzero((np.arange(T)[:, None] < lengths).ravel())
