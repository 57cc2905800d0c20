"""``unrolled sample``: write text with a trained model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unrolled.cli.loaded import Loaded, load_language
from unrolled.cli.options import Given, Weights, check_weights, options
from unrolled.data.config import UNKNOWN
from unrolled.data.wording import unknowns_note
from unrolled.decoding.config import SampleConfig
from unrolled.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


@options(SampleConfig)
def sample(
    given: Given,
    run: Annotated[str, typer.Argument(help="model folder, name in runs/, or @latest")] = "@latest",
    prompt: Annotated[str | None, typer.Option("--prompt", help="text to go on from; - reads standard input")] = None,
    prompt_file: Annotated[
        str | None, typer.Option("--prompt-file", help="file that holds the prompt; - is standard input")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="how many samples", min=1)] = 1,
    unknown: Annotated[
        str, typer.Option("--unknown", help=f"units of the prompt that the vocabulary lacks: {', '.join(UNKNOWN)}")
    ] = "error",
    weights: Weights = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
    threads: Annotated[int | None, typer.Option("--threads", help="threads (default: torch's choice)", min=1)] = None,
) -> None:
    """Write text with a trained model, after a prompt or from nothing. The same seed gives the same text."""
    config = given.build(SampleConfig)
    if unknown not in UNKNOWN:
        raise UserError(f"--unknown {unknown}: not one of {', '.join(UNKNOWN)}")
    check_weights(weights)
    start = _prompt(prompt, prompt_file)
    loaded = load_language(run, threads)
    from unrolled.tasks.language.writing import write_all

    divided = n > 1 and loaded.units.end_text != "\n"
    written = []
    samples = write_all(loaded.model, loaded.units, start, config, n=n, unknown=unknown, weights=weights)
    for note in unknowns_note(loaded.units.unknowns, unknown):
        print(f"  {note}", file=sys.stderr)
    for index, pieces in enumerate(samples):
        if as_json:
            text = "".join(pieces)
            print(json.dumps({"prompt": start, "text": text, "seed": config.seed, "index": index}, ensure_ascii=False))
        else:
            text = _stream(start, pieces, divider=divided and index + 1 < n)
        written.append(start + text)
    if weights in ("bf16", "int8"):
        _tell_cost(loaded, weights, written[0])
    if loaded.units.end is not None and n > 1:
        _tell_novelty(loaded, written)


def _prompt(prompt: str | None, prompt_file: str | None) -> str:
    if prompt is not None and prompt_file is not None:
        raise UserError("--prompt and --prompt-file: give one")
    if prompt_file is None and prompt != "-":
        return prompt or ""
    where = "standard input" if "-" in (prompt, prompt_file) else f"--prompt-file {prompt_file}"
    try:
        data = sys.stdin.buffer.read() if where == "standard input" else Path(str(prompt_file)).read_bytes()
        return data.decode("utf-8")
    except OSError as error:
        raise UserError(f"{where}: {error.strerror or error}; check the path") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 at byte {error.start}; convert it") from None


def _stream(start: str, pieces: Iterator[str], *, divider: bool) -> str:
    """Write as the model writes."""
    from unrolled.cli.console import printable

    print(printable(start), end="", flush=True)
    text = ""
    for piece in pieces:
        print(printable(piece), end="", flush=True)
        text += piece
    print("\n" + "-" * 16 if divider else "")
    return text


def _tell_cost(loaded: Loaded, weights: str, text: str) -> None:
    """What the quantised weights cost, measured on the first sample with its prompt."""
    from unrolled.tasks.language.stepping import divergence
    from unrolled.tasks.language.writing import start_ids

    ids, _ = start_ids(loaded.units, text, "skip")
    if len(ids):
        nats, n = divergence(loaded.model, weights, ids)
        print(f"{weights} weights cost {nats:.5f} nats a unit, mean divergence from the trained ones over {n:,} units "
              f"of this text; for held-out text: unrolled evaluate --weights {weights}", file=sys.stderr)  # fmt: skip


def _tell_novelty(loaded: Loaded, written: list[str]) -> None:
    """For independent records: how many samples the training text does not hold, and how many repeat one another."""
    from unrolled.data.decode import TextReader, record_groups
    from unrolled.tasks.language.scoring import novelty

    assert loaded.units.end_text is not None
    try:
        source = loaded.trained_on(None)
    except UserError as error:
        print(f"novelty not known: {error}", file=sys.stderr)
        return
    groups = record_groups(TextReader(source, loaded.text.encoding).blocks(), loaded.units.end_text)
    novel, repeated = novelty(written, (record for group in groups for record in group.records))
    print(f"{100 * novel:.0f} % of {len(written)} samples stand nowhere in {source.label}, "
          f"{100 * repeated:.0f} % repeat an earlier one", file=sys.stderr)  # fmt: skip
