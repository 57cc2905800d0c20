"""Where a run lies: a new one's folder, and the settings of an older one that is gone on with or started from."""

from __future__ import annotations

import dataclasses
import datetime
import glob
import importlib
import json
from pathlib import Path
from typing import Any

from unrolled.cli.options import Given
from unrolled.errors import UserError
from unrolled.settings import flag_name
from unrolled.tasks.registry import TaskKind
from unrolled.training.config import TrainConfig

Layers = dict[str, dict[str, Any]]
"""Settings by table: "model", "data", "train"."""


def saved_run(kind: TaskKind, given: Given, name: str, paths: list[str] | None) -> tuple[Path, Layers, list[str]]:
    """The folder, the settings and the data of a run that is to go on.

    Raises:
        UserError: no such run, a damaged one, a flag that would change it, or data that is not there any more.
    """
    from unrolled.bundle.manifest import check_format
    from unrolled.bundle.runs import resolve

    run = resolve(name)
    try:
        saved = json.loads((run / "config.json").read_text(encoding="utf-8"))
        check_format({"format": 1} | saved, run / "config.json")
        layers = {table: dict(saved[table]) for table in ("model", "data", "train")}
        before = list(saved["text"]["paths"])
    except OSError:
        raise UserError(f"--resume {name}: no run there (no config.json); unrolled runs lists them") from None
    except UserError:
        raise
    except (ValueError, KeyError, TypeError):
        raise UserError(f"--resume {name}: {run / 'config.json'} is damaged; restore it from a copy") from None
    layers["data"].pop("digest", None)
    _refuse_changes(kind, given, name, layers)
    if not paths and before == ["-"]:
        raise UserError(f"--resume {name}: its text came from standard input; give it again: TEXT, or - and pipe it")
    paths = paths or before
    missing = next((t for t in paths if t != "-" and not glob.has_magic(t) and not Path(t).exists()), None)
    if missing is not None:
        raise UserError(f"--resume {name}: its text {missing} is not there; name it: train TEXT --resume {name}")
    return run, layers, paths


def _refuse_changes(kind: TaskKind, given: Given, name: str, layers: Layers) -> None:
    """Refuse a flag that would change what a run has, by its name and before anything is read."""
    from unrolled.training.resume import BUDGETS, WATCHING

    data, model = kind.configs()
    for table, config in (("data", data), ("model", model), ("train", TrainConfig)):
        fields = {field.name: field for field in dataclasses.fields(config)}
        for setting, new in given.values(config).items():
            old = layers[table].get(setting)
            was = "none" if old is None else old
            if setting not in (*BUDGETS, *WATCHING) and new != old:
                raise UserError(
                    f"{flag_name(fields[setting])} {new}: this run has {was}, and only its budget and what is watched "
                    f"may change; start a new run with --init-from {name}"
                )


def old_model(kind: TaskKind, name: str, layers: Layers) -> tuple[Any, dict[str, Any]]:
    """Weights and ``tokens.json`` of the run to start from; its shape, and of its data settings those that the task's
    face calls ``INHERITED``, go into ``layers``, below the flags.

    Raises:
        UserError: no such model, or one of another task.
    """
    from unrolled.bundle.model import load, resolve

    found = load(resolve(name))
    if found.config["task"] != kind.name:
        raise UserError(f"--init-from {name}: a {found.config['task']} model, and this is the task {kind.name}")
    face = importlib.import_module(kind.face)
    layers["model"] = layers["model"] | found.config["model"]
    layers["data"] = layers["data"] | {key: found.config["data"][key] for key in getattr(face, "INHERITED", ())}
    return found.tensors, found.tokens or {}


def free_folder(out: str) -> Path:
    """The folder of a new run, if nothing is in its way."""
    run = Path(out)
    if not out.strip():
        raise UserError("--out: the name is empty; name a folder")
    if run.exists() and not run.is_dir():
        raise UserError(f"--out {out}: a file of that name is there; name a folder")
    if run.exists() and any(run.iterdir()):
        raise UserError(f"--out {out}: exists already and is not empty; name another folder, or --resume {out}")
    return run


def new_folder(task: str) -> Path:
    """runs/DATE-TASK-N, with the first N that is free."""
    today, number = datetime.date.today().isoformat(), 1
    while (path := Path("runs") / f"{today}-{task}-{number}").exists():
        number += 1
    return path
