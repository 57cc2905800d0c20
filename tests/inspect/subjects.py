"""Subjects over small language models and made texts."""

from __future__ import annotations

import torch

from unrolled.inspect.subject import Subject, Text
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel


def quoted_text(length: int) -> str:
    """Made prose, with quotations, lines, and what a page must survive."""
    generator = torch.Generator().manual_seed(1)
    words = ["so", "it", "went", "on", "</script>", "naïve", "中文", "<!--", "&amp;", "(yes)", "\t", "\\"]
    parts, inside = [], False
    while sum(map(len, parts)) < length:
        word = words[int(torch.randint(len(words), (), generator=generator))]
        if torch.rand((), generator=generator) < 0.12:
            word, inside = (word + '"', False) if inside else ('"' + word, True)
        parts.append(word + ("\n" if torch.rand((), generator=generator) < 0.1 else " "))
    return "".join(parts)[:length]


def subject(
    text: str, *, trained: bool = True, fresh_every: int | None = None, name: str = "made", **shape: object
) -> Subject:
    """A language model over the characters of ``text``; ``trained`` only means that its twin is another."""
    torch.manual_seed(7)
    vocabulary = sorted(set(text) | set('ab"\n'))
    config = LanguageConfig(**{"hidden": 12, "layers": 1, **shape})
    model, twin = (LanguageModel(len(vocabulary), config).eval() for _ in range(2))
    with torch.no_grad():
        model.head.weight *= 3
    ids = torch.tensor([vocabulary.index(c) for c in text], dtype=torch.int64)
    fresh = None
    if fresh_every:
        fresh = torch.zeros(len(ids), dtype=torch.bool)
        fresh[::fresh_every] = True
    data = Text(ids, list(text), vocabulary, ids, fresh)
    return Subject(name, "language", model, twin if trained else model, lambda *_: None, data)  # type: ignore[arg-type, return-value]
