"""How pairs of sequences are read, and what they are compared by: one Unicode form, plain spaces, words.

No torch and no numpy here.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata

FORMATS = ("auto", "tsv", "parallel", "jsonl", "csv", "cmudict")
LOWERCASE = ("none", "source", "target", "both")
FORMS = ("nfc", "nfkc", "none")

WORD = re.compile(r"\w+(?:['’]\w+)*")
_SPACES = re.compile(r"[\s\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad]")


@dataclasses.dataclass(frozen=True)
class Reading:
    """How pairs are read.

    Attributes:
        format: one of :data:`FORMATS`; ``auto`` goes by the ending, else by the first line.
        form: Unicode normalisation, one of :data:`FORMS`: see :func:`normalise`.
        lowercase: the side that is put in lower case, one of :data:`LOWERCASE`.
        source, target: names or numbers (from 1) of the columns, where the format has any.
        reverse: what is the target becomes the source.
        stress: keep CMUdict's stress digits.
        max_words: pairs with more words on either side are left out, and counted.
        bad: what becomes of a line that is no pair: ``error`` or ``skip`` (and counted).
        encoding: of the files.
    """

    format: str = "auto"
    form: str = "nfc"
    lowercase: str = "none"
    source: str | None = None
    target: str | None = None
    reverse: bool = False
    stress: bool = False
    max_words: int | None = None
    bad: str = "error"
    encoding: str = "utf-8"


def normalise(text: str, form: str = "nfc") -> str:
    """``text`` in one Unicode form, with one plain space wherever there was white space, and none at its ends.

    ``nfc`` composes letters with their accents and keeps everything else; ``nfkc`` also writes ligatures, full-width
    and superscript characters as plain ones. Both make plain spaces of no-break and thin ones (French has them before
    ``!`` and ``?``), and drop characters that are not seen: the byte-order mark, zero-width space and joiner, soft
    hyphen. ``none`` leaves the text as it is, but for white space at its ends.
    """
    if form == "none":
        return text.strip()
    text = unicodedata.normalize("NFKC" if form == "nfkc" else "NFC", text)
    return _SPACES.sub(" ", _INVISIBLE.sub("", text)).strip()


def split_key(source: str) -> str:
    """What a source's part is decided by: its words in lower case. Two sources that differ only in case, spacing or
    punctuation are in the same part, since their translations are often the same."""
    words = WORD.findall(unicodedata.normalize("NFKC", source).casefold())
    return " ".join(words) or source


def words_of(text: str) -> int:
    """How many words a text has; a word holds its apostrophes, and punctuation is none."""
    return len(WORD.findall(text))
