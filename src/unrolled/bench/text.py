"""A text to train on that needs no download: the same one everywhere, with a given number of different characters."""

from __future__ import annotations

import random
from pathlib import Path

from unrolled.data.config import TextConfig
from unrolled.data.corpus import Corpus, load_corpus
from unrolled.data.text import open_source

LETTERS = "etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLUCMFWYPVBGKJQXZ.,;:!?'-&$3 \n"
"""65 of them, as in Tiny Shakespeare; the last two are the space and the line's end."""


def make_corpus(folder: Path, size: int, *, V: int = 65) -> Corpus:
    """Random words of ``V`` different characters (at most 65), ``size`` in all, nothing held out.

    Args:
        folder: where the text and its tokens go; it must outlive the corpus, which maps them.
    """
    rng, letters = random.Random(1), LETTERS[-V:]
    words = ["".join(rng.choices(letters[:-2], k=rng.randint(1, 9))) for _ in range(500)]
    pieces, length = [letters], len(letters)
    while length < size:
        pieces.append(rng.choice(words) + (" " if rng.random() < 0.9 else "\n"))
        length += len(pieces[-1])
    path = folder / "text.txt"
    path.write_text("".join(pieces)[:size], encoding="utf-8", newline="")
    return load_corpus(open_source([str(path)]), TextConfig(heldout=0.0, dev=0.0), cache=folder / "cache")
