"""What a unit may follow: features of a text, one value for each position.

The convention of every two-valued feature is that of a state *after* reading: an opening mark is inside already, a
closing one no longer.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import UserError

Marks = NDArray[np.bool_]
PATTERN = "re:"


@dataclasses.dataclass(frozen=True)
class Feature:
    """One feature of a text.

    Attributes:
        name: how it is asked for, ``quotes``, ``re:[0-9]+``.
        words: what it is, for people.
        values: (N,), bool or, for a scalar, float64.
    """

    name: str
    words: str
    values: NDArray[Any]

    @property
    def two_valued(self) -> bool:
        return self.values.dtype == np.bool_


def double_quotes(text: str) -> Marks:
    """Between ``"`` and ``"``, “ and ”, « and ». An empty line ends a quotation: paragraphs may open one and not close
    it."""
    return _toggled(text, lambda k: text[k] == '"', "“„«", "”»")


def single_quotes(text: str) -> Marks:
    """Between ‘ and ’, ``'`` and ``'``: an opening one has no letter before it, a closing one no letter behind it."""

    def inner(k: int) -> bool:
        before, after = text[k - 1 : k], text[k + 1 : k + 2]
        return before.isalnum() and after.isalnum()  # don't

    inside = np.zeros(len(text), np.bool_)
    now = False
    for k, mark in enumerate(text):
        if mark == "\n" and text[k - 1 : k] in ("\n", ""):
            now = False
        elif mark == "‘":
            now = True
        elif mark in "'’" and not inner(k):
            starts = mark == "'" and not text[k - 1 : k].isalnum() and not text[k + 1 : k + 2].isspace()
            now = False if now else starts
        inside[k] = now
    return inside


def _toggled(text: str, toggles: Callable[[int], bool], opening: str, closing: str) -> Marks:
    inside = np.zeros(len(text), np.bool_)
    now = False
    for k, mark in enumerate(text):
        if mark == "\n" and text[k - 1 : k] in ("\n", ""):
            now = False
        elif mark in opening:
            now = True
        elif mark in closing:
            now = False
        elif toggles(k):
            now = not now
        inside[k] = now
    return inside


def within(text: str, pair: str) -> Marks:
    """Between an opening mark and the closing one that belongs to it; a mark without a partner opens nothing."""
    change = np.zeros(len(text) + 1, np.int64)
    opened: list[int] = []
    for k, mark in enumerate(text):
        if mark == pair[0]:
            opened.append(k)
        elif mark == pair[1] and opened:
            change[opened.pop()] += 1
            change[k] -= 1
    inside: Marks = np.cumsum(change[:-1]) > 0
    return inside


def any_brackets(text: str) -> Marks:
    """Between any of ( ), [ ] and { }."""
    return within(text, "()") | within(text, "[]") | within(text, "{}")


class PythonParts(NamedTuple):
    """Where a text is inside a string literal on one line, a triple-quoted one, and a comment."""

    short: Marks
    triple: Marks
    comments: Marks

    @property
    def strings(self) -> Marks:
        """Inside a string literal of either kind."""
        return self.short | self.triple


@functools.lru_cache(maxsize=1)  # four features of one text
def python_parts(text: str) -> PythonParts:
    """Strings and comments by Python's rules.

    A piece of a file may begin inside a docstring. Of the three ways to begin, the one counts that leaves the fewest
    lines that look like code inside strings.
    """
    code = [found.end() - 1 for found in _PYTHON_LINE.finditer(text)]
    scans = [_python_scan(text, start) for start in ("", '"""', "'''")]
    return min(scans, key=lambda parts: int(parts.strings[code].sum()))


_PYTHON_LINE = re.compile(r"^[ \t]*(?:def|class|import|from|return|elif|try|self)\b", re.MULTILINE)


_PYTHON = re.compile(r"""(?P<comment>\#[^\n]*)|(?P<open>\"\"\"|'''|"|')""")


def _python_scan(text: str, delimiter: str) -> PythonParts:
    short, triple, comments = (np.zeros(len(text), np.bool_) for _ in PythonParts._fields)
    start = at = 0
    while at < len(text):
        if delimiter:
            strings = triple if len(delimiter) == 3 else short
            at = _string_end(text, at, delimiter)
            strings[start : at - 1] = True  # the last mark closes
            if at >= len(text) and not text.endswith(delimiter):
                strings[start:] = True
            delimiter = ""
            continue
        found = _PYTHON.search(text, at)
        if not found:
            break
        start, at = found.span()
        if found["comment"]:
            comments[start:at] = True
        else:
            delimiter = found["open"]
    return PythonParts(short, triple, comments)


def _string_end(text: str, at: int, delimiter: str) -> int:
    """Behind the closing delimiter; behind the line's end where a string of one line is not closed on it."""
    ends = re.compile(r"\\.|" + re.escape(delimiter) + ("" if len(delimiter) == 3 else r"|\n"), re.DOTALL)
    while (found := ends.search(text, at)) is not None:
        at = found.end()
        if not found[0].startswith("\\"):
            return at
    return len(text)


_C = re.compile(r"""(?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z))|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?""", re.DOTALL)


