"""Columns of time and rows of layers: what the picture of somebody's own model is made of."""

from __future__ import annotations

from collections.abc import Sequence

from unrolled.inspect.diagrams.picture import Picture

STEP, ROW = 78.0, 60.0
SHIFT = 15.0
"""The two directions of a layer stand this far left and right of their column."""


class Grid:
    """One network over time, built from below; each method adds a row and connects it with the row under it.

    Args:
        prefix: of the nodes' names. x: of the first column.
        times: labels of the columns; None is the gap between 3 and T.
        side: where the words about a row stand, ``l`` or ``r``.
    """

    def __init__(self, p: Picture, prefix: str, x: float, times: Sequence[str | None], side: str = "l") -> None:
        self.p, self.prefix, self.side = p, prefix, side
        self.columns = [(t, x + STEP * k) for k, t in enumerate(times)]
        self.y = -ROW
        self.tops: dict[str, tuple[str, str]] = {}  # label of a column: node and side it goes on from
        self.ends = ("", "")  # the last states of both directions
        self.layers: list[list[str]] = []  # nodes of each layer, forward ones, in time

    @property
    def real(self) -> list[tuple[str, float]]:
        """The columns that are drawn."""
        return [(t, x) for t, x in self.columns if t is not None]

    def boxes(self, letter: str, kind: str, note: str, wide: float = 42.0) -> list[str]:
        """A box in every column."""
        self.y += ROW
        made = []
        for t, x in self.real:
            made.append(self.p.box(f"{self.prefix}{letter}{t}", x, self.y, _label(letter, t), kind, w=wide))
            self._join(t, made[-1])
            self.tops[t] = (made[-1], "")
        self._say(self.y, note)
        return made

    def layer(self, note: str, letter: str = "h", number: str = "") -> None:
        """A recurrent layer, forward in time; ``number`` stands above its letter."""
        self.y += ROW
        self._say(self.y, note)
        self.layers.append(self._row(letter, 0.0, self.y, False, number))
        for (t, _), key in zip(self.real, self.layers[-1], strict=True):
            self._join(t, key)
            self.tops[t] = (key, "")

    def both(self, note: str, letter: str = "h", pairs: bool = True) -> None:
        """A recurrent layer in both directions, and its two states side by side (``pairs``) in every column."""
        low, high = self.y + ROW, self.y + 1.85 * ROW
        ahead = self._row(rf"\overrightarrow{{{letter}}}", -SHIFT, low, False, "")
        back = self._row(rf"\overleftarrow{{{letter}}}", SHIFT, high, True, "")
        self.y = self.y + (2.6 if pairs else 1.85) * ROW
        self._say((low + high) / 2, note)
        self.layers.append(ahead)
        for (t, x), f, b in zip(self.real, ahead, back, strict=True):
            below = self.tops.get(t)
            if below:
                self.p.arrow(below[0], f, out=f"n{-SHIFT:+g}", into="s")
                self.p.arrow(below[0], b, out=f"n{SHIFT:+g}", into="s")
            if not pairs:
                self.ends = (ahead[-1], back[0])
                continue
            pair = self.p.box(f"{self.prefix}pair{len(self.layers)}{t}", x, self.y, "[  ;  ]", "h", w=54, h=20, size=10)
            self.p.arrow(f, pair, out="n", into=f"s{-SHIFT:+g}")
            self.p.arrow(b, pair, out="n", into=f"s{SHIFT:+g}")
            self.tops[t] = (pair, "")

    def bar(self, key: str, text: str, note: str = "", x0: float | None = None, kind: str = "op") -> None:
        """One wide box over all columns (from ``x0`` on), fed by each and feeding each."""
        self.y += ROW
        start = self.real[0][1] - 21 if x0 is None else x0
        end = self.real[-1][1] + 21
        middle = (start + end) / 2
        self.p.box(key, middle, self.y, text, kind, w=end - start, h=26, size=11)
        for t, x in self.real:
            self._join(t, key, f"s{x - middle:+g}")
            self.tops[t] = (key, f"n{x - middle:+g}")
        if note:
            self._say(self.y, note)

    def both_ends(self, key: str, text: str) -> None:
        """A bar over all columns, fed by the last state of each direction alone."""
        self.y += ROW
        start, end = self.real[0][1] - 21, self.real[-1][1] + 21
        middle = (start + end) / 2
        self.p.box(key, middle, self.y, text, "op", w=end - start, h=26, size=11)
        for state in self.ends:
            self.p.arrow(state, key, out="n", into=f"s{self.p.nodes[state].x - middle:+g}")
        t, x = self.real[-1]
        self.tops[t] = (key, f"n{x - middle:+g}")

    def last(self, letter: str, kind: str, note: str) -> str:
        """One box, over the last column."""
        self.y += ROW
        t, x = self.real[-1]
        key = self.p.box(f"{self.prefix}{letter}", x, self.y, f"${letter}$", kind)
        self._join(t, key)
        self._say(self.y, note)
        return key

    def _row(self, letter: str, shift: float, y: float, backwards: bool, number: str) -> list[str]:
        row, keys = [], []
        n = len(self.layers)
        for t, x in self.columns:
            key = f"{self.prefix}{letter}{n}{'gap' if t is None else t}"
            if t is None:
                self.p.word(key, x + shift, y, r"$\cdots$", w=22)
            else:
                self.p.box(key, x + shift, y, _label(letter, t, number), "h", w=38)
                keys.append(key)
            row.append(key)
        self.p.chain(row[::-1] if backwards else row)
        return keys

    def _join(self, t: str, key: str, into: str = "") -> None:
        below = self.tops.get(t)
        if below is None:
            return
        node, target = self.p.nodes[below[0]], self.p.nodes[key]
        out = below[1] or (f"n{target.x - node.x:+g}" if target.x != node.x and not into else "n" if into else "")
        self.p.arrow(below[0], key, out=out, into=into or ("s" if below[1] else ""))

    def _say(self, y: float, note: str) -> None:
        edge = self.real[0][1] - 48 if self.side == "l" else self.real[-1][1] + 48
        self.p.note(edge, y, note, "r" if self.side == "l" else "l", 10)


def _label(letter: str, t: str, number: str = "") -> str:
    return f"${letter}_{{{t}}}^{{({number})}}$" if number else f"${letter}_{{{t}}}$"
