"""``unrolled train``: from a text to a model."""

from __future__ import annotations

import dataclasses
import datetime
import glob
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.options import Given, options
from unrolled.data.config import TextConfig
from unrolled.errors import UserError
from unrolled.presets import load_preset, preset_names
from unrolled.settings import flag_name
from unrolled.tasks.language.config import LanguageConfig
from unrolled.training.config import TrainConfig

if TYPE_CHECKING:
    from unrolled.data.corpus import Corpus
    from unrolled.data.units import Units
    from unrolled.tasks.language.task import LanguageTask

DEFAULT_PRESET = "quick"


def _shown() -> dict[str, Any]:
    """What the help gives as defaults: the default preset's settings, which always stand below the flags."""
    quick = load_preset(DEFAULT_PRESET)
    return {**quick.data, **quick.model, **quick.train}


@options(defaults=_shown(), Text=TextConfig, Model=LanguageConfig, Training=TrainConfig)
def train(
    given: Given,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="files, folders, globs (.gz, .xz, .zst too), or - for standard input; without any, the source of "
            "Python's standard library on this machine",
            metavar="[TEXT]...",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help=f"settings to start from: {', '.join(preset_names())}, or a .toml file"),
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="folder of the run (default: runs/DATE-language-N)")] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", help="go on with this run, exactly where its checkpoint stands", metavar="RUN"),
    ] = None,
    init_from: Annotated[
        str | None, typer.Option("--init-from", help="start from the weights of this run", metavar="RUN")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done, and end")] = False,
) -> None:
    """Train a recurrent language model on a text, watch it learn, and keep it in a folder.

    Settings come from --preset (quick where none is named), and flags stand above them. A budget is --minutes, --epochs
    or --steps. Ctrl-C saves and ends; --resume goes on exactly.
    """
    begun = time.perf_counter()
    if resume is not None:
        for flag, value in (("--out", out), ("--preset", preset), ("--init-from", init_from)):
            if value is not None:
                raise UserError(f"{flag}: a resumed run keeps its own; leave it out, or start a new run")
        run, layers, texts = _saved_run(given, resume, texts)
    else:
        settings = load_preset(preset or DEFAULT_PRESET)
        layers = {"model": settings.model, "data": settings.data, "train": settings.train}
        run = _new_run() if out is None else _free(out)
    start_from = None if init_from is None else _old_model(init_from, layers)
    text = given.build(TextConfig, layers["data"])
    config = given.build(TrainConfig, layers["train"])
    model = given.build(LanguageConfig, layers["model"])

    corpus = _read(texts or [], text)
    from unrolled.tasks.language.task import LanguageTask

    task = LanguageTask(corpus, model, config, data_config=text, start_from=start_from)
    if dry_run:
        _tell_plan(task, config)
        return
    _train(task, config, run, texts or [], resume is not None, begun)


def _saved_run(given: Given, name: str, texts: list[str] | None) -> tuple[Path, dict[str, dict[str, Any]], list[str]]:
    """The folder, the settings and the texts of a run that is to go on."""
    from unrolled.bundle.manifest import check_format
    from unrolled.bundle.runs import resolve

    run = resolve(name)
    try:
        saved = json.loads((run / "config.json").read_text(encoding="utf-8"))
        check_format({"format": 1} | saved, run / "config.json")
        layers = {table: dict(saved[table]) for table in ("model", "data", "train")}
        paths = list(saved["text"]["paths"])
    except OSError:
        raise UserError(f"--resume {name}: no run there (no config.json); unrolled runs lists them") from None
    except UserError:
        raise
    except (ValueError, KeyError, TypeError):
        raise UserError(f"--resume {name}: {run / 'config.json'} is damaged; restore it from a copy") from None
    layers["data"].pop("digest", None)
    _refuse_changes(given, name, layers)
    if not texts and paths == ["-"]:
        raise UserError(f"--resume {name}: its text came from standard input; give it again: TEXT, or - and pipe it")
    texts = texts or paths
    missing = next((t for t in texts if t != "-" and not glob.has_magic(t) and not Path(t).exists()), None)
    if missing is not None:
        raise UserError(f"--resume {name}: its text {missing} is not there; name it: train TEXT --resume {name}")
    return run, layers, texts


def _refuse_changes(given: Given, name: str, layers: dict[str, dict[str, Any]]) -> None:
    """Refuse a flag that would change what a run has, by its name and before anything is read."""
    from unrolled.training.resume import BUDGETS, WATCHING

    for table, config in (("data", TextConfig), ("model", LanguageConfig), ("train", TrainConfig)):
        fields = {field.name: field for field in dataclasses.fields(config)}
        for setting, new in given.values(config).items():
            old = layers[table].get(setting)
            if setting not in (*BUDGETS, *WATCHING) and new != old:
                raise UserError(
                    f"{flag_name(fields[setting])} {new}: this run has {old}, and only its budget and what is watched "
                    f"may change; start a new run with --init-from {name}"
                )


