"""``unrolled evaluate`` for a language model: its loss on held-out text, again or in another way."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from unrolled.cli.console import unit_name
from unrolled.cli.loaded import load_language
from unrolled.cli.options import Given, Weights, check_weights, options
from unrolled.errors import UserError


@options()
def evaluate(
    given: Given,
    run: Annotated[str, typer.Argument(help="model folder, name in runs/, or @latest")] = "@latest",
    texts: Annotated[
        list[str] | None, typer.Argument(help="the training text, where it has moved", metavar="[TEXT]...")
    ] = None,
    part: Annotated[str, typer.Option("--part", help="test, dev or train")] = "test",
    streams: Annotated[int, typer.Option("--eval-streams", help="streams; 1 is the exact single stream", min=1)] = 16,
    windows: Annotated[
        int, typer.Option("--windows", help="also over this many random windows, each from a zero state", min=0)
    ] = 0,
    window_length: Annotated[
        int | None, typer.Option("--window-length", help="units in a random window (default: --bptt of the run)", min=1)
    ] = None,
    weights: Weights = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON")] = False,
    threads: Annotated[int | None, typer.Option("--threads", help="threads (default: torch's choice)", min=1)] = None,
) -> None:
    """Measure a trained model on its held-out text: every unit once, with carried state."""
    if part not in ("test", "dev", "train"):
        raise UserError(f"--part {part}: not one of test, dev, train")
    check_weights(weights)
    loaded = load_language(run, threads)
    from unrolled.data.corpus import load_corpus
    from unrolled.data.units import UnknownUnitError
    from unrolled.tasks.language import evaluation

    source = loaded.trained_on(texts)
    other = f": not the text that {run} was trained on, or it has changed; unrolled score takes any text"
    try:
        corpus = load_corpus(source, loaded.text, units=loaded.units)
    except UnknownUnitError:  # so the vocabulary is not of this text
        raise UserError(f"{source.label}{other}") from None
    if corpus.digest != loaded.config["data"].get("digest"):
        raise UserError(f"{corpus.label}{other}")
    if windows and corpus.records is not None:
        raise UserError("--windows: random windows are of an unbroken text, and this one is records; leave it out")
    if corpus.parts[part].units < 1:
        raise UserError(f"--part {part}: that part of the text is empty; name another, or train with --heldout")
    found = evaluation.evaluate(loaded.model, corpus, part, streams)
    figures = {
        "part": part,
        "nats": found.nats,
        "interval": list(found.interval),
        "units": found.units,
        **found.figures,
    }
    if windows:
        length = window_length or int(loaded.config["train"]["bptt"])  # an unbroken text has it in steps
        length = min(length, corpus.parts[part].units - 1)
        figures["window_nats"] = evaluation.window_nats(loaded.model, corpus, part, windows, length, seed=1)
    if weights is not None:
        from unrolled.tasks.language.stepping import Stepped

        quantised = evaluation.evaluate(Stepped(loaded.model, weights), corpus, part, streams)
        figures |= {"weights": weights, "weights_nats": quantised.nats}
    if as_json:
        print(json.dumps(figures))
        return
    low, high = found.interval
    unit = unit_name(loaded.units.kind)
    print(f"{part:<4} loss    {found.nats:.4f} nats per {unit} (95 %: {low:.4f} to {high:.4f}), "
          f"{found.units:,} units in {min(streams, found.units):,} streams")  # fmt: skip
    for name, value in found.figures.items():
        print(f"{name:<12} {value:.4f}")
    if windows:
        print(
            f"windows      {figures['window_nats']:.4f} nats per {unit}, {windows} of {length} units, each "
            "from a zero state"
        )
    if weights is not None:
        nats = quantised.nats
        print(f"{weights:<12} {nats:.4f} nats per {unit}, a change of {nats - found.nats:+.5f}, read with such weights")
