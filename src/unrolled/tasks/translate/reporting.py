"""The figures, tables, rows and pictures of a part."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.decoding.beam import Hypothesis
from unrolled.tasks.base import Figure, Report
from unrolled.tasks.translate.baseline import baselines
from unrolled.tasks.translate.config import TranslatePredict
from unrolled.tasks.translate.corpus import WAYS, Corpus
from unrolled.tasks.translate.decode import Decoder, Translation
from unrolled.tasks.translate.score import NEEDED, Scored, compare, corpus_scores, pieces, sentence_scores

Ints = NDArray[np.int64]
SHOWN, DRAWN, BINS = 10, 6, 10
"""Errors that are listed, sentences whose attention is drawn, rows of the table by length."""


def make_report(decoder: Decoder, corpus: Corpus, part: str, options: TranslatePredict) -> Report:
    """Decode a part and say how good that is.

    Raises:
        UserError: options that the model has not.
    """
    decoder.check(options)
    rows = corpus.parts[part]
    found, scored = _decoded(decoder, corpus, rows, options)
    kind, text = decoder.target.units.kind, decoder.target.units.kind in ("word", "bpe")
    report = Report(scored.figures(text=text))
    sources, references = [corpus.pairs.sources[k] for k in rows], scored.references
    learnt = corpus.parts.get("train", np.zeros(0, np.int64)) if part != "train" else np.zeros(0, np.int64)
    report.baselines = baselines(
        sources, references, [corpus.pairs.sources[k] for k in learnt], [corpus.pairs.targets[k] for k in learnt],
        kind, text=text,
    )  # fmt: skip
    if text:
        signed = [f"{name:<6} {sign}" for name, (_, sign) in corpus_scores(scored.predicted, references).items()]
        report.tables.append(("sacrebleu, on detokenised text", "\n".join(signed) or NEEDED))
    report.tables.append(("by the length of the source", _by_length(decoder, sources, scored, text)))
    report.tables.append(("errors it is surest of", _surest(sources, found, scored)))
    if part == "test" and len(corpus.parts.get(WAYS, ())):
        report.figures |= _unseen_ways(decoder, corpus, options)
    report.rows = [
        {
            "input": source, "target": several[0], "predicted": one.text, "right": int(right), "edits": int(edits),
            "units": int(wanted), "references": several, "log_probability": round(one.found.log_probability, 4),
            "ended": int(one.found.ended), "unknown": one.unknown,
        }
        for source, several, one, right, edits, wanted in zip(
            sources, references, found, scored.right, scored.edits, scored.wanted, strict=True
        )
    ]  # fmt: skip
    report.pictures = _pictures(decoder, sources, options)
    return report


def _decoded(
    decoder: Decoder, corpus: Corpus, rows: Ints, options: TranslatePredict
) -> tuple[list[Translation], Scored]:
    texts = [corpus.pairs.sources[k] for k in rows]
    if options.replace_unknown:
        found = [several[0] for several in decoder.translate(texts, options)]
    else:
        found = [decoder.spell("", several[0]) for several in decoder.search(corpus.sources.take(rows), options)]
    references = [corpus.pairs.targets[k] for k in rows]
    return found, compare([one.text for one in found], references, decoder.target.units.kind)


def quick_figures(decoder: Decoder, corpus: Corpus, rows: Ints) -> dict[str, float]:
    """``wer`` and ``uer`` of greedy translations of these sources."""
    _, scored = _decoded(decoder, corpus, rows, TranslatePredict())
    return {name: figure.value for name, figure in scored.figures(text=False).items()}


def _unseen_ways(decoder: Decoder, corpus: Corpus, options: TranslatePredict) -> dict[str, Figure]:
    """How generated dates fare that are written in ways never learnt from."""
    _, scored = _decoded(decoder, corpus, corpus.parts[WAYS], options)
    return {"wer_unseen_formats": scored.figures(text=False)["wer"]}


def _by_length(decoder: Decoder, sources: list[str], scored: Scored, text: bool) -> str:
    """A histogram: sequences, and how they fare, by units of their source."""
    lengths = np.array([len(pieces(source, decoder.source.units.kind)) for source in sources])
    if not len(lengths):
        return "nothing"
    edges = np.unique(lengths)
    if len(edges) > BINS:
        edges = np.unique(np.quantile(lengths, np.linspace(0, 1, BINS + 1)[:-1]).astype(int))
    lines = ["units    sequences     wer     uer" + ("    bleu" if text else "")]
    most = max(1, int(np.histogram(lengths, [*edges, lengths.max() + 1])[0].max()))
    for k, low in enumerate(edges):
        high = edges[k + 1] - 1 if k + 1 < len(edges) else int(lengths.max())
        rows = np.flatnonzero((lengths >= low) & (lengths <= high))
        wer, uer = 1 - scored.right[rows].mean(), scored.edits[rows].sum() / max(1, scored.wanted[rows].sum())
        line = f"{low:>3}" + (f"-{high:<3}" if high > low else "    ") + f"{len(rows):>10,}  {wer:>6.3f}  {uer:>6.3f}"
        if text:
            bleu = sentence_scores([scored.predicted[i] for i in rows], [scored.references[i] for i in rows])
            line += f"  {bleu:>6.2f}" if bleu is not None else "       -"
        lines.append(line + "  " + "#" * round(30 * len(rows) / most))
    return "\n".join(lines)


def _surest(sources: list[str], found: list[Translation], scored: Scored) -> str:
    wrong = [k for k in range(len(found)) if not scored.right[k]]
    wrong.sort(key=lambda k: -found[k].found.log_probability / (len(found[k].found.ids) + 1))
    lines = [f"{sources[k]}  ->  {found[k].text}  (not {' / '.join(scored.references[k][:3])})" for k in wrong[:SHOWN]]
    return "\n".join(lines) or "none"


# -- pictures --------------------------------------------------------------------------------------------------


def _pictures(decoder: Decoder, sources: list[str], options: TranslatePredict) -> dict[str, Callable[[Path], None]]:
    """Attention over a few sentences, of different lengths."""
    if decoder.model.attention is None or not sources:
        return {}
    order = sorted(range(len(sources)), key=lambda k: (len(sources[k]), k))
    chosen = [sources[order[int(k)]] for k in np.unique(np.linspace(0.5, 0.98, DRAWN) * (len(order) - 1)).astype(int)]
    return {
        f"attention-{k + 1}.png": functools.partial(draw_attention, decoder, source, options)
        for k, source in enumerate(chosen)
    }


def draw_attention(decoder: Decoder, source: str, options: TranslatePredict, path: Path) -> None:
    """Draw where the model looked for each unit that it wrote: the source's units across, its own down."""
    ids = decoder.source.encode([source])
    one: Hypothesis = decoder.search(ids, options, keep_weights=True)[0][0]
    if one.weights is None or not len(one.weights):
        return
    across, down = decoder.source.names(ids[0]), decoder.target.names([*one.ids, *([decoder.target.end] * one.ended)])
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(1.5 + 0.35 * len(across), 1.2 + 0.32 * len(down)), layout="constrained")
    axes: Any = figure.add_subplot()
    image = axes.imshow(one.weights[:, : len(across)].numpy(), cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(
        range(len(across)), [_visible(name) for name in across], rotation=90 if max(map(len, across)) > 2 else 0
    )
    axes.set_yticks(range(len(down)), [_visible(name) for name in down])
    axes.xaxis.tick_top()
    axes.set_xlabel("read")
    axes.set_ylabel("written")
    figure.colorbar(image, ax=axes, shrink=0.7, label="weight")
    figure.savefig(path, dpi=120)


def _visible(name: str) -> str:
    """matplotlib takes ``$`` for mathematics."""
    return name.removeprefix("␣").replace("$", r"\$") or "␣"
