"""Presets: TOML files of settings: ``task``, and the tables ``[model]``, ``[data]`` and ``[train]``. No torch here."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

from unrolled.errors import UserError
from unrolled.settings import from_dict
from unrolled.tasks.registry import TaskKind, find
from unrolled.training.config import TrainConfig

# Python 3.10 has no TOML reader of its own.
tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings by table; only those the file states, so that a flag can stand above them and a default below.

    Attributes:
        task: the task it is for; None where the file does not say.
    """

    name: str
    model: dict[str, Any]
    data: dict[str, Any]
    train: dict[str, Any]
    task: str | None = None


def preset_names(task: str | None = None) -> list[str]:
    """The presets that come with the package, or those of one task, in alphabetical order."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))
    return names if task is None else [name for name in names if _read(name).get("task") == task]


def preset_task(name: str) -> str | None:
    """The task that a preset or a ``.toml`` file is for; None where it does not say.

    Raises:
        UserError: see :func:`load_preset`.
    """
    task = _read(name).get("task")
    if task is not None and not isinstance(task, str):
        raise UserError(f"--preset {name}: task is {task!r}, not the name of a task; correct it there")
    return task


def load_preset(name: str, kind: TaskKind | None = None) -> Preset:
    """Read a preset.

    Args:
        name: one of :func:`preset_names`, or the path of a ``.toml`` file of your own.
        kind: the task it is to be used for; by default the one that it names, or the language model.
    Raises:
        UserError: no such preset or file, not TOML, an unknown table or setting, a value that does not fit, or a preset
            of another task.
    """
    content, task = _read(name), preset_task(name)
    if kind is None:
        kind = find(task or "language", f"--preset {name}: task")
    elif task is not None and task != kind.name:
        raise UserError(
            f"--preset {name}: for the task {task}, not {kind.name}; use {', '.join(preset_names(kind.name))}"
        )
    data, model = kind.configs()
    tables: dict[str, type] = {"model": model, "data": data, "train": TrainConfig}
    for table, values in content.items():
        if table == "task":
            continue
        if table not in tables or not isinstance(values, dict):
            raise UserError(f"--preset {name}: unknown table or setting {table!r}; the tables are "
                            + ", ".join(f"[{t}]" for t in tables))  # fmt: skip
        try:
            from_dict(tables[table], values, f"[{table}]")
        except UserError as e:
            raise UserError(f"--preset {name}: {e}") from e
    return Preset(Path(name).stem, **{table: dict(content.get(table, {})) for table in tables}, task=task)


def _read(name: str) -> dict[str, Any]:
    path = Path(name)
    if path.suffix != ".toml":
        if name not in preset_names():
            raise UserError(f"--preset {name}: not one of {', '.join(preset_names())}, nor a .toml file")
        path = Path(__file__).parent / f"{name}.toml"
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise UserError(f"--preset {name}: cannot be read ({e.strerror or e}); check the path") from e
    except ValueError as e:  # TOML's errors and UTF-8's
        raise UserError(f"--preset {name}: not a TOML file ({e}); correct it there") from e
    return content
