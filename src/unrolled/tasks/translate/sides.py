"""The units of one side of a pair: text into ids, and back into text as it is written (detokenised)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.config import TextConfig
from unrolled.data.examples import Ragged
from unrolled.data.learn import CharLearner, WordLearner, learn_subwords, learner
from unrolled.data.units import UNK, Units, units_from_json
from unrolled.errors import UserError

SPACED = ("word", "bpe")
"""Units that hold the space before them. A side begins with one, so that its first word is a unit as elsewhere."""


class Side:
    """V units; then the end of a sequence, and its start, which is read and never written.

    Attributes:
        V: units. end, start: the ids after them. unk: the unknown unit's id, or None.
    """

    def __init__(self, units: Units) -> None:
        self.units = units
        self.V = len(units)
        self.end, self.start = self.V, self.V + 1
        self.unk = units.unk

    @classmethod
    def learn(cls, texts: Iterable[str], kind: str, vocab_size: int | None, min_count: int) -> Side:
        """The units of ``texts``, with ``<unk>`` where a unit can be unknown."""
        size = vocab_size
        spaced = (_spaced(kind, text) for text in texts)
        if kind == "bpe":
            return cls(learn_subwords(spaced, TextConfig(units="bpe", vocab="train", vocab_size=size)))
        counting = learner(kind, "the pairs")
        for text in spaced:
            counting.add(text)
        assert isinstance(counting, (CharLearner, WordLearner))
        if min_count > 1:
            counts = counting.counts
            values = counts if isinstance(counts, np.ndarray) else np.array([*counts.values()])
            often = max(2, int((values >= min_count).sum()) + 1)
            size = often if size is None else min(size, often)
        return cls(counting.units(TextConfig(units=kind, vocab="train", vocab_size=size)))

    @property
    def words(self) -> bool:
        """Whether a unit is a word of the text."""
        return self.units.kind in ("word", "whitespace")

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Ids of each text; what is not known is ``<unk>``."""
        ids, counts = self.units.encode_many([_spaced(self.units.kind, t) for t in texts], unknown="replace")
        return Ragged(ids, counts)

    def decode(self, ids: Sequence[int] | NDArray[Any], unknown: Mapping[int, str] | None = None) -> str:
        """The text of ``ids``, which hold neither start nor end.

        Args:
            unknown: what stands at these places instead of the unit there.
        """
        unknown = dict(unknown or {})
        if self.unk is not None and self.units.kind == "word":  # its spelling has no space before it, as words have
            unknown = {k: UNK for k, i in enumerate(ids) if i == self.unk} | unknown
        if not unknown:
            return self.units.decode(ids).removeprefix(" " if self.units.kind in SPACED else "")
        space = " " if self.units.kind == "word" else ""
        stand_in = {k: space + word.strip() for k, word in unknown.items()}
        pieces = [stand_in.get(k) or self.units.spell(int(i)).decode("utf-8", "replace") for k, i in enumerate(ids)]
        return (" " if self.units.kind == "whitespace" else "").join(pieces).strip()

    def pieces(self, text: str) -> list[str]:
        """The words of ``text`` themselves, one for each id of :meth:`encode`, known or not; for :attr:`words` only."""
        pattern: Any = getattr(self.units, "pattern", None)
        return [str(piece) for piece in pattern.findall(_spaced(self.units.kind, text))]

    def names(self, ids: Sequence[int] | NDArray[Any]) -> list[str]:
        """Printable names of ids."""
        return [self.units.name(int(i)) if i < self.V else "</s>" for i in ids]

    def to_json(self) -> dict[str, Any]:
        return self.units.to_json()

    @classmethod
    def from_json(cls, saved: Any, where: str) -> Side:
        """What :meth:`to_json` gave.

        Raises:
            UserError: something is missing or malformed.
        """
        if not isinstance(saved, Mapping):
            raise UserError(f"{where}: damaged vocabulary (a side is missing); restore the file")
        return cls(units_from_json(saved, where))


def _spaced(kind: str, text: str) -> str:
    return " " + text if kind in SPACED else text