def c_comments(text: str) -> Marks:
    """Inside ``//`` and ``/* */``, outside of string literals, by the rules of C, Java and JavaScript."""
    inside = np.zeros(len(text), np.bool_)
    for found in _C.finditer(text):
        if found["comment"]:
            closed = found["comment"].startswith("/*") and found["comment"].endswith("*/")
            inside[found.start() : found.end() - closed] = True
    return inside


def indentation(text: str) -> NDArray[np.float64]:
    """Columns of white space that the line begins with; a tab goes to the next multiple of 8.

    All of a line has the depth of the line, its white space too: there a network that knows the depth needs it most. A
    line with nothing else on it has the depth of the line before.
    """
    depths: list[int] = []
    before = 0
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        columns = len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(8))
        before = columns if line.strip() else before
        depths += [before] * len(line)
    return np.array(depths, np.float64)


def position_in_line(text: str) -> NDArray[np.float64]:
    """Characters since the line began: 0 at its first; the line feed is its last."""
    breaks = np.array([mark == "\n" for mark in text], np.bool_)
    index = np.arange(len(text))
    starts = np.maximum.accumulate(np.where(np.concatenate(([True], breaks[:-1])), index, 0)) if len(text) else index
    return (index - starts).astype(np.float64)


def matches(text: str, pattern: str) -> Marks:
    """Inside a match of a regular expression (``re.MULTILINE``); matches do not overlap.

    Raises:
        UserError: it is no regular expression.
    """
    try:
        compiled = re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise UserError(f"{PATTERN}{pattern}: not a regular expression ({error}); mend it, or escape what is meant "
                        "literally with a backslash") from None  # fmt: skip
    inside = np.zeros(len(text), np.bool_)
    for found in compiled.finditer(text):
        inside[found.start() : found.end()] = True
    return inside


KNOWN: dict[str, tuple[str, Callable[[str], NDArray[Any]]]] = {
    "quotes": ("inside double quotes", double_quotes),
    "single-quotes": ("inside single quotes", single_quotes),
    "any-quotes": ("inside quotes of either kind", lambda text: double_quotes(text) | single_quotes(text)),
    "parentheses": ("inside ( )", lambda text: within(text, "()")),
    "square": ("inside [ ]", lambda text: within(text, "[]")),
    "braces": ("inside { }", lambda text: within(text, "{}")),
    "brackets": ("inside brackets of any kind", any_brackets),
    "comments": ("inside a # comment", lambda text: python_parts(text).comments),
    "c-comments": ("inside a // or /* */ comment", c_comments),
    "strings": ("inside a Python string", lambda text: python_parts(text).strings),
    "short-strings": ("inside a Python string on one line", lambda text: python_parts(text).short),
    "triple-quotes": ("inside a triple-quoted Python string", lambda text: python_parts(text).triple),
    "indentation": ("indentation depth", indentation),
    "position": ("position in the line", position_in_line),
}  # fmt: skip
"""Name to words and function."""

BY_PYTHON = ("strings", "short-strings", "triple-quotes", "comments")
"""Those by the rules of Python."""


_C_LINE = re.compile(r"[;{}][ \t]*$", re.MULTILINE)


def usual(units: Sequence[str]) -> list[str]:
    """The names of :data:`KNOWN` that make sense for a text: rules of Python for what looks like Python, rules of C for
    what looks like C, the others for every text.

    In Python, quotes are strings."""
    text = "".join(units)
    lines = text.count("\n") + 1
    python = len(_PYTHON_LINE.findall(text)) >= 0.03 * lines
    c = not python and len(_C_LINE.findall(text)) >= 0.2 * lines
    prose = ("quotes", "single-quotes", "any-quotes")
    left_out = {*(prose if python else BY_PYTHON), *(() if c else ("c-comments",))}
    return [name for name in KNOWN if name not in left_out]


def make_features(names: Sequence[str], units: Sequence[str]) -> list[Feature]:
    """The features of these names over a text in units: each unit has the value of its last character.

    Args:
        names: from :data:`KNOWN`, or ``re:PATTERN``.
        units: (N,) what each unit adds to the text; an empty one has the value of the character before it.
    Raises:
        UserError: an unknown name, or what follows ``re:`` is no regular expression.
    """
    text = "".join(units)
    ends = np.maximum(np.cumsum([len(unit) for unit in units], dtype=np.int64) - 1, 0)
    made = []
    for name in names:
        if name.startswith(PATTERN):
            words, values = f"inside a match of {name[len(PATTERN) :]}", matches(text, name[len(PATTERN) :])
        elif name in KNOWN:
            words, values = KNOWN[name][0], KNOWN[name][1](text)
        else:
            raise UserError(f"unknown feature {name!r}; known are {', '.join(KNOWN)}, and re:PATTERN")
        made.append(Feature(name, words, values[ends] if text else values[:0]))
    return made


def unfit(feature: Feature, *, fewest: int = 20) -> str | None:
    """Why a feature cannot be probed for in two halves of its text; None if it can."""
    half = len(feature.values) // 2
    for part, where in ((feature.values[:half], "first"), (feature.values[half:], "second")):
        if feature.two_valued:
            held = int(part.sum())
            if held < fewest or len(part) - held < fewest:
                much = "hardly ever" if 0 < held < fewest else "never" if held < fewest else "nearly always"
                return f"it {much} holds in the {where} half ({held:,} of {len(part):,} positions)"
        elif len(part) == 0 or part.min() == part.max():
            return f"it has but one value in the {where} half"
    return None