def _old_model(name: str, layers: dict[str, dict[str, Any]]) -> tuple[Any, Units]:
    """Weights and units of the run to start from; its shape and units go into ``layers``, below the flags."""
    from unrolled.bundle.model import load, resolve
    from unrolled.tasks.language.loading import load_model

    found = load(resolve(name))
    old, units, _ = load_model(found.config, found.tensors, found.tokens or {}, name)
    layers["model"] = layers["model"] | found.config["model"]
    kept = ("units", "encoding", "records", "vocab_size")
    layers["data"] = layers["data"] | {key: found.config["data"][key] for key in kept}
    return old.state_dict(), units


def _free(out: str) -> Path:
    """The folder of a new run, if nothing is in its way."""
    run = Path(out)
    if not out.strip():
        raise UserError("--out: the name is empty; name a folder")
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UserError(f"--out {out}: exists already and is not empty; name another folder, or --resume {out}")
    return run


def _new_run() -> Path:
    """runs/DATE-language-N, with the first N that is free."""
    today, number = datetime.date.today().isoformat(), 1
    while (path := Path("runs") / f"{today}-language-{number}").exists():
        number += 1
    return path


def _read(texts: list[str], config: TextConfig) -> Corpus:
    """Read the text and say what was found."""
    from unrolled.cli.console import Stages
    from unrolled.data.corpus import load_corpus
    from unrolled.data.stdlib import stdlib_source
    from unrolled.data.text import open_source

    source = open_source(texts) if texts else stdlib_source()
    stages = Stages()
    try:
        corpus = load_corpus(source, config, progress=stages)
    finally:
        stages.close()
    print(corpus.summary)
    for note in corpus.notes:
        print(f"  {note}")
    return corpus


def _tell_plan(task: LanguageTask, config: TrainConfig) -> None:
    from unrolled.cli.console import duration
    from unrolled.tasks.language.sizes import readable
    from unrolled.training.estimate import seconds_per_update
    from unrolled.training.machine import memory_errors

    with memory_errors():
        task.build()
    told, memory = task.describe(), task.memory()
    for note in task.notes:
        print(f"  {note}")
    updates_a_pass = told["steps_per_epoch"]
    print(f"units per pass    {told['units_per_epoch']:,} in {updates_a_pass:,} updates of {told['batch']} streams")
    print(f"parameters        {told['parameters']:,}")
    print(f"memory            about {readable(memory.total)} for weights, optimiser and activations")
    each = seconds_per_update(task, config)
    if config.minutes is not None:
        updates = int(60 * config.minutes / each)
        seconds = 60 * config.minutes
    else:
        updates = config.steps or max(1, round((config.epochs or 1.0) * updates_a_pass))
        seconds = updates * each
    print(f"estimated         {duration(seconds)} for {updates:,} updates of {1000 * each:.1f} ms, "
          f"{updates / updates_a_pass:.1f} passes")  # fmt: skip


def _train(task: LanguageTask, config: TrainConfig, run: Path, texts: list[str], resumed: bool, begun: float) -> None:
    from unrolled.cli.console import Console, unit_name
    from unrolled.cli.report import tell_result
    from unrolled.training.keeping import ModelKeeper
    from unrolled.training.loop import Trainer
    from unrolled.training.watch import TensorBoardWatcher, plot_losses

    part = task.corpus.parts["train"]
    console = Console(task.corpus.units.kind, part.units / part.chars if part.chars else None)
    # Absolute, so that a run can be resumed from any folder.
    paths = [t if t == "-" else os.path.abspath(t) for t in texts]
    keeper = ModelKeeper(run, task, config, {"paths": paths, "label": task.corpus.label})
    trainer = Trainer(
        task, config, run, watchers=[keeper, TensorBoardWatcher(run / "tensorboard"), console], resume=resumed,
        spent=time.perf_counter() - begun, baseline_seconds=task.baseline_seconds,
    )  # fmt: skip
    keeper.model = trainer.model
    for note in task.notes:
        print(f"  {note}")
    print(f"{task.describe()['parameters']:,} parameters; run folder {run}")
    engine, why = task.engine(trainer.model)
    if engine == "reference":
        print(f"  the recurrence runs step by step in plain PyTorch, which is slower: {why}")
    result = trainer.train()
    found = keeper.finish(result)
    baseline = None
    if result.stopped_by != "interrupted" and result.test is not None:
        baseline = task.baseline()
        found = keeper.finish(result, baseline)
    plot_losses(run / "metrics.jsonl", run / "loss.png", baseline)
    tell_result(found, run, unit_name(task.corpus.units.kind))
    if result.stopped_by == "interrupted":
        raise typer.Exit(130)
