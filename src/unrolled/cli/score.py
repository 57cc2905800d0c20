"""``unrolled score``: how probable a text is to a trained model."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.console import unit_name
from unrolled.cli.loaded import Loaded, load_language
from unrolled.cli.options import Given, options
from unrolled.data.config import UNKNOWN
from unrolled.data.wording import unknowns_note
from unrolled.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unrolled.data.text import Source


@options()
def score(
    given: Given,
    run: Annotated[str, typer.Argument(help="model folder, name in runs/, or @latest")],
    texts: Annotated[
        list[str], typer.Argument(help="files, folders, globs, or - for standard input", metavar="TEXT...")
    ],
    lines: Annotated[bool, typer.Option("--lines", help="score each line by itself, from a fresh state (TSV)")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of a table or TSV")] = False,
    unknown: Annotated[
        str | None, typer.Option("--unknown", help=f"units that the vocabulary lacks: {', '.join(UNKNOWN)}")
    ] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="encoding (default: that of the training)")] = None,
    streams: Annotated[
        int | None,
        typer.Option("--eval-streams", help="read in this many streams; 1 is exact (default by length)", min=1),
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="threads (default: torch's choice)", min=1)] = None,
) -> None:
    """Score a text: log-probability, perplexity, bits per character and bits per byte of the file."""
    if unknown is not None and unknown not in UNKNOWN:
        raise UserError(f"--unknown {unknown}: not one of {', '.join(UNKNOWN)}")
    loaded = load_language(run, threads)
    from unrolled.data.text import open_source

    source, encoding = open_source(texts), encoding or loaded.text.encoding
    unknown = unknown or loaded.text.unknown
    if lines:
        _score_lines(loaded, source, encoding, unknown, as_json)
        return
    figures = _score_whole(loaded, source, encoding, unknown, streams)
    if as_json:
        print(json.dumps(figures))
        return
    unit = unit_name(loaded.units.kind)
    print(f"text             {figures['text']}: {figures['units']:,} x {unit} scored")
    print(f"log-probability  {figures['log_probability']:.3f} nats")
    print(f"loss             {figures['nats_per_unit']:.4f} nats per {unit}")
    print(f"perplexity       {figures['perplexity']:.4f} per {unit}")
    print(f"bpc              {figures['bpc']:.4f} bits per character")
    print(f"bpb              {figures['bpb']:.4f} bits per byte of the file")


def _score_whole(loaded: Loaded, source: Source, encoding: str, unknown: str, streams: int | None) -> dict[str, Any]:
    """The whole text, through a memory-mapped token file: any size."""
    import dataclasses

    from unrolled.data.corpus import load_corpus
    from unrolled.tasks.language.scoring import score_corpus

    config = dataclasses.replace(loaded.text, encoding=encoding, unknown=unknown, heldout=0.0, dev=0.0)
    corpus = load_corpus(source, config, units=loaded.units)
    for note in corpus.notes:
        print(f"  {note}", file=sys.stderr)
    return {"text": corpus.label} | score_corpus(loaded.model, corpus, streams).to_dict()


def _score_lines(loaded: Loaded, source: Source, encoding: str, unknown: str, as_json: bool) -> None:
    from unrolled.data.decode import TextReader
    from unrolled.tasks.language.scoring import score_lines

    def texts() -> Iterator[str]:
        rest = ""
        for block in TextReader(source, encoding).blocks(check=loaded.units.kind != "byte"):
            *whole, rest = (rest + block.text).split("\n")
            yield from whole
            if block.last and rest:
                yield rest
                rest = ""

    kept: list[str] = []  # score_lines reads ahead; a line is shown beside its score

    def noted() -> Iterator[str]:
        for line in texts():
            kept.append(line)
            yield line

    if not as_json:
        print("nats\tunits\tbpc\tline")
    for score_of in score_lines(loaded.model, loaded.units, noted(), unknown=unknown, where=source.label):
        line = kept.pop(0)
        if as_json:
            print(json.dumps({"line": line} | score_of.to_dict(), ensure_ascii=False))
        else:
            shown = line.replace("\\", "\\\\").replace("\t", "\\t")
            print(f"{score_of.nats:.4f}\t{score_of.units}\t{score_of.bpc:.4f}\t{shown}")
    for note in unknowns_note(loaded.units.unknowns, unknown):
        print(f"  {note}", file=sys.stderr)
