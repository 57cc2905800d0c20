"""Tagged sentences at hand on every machine: the lines of Python's standard library, as its ``tokenize`` cuts them,
each token with the part it plays."""

from __future__ import annotations

import io
import keyword
import tokenize
from collections.abc import Iterator
from pathlib import Path

from unrolled.data.examples import share_of
from unrolled.data.stdlib import stdlib_source
from unrolled.data.tagged import Sentence

TOKENS = 120_000
"""About so many are taken: enough to learn from in a minute."""
OF_A_FILE = 2_000
"""Of one file at most so many, from its start: files are what is held out, and there should be some."""
LEFT_OUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
            tokenize.ENDMARKER}  # fmt: skip

Token = tuple[int, str]
"""Its number in :mod:`token`, and its text."""


def python_sentences(tokens: int = TOKENS) -> tuple[list[Sentence], list[str]]:
    """Logical lines of files of the standard library, which are taken in the order of a hash of their names.

    Tags: keyword, function and class (where they are defined), module, parameter, argument (``f(name=1)``), method and
    attribute (behind a point), call, name, number, string, operator. Lines with a string of several lines are left out.

    Returns:
        The lines, and for each the file it stands in: what is split into parts.
    Raises:
        UserError: this Python keeps no sources on disk.
    """
    items = sorted(stdlib_source().items, key=lambda item: share_of(Path(item.name).name, 0))
    found: list[Sentence] = []
    files: list[str] = []
    left = tokens
    for item in items:
        if left <= 0:
            break
        rest = min(left, OF_A_FILE)
        text = b"".join(item.blocks(1 << 20)).decode("utf-8-sig")
        for number, line in logical_lines(text):
            words = [word for _, word in line]
            if any("\n" in word or not word.strip() for word in words):
                continue
            found.append(Sentence(words, line_tags(line), f"{item.name}:{number}"))
            files.append(Path(item.name).name)
            left, rest = left - len(words), rest - len(words)
            if rest <= 0:
                break
    return found, files


def logical_lines(text: str) -> Iterator[tuple[int, list[Token]]]:
    """Each line of Python with its number; it ends where the text stops being Python."""
    line: list[Token] = []
    first = 1
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type not in LEFT_OUT:
                first = first if line else token.start[0]
                line.append((token.type, token.string))
            elif token.type in (tokenize.NEWLINE, tokenize.ENDMARKER) and line:
                yield first, line
                line = []
    except (tokenize.TokenError, SyntaxError):
        pass
    if line:
        yield first, line


def cut_python(text: str) -> list[str]:
    """The tokens of some Python, comments left out; what is none is cut at white space."""
    words = [word for _, line in logical_lines(text) for _, word in line if word.strip()]
    return words or text.split()


def line_tags(line: list[Token]) -> list[str]:
    """The part that each token of a logical line plays."""
    words = [word for _, word in line]
    head = next((word for word in words if word not in ("async", "@")), "")
    depth = 0
    tags: list[str] = []
    for k, (kind, word) in enumerate(line):
        if kind == tokenize.NAME:
            before, after = words[k - 1] if k else "", words[k + 1] if k + 1 < len(words) else ""
            tags.append(_name_tag(word, before, after, head, depth))
        elif kind == tokenize.NUMBER:
            tags.append("number")
        elif kind == tokenize.OP:
            tags.append("operator")
            depth += (word in "([{") - (word in ")]}")
        else:  # a string, which newer Pythons cut into several tokens where it is formatted
            tags.append("string")
    return tags


def _name_tag(word: str, before: str, after: str, head: str, depth: int) -> str:
    if keyword.iskeyword(word):
        return "keyword"
    if before in ("def", "class"):
        return "function" if before == "def" else "class"
    if head in ("import", "from") and (head == "import" or before in ("from", ".", "...")):
        return "module"
    if before == ".":
        return "method" if after == "(" else "attribute"
    if head == "def" and depth == 1 and before in ("(", ",", "*", "**"):
        return "parameter"
    if after == "=" and depth > 0:
        return "argument"
    return "call" if after == "(" else "name"
