"""``unrolled train``: from data to a model, for any task. The flags are those of the task at hand."""

from __future__ import annotations

import dataclasses
import importlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from unrolled.cli.options import Given, options
from unrolled.cli.saved import free_folder, new_folder, old_model, saved_run
from unrolled.cli.tasks import task_of_training
from unrolled.errors import UserError
from unrolled.presets import load_preset, preset_names
from unrolled.tasks.registry import TaskKind, available
from unrolled.training.config import TrainConfig

STREAMS_ONLY = ("bptt", "stride", "skip_tail", "loss_reduction", "eval_streams", "sample_length")
"""Settings of training that are about streams: the language model has them all, another task those that it names."""

HELP = {
    "language": "Train a recurrent language model on a text, watch it learn, and keep it in a folder.",
    "": "Train a recurrent network for the task {name}: {help}.",
}
MORE = """Settings come from --preset ({preset} where none is named), and flags stand above them. A budget is --minutes,
--epochs or --steps. Ctrl-C saves and ends; --resume goes on exactly.

The tasks: {tasks}. unrolled train --task T --help tells the flags of each."""


def for_arguments(arguments: Sequence[str]) -> Callable[..., None]:
    """The verb with the flags of the task that these arguments are about."""
    kind, why = task_of_training(arguments)
    return verb_for(kind, why)


def verb_for(kind: TaskKind, why: str | None = None) -> Callable[..., None]:
    """``unrolled train`` for one task; ``why`` is said where it was not named."""
    data, model = kind.configs()
    base = load_preset(kind.preset, kind)
    title = "Text" if kind.name == "language" else "Data"
    left_out = () if kind.name == "language" else tuple(n for n in STREAMS_ONLY if n not in kind.training)
    decorate = options(
        leave_out=left_out, defaults={**base.data, **base.model, **base.train},
        **{title: data, "Model": model, "Training": TrainConfig},
    )  # fmt: skip

    def train(
        given: Given,
        paths: Annotated[
            list[str] | None,
            typer.Argument(
                help="files, folders, globs (.gz, .xz, .zst too), or - for standard input; without any, data of its "
                "own: the source of Python's standard library for the language model, generated examples for others",
                metavar="[DATA]...",
            ),
        ] = None,
        task: Annotated[
            str | None, typer.Option("--task", help="the task (default: what the data clearly is, else language)")
        ] = None,
        preset: Annotated[
            str | None,
            typer.Option("--preset", help=f"settings to start from: {', '.join(preset_names())}, or a .toml file"),
        ] = None,
        out: Annotated[str | None, typer.Option("--out", help="folder of the run (default: runs/DATE-TASK-N)")] = None,
        resume: Annotated[
            str | None,
            typer.Option("--resume", help="go on with this run, exactly where its checkpoint stands", metavar="RUN"),
        ] = None,
        init_from: Annotated[
            str | None, typer.Option("--init-from", help="start from the weights of this run", metavar="RUN")
        ] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and end")] = False,
    ) -> None:
        _go(Order(kind, given, paths or [], preset, out, resume, init_from, dry_run, why))

    words = HELP.get(kind.name, HELP[""]).format(name=kind.name, help=kind.help)
    names = ", ".join(k.name for k in available())
    train.__doc__ = f"{words}\n\n{MORE.format(preset=kind.preset, tasks=names)}"
    return decorate(train)


@dataclasses.dataclass(frozen=True)
class Order:
    """What was asked for."""

    kind: TaskKind
    given: Given
    paths: list[str]
    preset: str | None
    out: str | None
    resume: str | None
    init_from: str | None
    dry_run: bool
    why: str | None


def _go(order: Order) -> None:
    begun, kind, given = time.perf_counter(), order.kind, order.given
    data_config, model_config = kind.configs()
    paths = order.paths
    if order.resume is not None:
        for flag, value in (("--out", order.out), ("--preset", order.preset), ("--init-from", order.init_from)):
            if value is not None:
                raise UserError(f"{flag}: a resumed run keeps its own; leave it out, or start a new run")
        run, layers, paths = saved_run(kind, given, order.resume, paths)
    else:
        settings = load_preset(order.preset or kind.preset, kind)
        layers = {"model": settings.model, "data": settings.data, "train": settings.train}
        if kind.name != "language":
            layers["train"] = {"bptt": "full"} | layers["train"]
        run = new_folder(kind.name) if order.out is None else free_folder(order.out)
    start_from = None if order.init_from is None else old_model(kind, order.init_from, layers)
    data: Any = given.build(data_config, layers["data"])
    config = given.build(TrainConfig, layers["train"])
    model: Any = given.build(model_config, layers["model"])
    if order.why is not None:
        print(order.why)
    task = _open(kind, paths, data, model, config, start_from)
    if order.dry_run:
        from unrolled.cli.plan import tell_plan

        tell_plan(task, kind, config)
        return
    _train(task, kind, config, run, paths, order.resume is not None, begun)


def _open(kind: TaskKind, paths: list[str], data: Any, model: Any, config: TrainConfig, start_from: Any) -> Any:
    """Read the data and say what was found."""
    from unrolled.cli.console import Stages

    face, stages = importlib.import_module(kind.face), Stages()
    try:
        task = face.open_task(paths, data, model, config, progress=stages, start_from=start_from)
    finally:
        stages.close()
    print(task.summary)
    for note in task.notes:
        print(f"  {note}")
    return task


def _train(
    task: Any, kind: TaskKind, config: TrainConfig, run: Path, paths: list[str], resumed: bool, begun: float
) -> None:
    from unrolled.cli.console import Console
    from unrolled.cli.report import tell_language, tell_result
    from unrolled.training.keeping import ModelKeeper
    from unrolled.training.loop import Trainer
    from unrolled.training.watch import TensorBoardWatcher, plot_losses

    unit = getattr(task, "unit", kind.unit)
    console = Console(unit, getattr(task, "units_per_char", None), getattr(task, "headline", None))
    # Absolute, so that a run can be resumed from any folder.
    kept = [p if p == "-" else os.path.abspath(p) for p in paths]
    keeper = ModelKeeper(run, task, config, {"paths": kept, "label": task.label})
    told = len(task.notes)
    trainer = Trainer(
        task, config, run, watchers=[keeper, TensorBoardWatcher(run / "tensorboard"), console], resume=resumed,
        spent=time.perf_counter() - begun, baseline_seconds=getattr(task, "baseline_seconds", 0.0),
    )  # fmt: skip
    keeper.model = trainer.model
    if config.watch == "gradients":
        from unrolled.inspect.watching import watch_gradients

        trainer.probes.append(watch_gradients(task, trainer.model, config.bptt, console.on_message))
    for note in task.notes[told:]:
        print(f"  {note}")
    print(f"{task.describe()['parameters']:,} parameters; run folder {run}")
    engine, why = task.engine(trainer.model) if hasattr(task, "engine") else ("", "")
    if engine == "reference":
        print(f"  the recurrence runs step by step in plain PyTorch, which is slower: {why}")
    result = trainer.train()
    found = keeper.finish(result)
    baseline = report = None
    if result.stopped_by != "interrupted":
        if hasattr(task, "report"):
            report = keeper.report(result)
        baseline = task.baseline() if result.test is not None else None
        found = keeper.finish(result, baseline, report)
    plot_losses(run / "metrics.jsonl", run / "loss.png", baseline)
    if kind.name == "language":
        tell_language(found, run, unit)
    else:
        tell_result(found, run, unit, report)
    if result.stopped_by == "interrupted":
        raise typer.Exit(130)
