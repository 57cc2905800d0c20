"""What to show of captions: figures beside baselines, tables, rows, and pictures of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from unrolled.data.caption_units import caption_text, is_word
from unrolled.data.examples import Ints
from unrolled.tasks.base import Figure, Report
from unrolled.tasks.caption import pictures
from unrolled.tasks.caption.baselines import constant, nearest
from unrolled.tasks.caption.config import CaptionData
from unrolled.tasks.caption.metrics import bleu, cider, rouge_l, token_f1
from unrolled.tasks.caption.reading import CaptionCorpus
from unrolled.tasks.caption.writing import Written
from unrolled.tasks.metrics import edit_distance, mean_interval, ratio_interval, wilson

ALIKE = "every caption is the same: the model does not look at the pictures yet; train longer, or with a higher --lr"
SURE = 10
"""Wrong captions that are shown."""


def judge(said: Sequence[list[str]], references: Sequence[list[list[str]]], units: str) -> dict[str, Figure]:
    """All figures of captions.

    ``token_f1`` and ``exact`` are of a caption's best reference; ``token_f1`` counts all its units, marks too (of
    characters: what white space parts); BLEU, ROUGE-L and CIDEr leave out marks that are no words, as is usual.
    ``edit`` (characters only) is the edit distance to the nearest reference over that one's length.
    """
    n = len(said)
    words = [_words(one, units) for one in said]
    wanted = [[_words(ref, units) for ref in refs] for refs in references]
    shares = [
        token_f1(_tokens(one, units), [_tokens(ref, units) for ref in refs])
        for one, refs in zip(said, references, strict=True)
    ]
    right = sum(one in refs for one, refs in zip(said, references, strict=True))
    f1, f1_interval = mean_interval(shares)
    found = {"token_f1": Figure(f1, f1_interval), "exact": Figure(right / n, wilson(right, n))}
    if units == "char":
        near = [
            min((edit_distance(one, ref), len(ref)) for ref in refs) for one, refs in zip(said, references, strict=True)
        ]
        edits, sizes = [d for d, _ in near], [size for _, size in near]
        value, interval = sum(edits) / max(1, sum(sizes)), ratio_interval(edits, sizes)
        found["edit"] = Figure(value, interval, "edits a character", low_is_good=True)
    for k, value in enumerate(bleu(words, wanted), 1):
        found[f"bleu{k}"] = Figure(value)
    rouge, rouge_interval = mean_interval([rouge_l(one, refs) for one, refs in zip(words, wanted, strict=True)])
    found["rouge_l"] = Figure(rouge, rouge_interval)
    agreed, agreed_interval = mean_interval(cider(words, wanted))
    found["cider"] = Figure(agreed, agreed_interval)
    found["distinct"] = Figure(float(len({tuple(one) for one in said})), None, f"of {n}")
    return found


def _tokens(units: Sequence[str], kind: str) -> list[str]:
    """The units of a caption; of one in characters, what white space parts."""
    return "".join(units).split() if kind == "char" else list(units)


def _words(units: Sequence[str], kind: str) -> list[str]:
    """The tokens of a caption but for marks that are no words, unless nothing else is there."""
    parts = _tokens(units, kind)
    return [part for part in parts if is_word(part)] or parts


def report(
    corpus: CaptionCorpus, rows: Ints, written: Sequence[Sequence[Written]], data: CaptionData, *, plain: bool = False
) -> Report:
    """The report of the images ``rows``.

    Args:
        written: the captions of each, best first.
        plain: figures only, without baselines, tables and pictures.
    """
    if not len(rows):
        return Report()
    said = [row[0].units for row in written]
    references = [corpus.units[k] for k in rows.tolist()]
    found = Report(figures=judge(said, references, data.units))
    alike = len({tuple(one) for one in said}) == 1 and len(said) > 1
    if alike:
        found.tables.append(("warning", ALIKE))
    if plain:
        return found
    train = corpus.parts["train"]
    if len(train):
        copied = [corpus.units[k][0] for k in nearest(corpus.pictures, train, rows).tolist()]
        always = constant(corpus.units, train)
        for name, each in (
            ("nearest training picture", copied),
            (f"always {caption_text(always, data.units)!r}"[:80], [always] * len(rows)),
        ):
            figures = judge(each, references, data.units)
            found.baselines.append((name, {key: figure.value for key, figure in figures.items()}))
    found.rows = [
        _row(corpus.names[k], corpus.captions[k], one, data) for k, one in zip(rows.tolist(), written, strict=True)
    ]
    wrong = _surest(found.rows, written, references)
    if wrong:
        found.tables.append(("surest errors", wrong))
    common = Counter(row["predicted"] for row in found.rows).most_common(3)
    found.tables.append(("most frequent captions", "\n".join(f"{count:6,}  {text}" for text, count in common)))
    captions = [str(row["predicted"]) for row in found.rows]
    targets = [corpus.captions[k] for k in rows.tolist()]
    found.pictures["captions.png"] = pictures.grid(corpus.pictures, rows, captions, targets)
    if written[0][0].weights is not None and written[0][0].grid is not None:
        first = [row[0] for row in written[: pictures.DRAWN]]
        found.pictures["attention.png"] = pictures.attention(corpus.pictures, rows[: len(first)], first)
    return found


def _row(name: str, captions: list[str], written: Sequence[Written], data: CaptionData) -> dict[str, object]:
    best = written[0]
    return {
        "input": name,
        "target": " | ".join(captions),
        "predicted": caption_text(best.units, data.units),
        "log_probability": round(best.log_probability, 4),
        "others": " | ".join(caption_text(one.units, data.units) for one in written[1:]),
    }


def _surest(
    rows: Sequence[dict[str, object]], written: Sequence[Sequence[Written]], references: Sequence[list[list[str]]]
) -> str:
    """The wrong captions that the model found most probable."""
    wrong = [k for k, one in enumerate(written) if one[0].units not in references[k]]
    order = sorted(wrong, key=lambda k: -written[k][0].log_probability)[:SURE]
    lines = []
    for k in order:
        p = float(np.exp(written[k][0].log_probability))
        lines.append(f"{p:5.3f}  {rows[k]['input']}: {rows[k]['predicted']}  (said by people: {rows[k]['target']})")
    return "\n".join(lines)
