"""Inputs and labels as numbers, and back: what a trained classifier needs beside its weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.examples import Ragged
from unrolled.data.vocabulary import END, PAD, START, UNK, Vocabulary
from unrolled.errors import UserError
from unrolled.tasks.classify.config import ClassifyData
from unrolled.tasks.classify.reading import Examples

WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
"""A word with its apostrophes, or one other character."""
WORDY = 3.0
"""Words a text has on average from which on ``--units auto`` reads words."""
Floats = NDArray[np.float64]


class Coder:
    """The units of the inputs and the classes.

    Attributes:
        kind: "char", "word", or "numbers".
        vocabulary: of the units; None for numbers.
        width: I, numbers a step; 0 for texts.
        order: steps of a sequence of numbers in the order in which they are read; None: as they are.
        classes: their names; [] for a number.
        counts: how many training examples have each.
        longest, lower: as in the settings.
    """

    def __init__(
        self, kind: str, vocabulary: Vocabulary | None, width: int, classes: Sequence[str], counts: Sequence[int],
        *, order: Sequence[int] | None = None, longest: int | None = None, lower: bool = False,
    ) -> None:  # fmt: skip
        self.kind, self.vocabulary, self.width = kind, vocabulary, width
        self.classes, self.counts = list(classes), list(counts)
        self.index = {name: k for k, name in enumerate(self.classes)}
        self.order = None if order is None else np.asarray(order, dtype=np.int64)
        self.longest, self.lower = longest, lower

    @classmethod
    def learn(cls, examples: Examples, train: NDArray[np.int64], data: ClassifyData) -> Coder:
        """Units from the training part, classes from all parts (in the training part one may be missing).

        Args:
            train: the numbers of the training examples.
        """
        classes = _classes(examples.labels, data.target)
        counted = Counter(n for k in train for n in _names(examples.labels[int(k)], data.target))
        counts = [counted[name] for name in classes]
        more: dict[str, Any] = {"longest": data.longest, "lower": data.lower}
        if examples.numbers is not None:
            numbers = examples.numbers
            order = None
            if data.permute is not None:
                lengths = np.unique(numbers.lengths)
                if len(lengths) > 1:
                    raise UserError(f"--permute: sequences of {lengths[0]} to {lengths[-1]} steps; all must be as long")
                order = np.random.default_rng(data.permute).permutation(int(lengths[0])).tolist()
            return cls("numbers", None, numbers.values.shape[1], classes, counts, order=order, **more)
        assert examples.texts is not None
        if data.permute is not None:
            raise UserError("--permute: for sequences of numbers, and these are texts; leave it out")
        kind = data.units if data.units != "auto" else _kind(examples.texts)
        made = cls(kind, Vocabulary([]), 0, classes, counts, **more)
        units = (unit for k in train for unit in made.units(examples.texts[int(k)]))
        specials = (PAD, UNK, START, END) if kind == "char" else (PAD, UNK)
        made.vocabulary = Vocabulary.learn(units, specials, min_count=data.min_count, max_size=data.vocab_size)
        return made

    @property
    def inputs(self) -> int:
        """V for texts, I for numbers."""
        return self.width if self.vocabulary is None else len(self.vocabulary)

    def units(self, text: str) -> list[str]:
        """The units of a text."""
        text = text.lower() if self.lower else text
        return list(text) if self.kind == "char" else WORD.findall(text)

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Ids; characters between marks of the beginning and the end."""
        v = self.vocabulary
        assert v is not None
        assert v.unk is not None
        sequences = []
        for text in texts:
            ids = v.encode(self.units(text)[: self.longest])
            if v.start is not None and v.end is not None:
                ids = np.concatenate(([v.start], ids, [v.end]))
            sequences.append(ids)
        return Ragged.of(sequences)

    def arrange(self, numbers: Ragged, where: str) -> Ragged:
        """Sequences of numbers in the order in which they are read.

        Raises:
            UserError: another width, or with a fixed order another length, than in training.
        """
        if numbers.values.shape[1] != self.width:
            raise UserError(f"{where}: {numbers.values.shape[1]} numbers a step, and the model takes {self.width}")
        if self.order is not None:
            if (numbers.lengths != len(self.order)).any():
                raise UserError(f"{where}: sequences of another length than the {len(self.order)} steps in training")
            steps = numbers.values.reshape(len(numbers), len(self.order), -1)[:, self.order]
            numbers = Ragged(np.ascontiguousarray(steps.reshape(-1, self.width)), numbers.lengths)
        if self.longest is not None and (numbers.lengths > self.longest).any():
            kept = np.minimum(numbers.lengths, self.longest)
            step = np.arange(len(numbers.values)) - np.repeat(numbers.offsets[:-1], numbers.lengths)
            numbers = Ragged(numbers.values[step < self.longest], kept)
        return numbers

    def inputs_of(self, examples: Examples) -> Ragged:
        """The inputs of examples, as the model reads them."""
        if (examples.texts is None) != (self.kind == "numbers"):
            raise UserError(f"{examples.label}: the model was trained on {'texts' if self.width == 0 else 'numbers'}")
        if examples.numbers is not None:
            return self.arrange(examples.numbers, examples.label)
        assert examples.texts is not None
        return self.encode(examples.texts)

    def targets_of(self, examples: Examples, target: str) -> NDArray[Any]:
        """Class numbers (N,), 0 and 1 for each class (N, K), or numbers (N,) of float32.

        Raises:
            UserError: a class that the model does not know, with its place.
        """
        if target == "number":
            return np.asarray(examples.labels, dtype=np.float32)
        several = np.zeros((len(examples), len(self.classes)), np.float32)
        single = np.zeros(len(examples), np.int64)
        for k, label in enumerate(examples.labels):
            for name in _names(label, target):
                if name not in self.index:
                    known = ", ".join(self.classes[:10])
                    raise UserError(f"{examples.where[k]}: the model has no class {name!r}; it knows {known}")
                single[k] = self.index[name]
                several[k, self.index[name]] = 1.0
        return several if target == "several" else single

    def to_json(self) -> dict[str, Any]:
        """JSON values for ``tokens.json``."""
        return {
            "kind": self.kind, "vocabulary": None if self.vocabulary is None else self.vocabulary.to_json(),
            "width": self.width, "classes": self.classes, "counts": self.counts,
            "order": None if self.order is None else self.order.tolist(), "longest": self.longest, "lower": self.lower,
        }  # fmt: skip

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], where: str) -> Coder:
        """What :meth:`to_json` gave.

        Raises:
            UserError: something is missing or of another kind.
        """
        try:
            words = saved["vocabulary"]
            vocabulary = None if words is None else Vocabulary.from_json(words, where)
            return cls(saved["kind"], vocabulary, saved["width"], saved["classes"], saved["counts"],
                       order=saved["order"], longest=saved["longest"], lower=saved["lower"])  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{where}: damaged tokens.json ({type(error).__name__}: {error}); restore it") from None


def _kind(texts: Sequence[str]) -> str:
    some = texts[:: max(1, len(texts) // 1000)]
    return "word" if sum(len(text.split()) for text in some) >= WORDY * len(some) else "char"


def _names(label: Any, target: str) -> list[str]:
    if target == "number":
        return []
    return list(label) if target == "several" else [label]


def _classes(labels: Sequence[Any], target: str) -> list[str]:
    """Sorted; whole numbers by size."""
    names = {name for label in labels for name in _names(label, target)}
    return sorted(names, key=lambda n: (0, int(n), n) if n.isdecimal() and n.isascii() else (1, 0, n))
