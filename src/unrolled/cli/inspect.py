"""``unrolled inspect``: a network looked into, as one page and the same numbers as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.options import Given, options
from unrolled.errors import UserError
from unrolled.inspect.config import InspectConfig

if TYPE_CHECKING:
    from unrolled.inspect.subjects.opening import Opened


@options(InspectConfig)
def inspect(
    given: Given,
    run: Annotated[
        str | None, typer.Argument(help="model folder, name in runs/, or @latest (with --preset: the first text)")
    ] = None,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="text or data to read (default: what was held out of the training's)", metavar="[TEXT]..."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="look into the network of a preset, not yet trained")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", help="set another model on the same text, or another text, beside it", metavar="RUN|TEXT"
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", help="the page (default: inspect.html in the run's folder); the numbers go beside it, as .json"
        ),
    ] = None,
    diagram: Annotated[
        bool,
        typer.Option(
            "--diagram",
            help="draw the unrolled network and the inside of its cell, as SVG and PDF; "
            "without RUN and --preset all pictures of the lecture. --out is a folder then",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the numbers as one JSON object, too")] = False,
    threads: Annotated[int | None, typer.Option("--threads", help="threads (default: torch's choice)", min=1)] = None,
) -> None:
    """Look into a network: does its gradient reach back, how far does it remember, which unit does what.

    Writes one self-contained HTML page, and the same numbers as JSON beside it.
    """
    config = given.build(InspectConfig)
    if preset is not None and against is not None:
        raise UserError("--against: sets two trained models side by side; leave --preset out")
    texts = list(paths or [])
    if preset is not None:
        texts = [run, *texts] if run is not None else texts
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if diagram and run is None and preset is None:
        _draw_all(Path(out or "diagrams"))
        return
    if out is not None and not diagram and Path(out).suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--out {out}: the page is HTML; give a name that ends in .html")
    opened = _preset(preset, texts, config) if preset is not None else _run(run or "@latest", texts, config)
    if diagram:
        _draw(opened, Path(out or opened.subject.run or "."))
        return
    other = None if against is None else _other(against, run or "@latest", texts, config)
    page = Path(out) if out is not None else Path(opened.subject.run or ".") / _name(preset)
    _write(opened, other, config, page, as_json)


def _name(preset: str | None) -> str:
    return "inspect.html" if preset is None else f"inspect-{Path(preset).stem}.html"


def _run(run: str, paths: list[str], config: InspectConfig) -> Opened:
    from unrolled.bundle.model import load, resolve
    from unrolled.inspect.subjects.opening import from_run
    from unrolled.tasks.registry import find

    found = load(resolve(run))
    kind = find(found.config["task"], f"{run}: task")
    return from_run(kind, found, paths, config)


def _other(against: str, run: str, paths: list[str], config: InspectConfig) -> Opened:
    """What stands beside: the same model on another text, where that is a file, or another model on the same one."""
    if not Path(against).is_file():
        return _run(against, paths, config)
    import dataclasses

    opened = _run(run, [against], config)
    name = f"{opened.subject.name} on {Path(against).name}"
    return dataclasses.replace(opened, subject=dataclasses.replace(opened.subject, name=name))


def _preset(name: str, paths: list[str], config: InspectConfig) -> Opened:
    from unrolled.inspect.subjects.opening import reading, untrained_preset
    from unrolled.presets import load_preset, preset_task
    from unrolled.settings import from_dict
    from unrolled.tasks.registry import find

    kind = find(preset_task(name) or "language", f"--preset {name}: task")
    preset = load_preset(name, kind)
    classes: tuple[Any, Any] = kind.configs()
    data, shape = (from_dict(c, table, name) for c, table in zip(classes, (preset.data, preset.model), strict=True))
    return untrained_preset(kind, name, reading(data, config), shape, paths, config)


def _draw_all(folder: Path) -> None:
    from unrolled.bundle.files import disk_errors
    from unrolled.inspect.diagrams import draw_all

    with disk_errors(folder):
        made = draw_all(folder, ("svg", "pdf"))
    print(f"{len(made)} files in {folder}: {', '.join(dict.fromkeys(path.stem for path in made))}")


def _draw(opened: Opened, folder: Path) -> None:
    """The unrolled graph of a network, and the inside of its cell where that is drawn."""
    from unrolled.bundle.files import disk_errors
    from unrolled.inspect.diagrams import diagram

    model = opened.subject.model
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, inside in (("diagram", False), ("diagram-cell", True)):
            try:
                made = diagram(model, inside=inside)
            except ValueError as error:
                if not inside:
                    raise UserError(f"--diagram {opened.subject.name}: {error}") from None
                print(f"  the cell's inside is left out: {error}")
                continue
            for ending in ("svg", "pdf"):
                print(made.save(folder / f"{name}.{ending}"))


def _write(opened: Opened, other: Opened | None, config: InspectConfig, page: Path, as_json: bool) -> None:
    from unrolled.bundle.files import disk_errors, replace_file
    from unrolled.cli.console import Stages
    from unrolled.inspect.report import report

    stages = Stages()
    try:
        made = report(opened, config, other=other, progress=stages)
    finally:
        stages.close()
    numbers = json.dumps(made.numbers, ensure_ascii=False)
    with disk_errors(page):
        page.parent.mkdir(parents=True, exist_ok=True)
        replace_file(page, made.page.encode("utf-8", "replace"))
        replace_file(page.with_suffix(".json"), (numbers + "\n").encode("utf-8", "replace"))
    if as_json:
        print(numbers)
        return
    for title, verdict in made.verdicts:
        print(title)
        for line in verdict:
            print(f"  {line}")
    print(f"page     {page} ({len(made.page) / 1e6:.1f} MB)")
    print(f"numbers  {page.with_suffix('.json')}")
