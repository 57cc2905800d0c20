"""A list of strings and their ids, with the special ones that a task asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import UserError

Ints = NDArray[np.int64]
PAD, UNK, START, END = "<pad>", "<unk>", "<s>", "</s>"
SPECIALS = (PAD, UNK, START, END)


class Vocabulary:
    """Strings to ids and back. The specials come first, in the order of :data:`SPECIALS`.

    A special is known by its place and never by its spelling: a text that holds ``<unk>`` or ``</s>`` has an ordinary
    item of that spelling, or an unknown one.

    Args:
        items: the ordinary strings, in the order of their ids.
        specials: which of :data:`SPECIALS` there are.
    Attributes:
        pad, unk, start, end: the ids of the specials; None where they were not asked for.
    """

    def __init__(self, items: Sequence[str], specials: Iterable[str] = ()) -> None:
        asked = set(specials)
        if asked - set(SPECIALS):
            raise ValueError(f"specials {sorted(asked - set(SPECIALS))}: not among {SPECIALS}")
        self.items = list(items)
        self.specials = [s for s in SPECIALS if s in asked]
        self.index = {item: k + len(self.specials) for k, item in enumerate(self.items)}
        if len(self.index) != len(self.items):
            raise ValueError("an item stands in the vocabulary twice")
        self._texts = [*self.specials, *self.items]
        at = {special: k for k, special in enumerate(self.specials)}
        self.pad, self.unk, self.start, self.end = (at.get(s) for s in SPECIALS)

    @classmethod
    def learn(
        cls, strings: Iterable[str], specials: Iterable[str] = (), *, min_count: int = 1, max_size: int | None = None
    ) -> Vocabulary:
        """The strings that occur at least ``min_count`` times, the most frequent first, ties in code point order.

        Args:
            max_size: at most so many, specials not counted.
        """
        counts = Counter(strings)
        kept = sorted((s for s, n in counts.items() if n >= min_count), key=lambda s: (-counts[s], s))
        return cls(kept[:max_size], specials)

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, item: str) -> bool:
        return item in self.index

    def encode(self, strings: Sequence[str], where: str = "the input") -> Ints:
        """Ids; what is not known becomes ``unk``.

        Raises:
            UserError: something unknown, and no ``<unk>``.
        """
        unknown = -1 if self.unk is None else self.unk
        get = self.index.get
        ids = np.fromiter((get(s, unknown) for s in strings), np.int64, len(strings))
        if self.unk is None and (ids < 0).any():
            raise UserError(f"{where}: {strings[int(np.argmin(ids))]!r} is not among the {len(self.items)} known ones")
        return ids

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The strings of ids; a special as it is spelled."""
        return [self._texts[int(k)] for k in ids]

    def to_json(self) -> dict[str, Any]:
        """JSON values for ``tokens.json``."""
        return {"items": self.items, "specials": self.specials}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], where: str) -> Vocabulary:
        """What :meth:`to_json` gave.

        Raises:
            UserError: something is missing or of another kind.
        """
        items = saved.get("items")
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise UserError(f"{where}: damaged vocabulary (no list of items); restore the file")
        try:
            return cls(items, saved["specials"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: damaged vocabulary ({error}); restore the file") from None
