"""``unrolled predict``: what a trained model answers. The flags are those of the model's task."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Annotated, Any

import typer

from unrolled.cli.options import Given, options
from unrolled.cli.tasks import task_of_answering
from unrolled.errors import UserError
from unrolled.tasks.registry import TaskKind, available
from unrolled.tasks.registry import resolve as resolve_name


def for_arguments(arguments: Sequence[str]) -> Callable[..., None]:
    """The verb with the flags of the task of the run that these arguments name; without a run, with its own alone."""
    return verb_for(task_of_answering(arguments))


def verb_for(kind: TaskKind | None) -> Callable[..., None]:
    """``unrolled predict`` for models of one task."""
    config = None if kind is None or kind.predict is None else resolve_name(kind.predict)

    def predict(
        given: Given,
        run: Annotated[
            str, typer.Argument(help="model folder, name in runs/, or @latest (the default without any INPUT)")
        ] = "@latest",
        inputs: Annotated[
            list[str] | None,
            typer.Argument(help="inputs as they stand (paths, where the task's inputs are files); - reads standard "
                           "input, one a line", metavar="[INPUT]..."),
        ] = None,
        file: Annotated[
            str | None, typer.Option("--file", help="file of inputs, one a line; - is standard input")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="one JSON object a line")] = False,
        threads: Annotated[
            int | None, typer.Option("--threads", help="threads (default: torch's choice)", min=1)
        ] = None,
    ) -> None:  # fmt: skip
        _answer(kind, run, _inputs(inputs or [], file), given.build(config) if config else None, as_json, threads)

    predict.__doc__ = "Answer with a trained model: a class, tags, a sequence or a number for each input."
    if kind is None:
        tasks = ", ".join(k.name for k in available() if k.predict)
        predict.__doc__ += f"\n\nThe flags of a run's task ({tasks}) are told by unrolled predict RUN --help."
    return options(**({} if config is None else {"Answering": config}))(predict)


def _answer(
    kind: TaskKind | None, run: str, inputs: Iterator[str], config: Any, as_json: bool, threads: int | None
) -> None:
    from unrolled.cli.console import printable
    from unrolled.cli.loaded import load_predictor

    if kind is None or config is None:
        _refuse(run)
    assert kind is not None
    _, predictor = load_predictor(kind, run, threads)
    for prediction in predictor.predict(inputs, config):
        if as_json:
            print(json.dumps(prediction.json, ensure_ascii=False), flush=True)
        else:
            print(printable(prediction.text), flush=True)


def _refuse(run: str) -> None:
    """Say what is wrong with a run that gives no answers: it is not there, or a language model."""
    from unrolled.bundle.model import load, resolve

    found = load(resolve(run))
    raise UserError(
        f"{run}: a {found.config['task']} model; use unrolled sample {run}, or unrolled score {run} FILE"
        if found.config["task"] == "language"
        else f"{run}: a model of the task {found.config['task']}, which this version does not know: upgrade unrolled"
    )


def _inputs(literal: list[str], file: str | None) -> Iterator[str]:
    """The inputs, as they come.

    Raises:
        UserError: none, literal ones and a file, or a file that cannot be read.
    """
    if literal == ["-"] and file is None:
        file = "-"
    elif literal and file is not None:
        raise UserError("INPUT and --file: give one")
    if file is not None:
        return _lines(file)
    if not literal:
        raise UserError("nothing to answer: give INPUT, --file FILE, or - for standard input")
    return iter(literal)


def _lines(file: str) -> Iterator[str]:
    where = "standard input" if file == "-" else f"--file {file}"
    if file == "-":
        return _decoded(sys.stdin.buffer, where)
    try:
        return _decoded(open(file, "rb"), where)
    except OSError as error:
        raise UserError(f"{where}: {error.strerror or error}; check the path") from None


def _decoded(stream: IO[bytes], where: str) -> Iterator[str]:
    with stream:
        for number, line in enumerate(stream, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{where}: line {number} is not UTF-8 at its byte {error.start}; convert it") from None
            yield text.rstrip("\r\n")
