"""``unrolled evaluate``: the figures of a trained model on what was held out, or on other data."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.evaluate_language import evaluate as evaluate_language
from unrolled.cli.options import Given, options
from unrolled.cli.tasks import task_of_answering
from unrolled.errors import UserError
from unrolled.tasks.registry import TaskKind
from unrolled.tasks.registry import resolve as resolve_name


def for_arguments(arguments: Sequence[str]) -> Callable[..., None]:
    """The verb with the flags of the task of the run that these arguments name; the language model's without a run."""
    kind = task_of_answering(arguments)
    return evaluate_language if kind is None or kind.predict is None else verb_for(kind)


def verb_for(kind: TaskKind) -> Callable[..., None]:
    """``unrolled evaluate`` for models of one task."""
    assert kind.predict is not None
    config = resolve_name(kind.predict)

    @options(Answering=config)
    def evaluate(
        given: Given,
        run: Annotated[str, typer.Argument(help="model folder, name in runs/, or @latest")] = "@latest",
        paths: Annotated[
            list[str] | None,
            typer.Argument(help="data to measure on, all of it (default: what was held out)", metavar="[DATA]..."),
        ] = None,
        part: Annotated[str, typer.Option("--part", help="of the training data: test, dev or train")] = "test",
        predictions: Annotated[
            str | None, typer.Option("--predictions", help="write input, target and prediction of each example here")
        ] = None,
        pictures: Annotated[
            str | None, typer.Option("--pictures", help="draw the report's pictures into this folder")
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of text")] = False,
        threads: Annotated[
            int | None, typer.Option("--threads", help="threads (default: torch's choice)", min=1)
        ] = None,
    ) -> None:
        """Measure a trained model on what was held out, or on other data, beside what something simple reaches."""
        _measure(kind, run, paths, part, predictions, pictures, given.build(config), as_json, threads)

    return evaluate


def _measure(
    kind: TaskKind, run: str, paths: list[str] | None, part: str, predictions: str | None, pictures: str | None,
    config: Any, as_json: bool, threads: int | None,
) -> None:  # fmt: skip
    from unrolled.bundle.files import disk_errors
    from unrolled.cli.loaded import load_predictor
    from unrolled.cli.report import report_json, tell_report

    if part not in ("test", "dev", "train"):
        raise UserError(f"--part {part}: not one of test, dev, train")
    _, predictor = load_predictor(kind, run, threads)
    report = predictor.evaluate(paths or None, part, config)
    if as_json:
        print(json.dumps({"part": "all" if paths else part} | report_json(report), ensure_ascii=False))
    else:
        tell_report(report, "all" if paths else part)
    # Behind the figures, which a path that cannot be written must not cost.
    if predictions is not None:
        write_rows(report.rows, Path(predictions))
    if pictures is not None:
        with disk_errors(Path(pictures), "--pictures"):
            Path(pictures).mkdir(parents=True, exist_ok=True)
            for name, draw in report.pictures.items():
                draw(Path(pictures) / name)


def write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    """Rows as TSV with a header. Tabs, line ends and backslashes in a cell become ``\\t``, ``\\n``, ``\\\\``."""
    from unrolled.bundle.files import replace_file

    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["\t".join(columns), *("\t".join(_cell(row.get(column)) for column in columns) for row in rows)]
    replace_file(path, "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace"), "--predictions")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
