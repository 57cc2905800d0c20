"""Spans (names, phrases) written as a tag for each word: IOB1, IOB2, IOBES, and each into the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SCHEMES = ("iob1", "iob2", "iobes")
MARKED = re.compile(r"[BIESLU](-.+)?")
LIKE = {"L": "E", "U": "S"}  # BILOU writes L(ast) and U(nit) for what IOBES calls E(nd) and S(ingle)

Span = tuple[int, int, str]
"""First word, the word after the last, and the type."""


def scheme_of(sequences: Iterable[Sequence[str]]) -> str | None:
    """How spans are marked in these tags: "iob1", "iob2", "iobes" (BILOU too), or None where the tags are no spans.

    IOB1 (Ramshaw & Marcus 1995) writes B only where a span follows one of its own type; IOB2 at the start of each.
    Where a span begins with I and another, behind none of its type, with B, it is IOB2 with mistakes.
    """
    marks, bare, inside_first, b_first = set(), set(), False, False
    for tags in sequences:
        before = ("O", "")
        for tag in tags:
            if tag != "O" and not MARKED.fullmatch(tag):
                return None
            mark, kind = split_tag(tag)
            marks.add(mark)
            bare.add(len(tag) == 1 and tag != "O")
            touches = before[0] != "O" and before[1] == kind
            inside_first |= mark == "I" and not touches
            b_first |= mark == "B" and not touches
            before = (mark, kind)
    if not marks - {"O"} or (True in bare and ("B" not in marks or "O" not in marks)):
        return None
    if marks & {"E", "S"}:
        return "iobes"
    return "iob1" if inside_first and not b_first else "iob2"


def split_tag(tag: str) -> tuple[str, str]:
    """``B-PER`` to ("B", "PER"), BILOU's letters as IOBES's; ``O`` to ("O", "")."""
    mark, _, kind = tag.partition("-")
    return LIKE.get(mark, mark), kind


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The spans in tags of any of the schemes, valid or not, as conlleval (Tjong Kim Sang & Buchholz 2000) reads them:
    B and S begin one, E and S end one, and so does every change of type."""
    found: list[Span] = []
    start, before = None, ("O", "")
    for k, tag in enumerate([*tags, "O"]):
        mark, kind = split_tag(tag)
        goes_on = mark in ("I", "E") and before[0] in ("B", "I") and before[1] == kind
        if start is not None and not goes_on:
            found.append((start, k, before[1]))
            start = None
        if start is None and mark != "O":
            start = k
        before = (mark, kind)
    return found


def marked(spans: Iterable[Span], length: int, scheme: str) -> list[str]:
    """The tags of ``length`` words in which these spans, which do not overlap, stand."""
    tags = ["O"] * length
    end, last = -1, ""
    for first, stop, kind in sorted(spans):
        name = f"-{kind}" if kind else ""
        touches = first == end and kind == last
        tags[first:stop] = ["I" + name] * (stop - first)
        if scheme != "iob1" or touches:
            tags[first] = "B" + name
        if scheme == "iobes":
            tags[stop - 1] = ("S" if stop - first == 1 else "E") + name
        end, last = stop, kind
    return tags


def convert(tags: Sequence[str], scheme: str) -> list[str]:
    """The same spans in another scheme."""
    return marked(spans_of(tags), len(tags), scheme)
