"""Running text into words, as treebanks of English cut it."""

from __future__ import annotations

import re

_WORD = re.compile(
    r"""
      (?:https?://|www\.)\S*[^\s.,;:!?'")\]}>]              # an address
    | [\w.+-]+@[\w-]+(?:\.[\w-]+)+                          # of mail
    | \d+(?:[.,:/]\d+)*\w*                                  # 1,000.50  10:30  3rd
    | (?:[A-Za-z]\.){2,}                                    # U.S.
    | (?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc)\.               # a full stop that ends no sentence
    | \w+?(?=n['’]t\b) | n['’]t\b                           # do n't, ca n't
    | ['’](?:s|re|ve|ll|d|m)\b                              # John 's, we 're
    | \w+
    | ([^\w\s])\1*                                          # a mark, or a run of one: ... -- !!
    """,
    re.VERBOSE | re.IGNORECASE,
)


def cut_words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, and each other mark by itself.

    Addresses, numbers with their points, ``U.S.`` and a few titles stay whole; ``n't`` and ``'s 're 've 'll 'd 'm`` are
    words of their own; a hyphen stands between words. Nothing is changed and nothing but white space is left out.
    """
    return [found.group() for found in _WORD.finditer(text)]
