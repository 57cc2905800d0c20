"""Which task a command line is about, found before its flags are read: they are that task's flags. No torch here."""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Sequence
from pathlib import Path

from unrolled.bundle.runs import describe_run, resolve
from unrolled.errors import UserError
from unrolled.presets import preset_task
from unrolled.settings import field_type, flag_name
from unrolled.tasks.registry import TASKS, TaskKind, available, find, recognise
from unrolled.tasks.registry import resolve as resolve_name
from unrolled.training.config import TrainConfig

OWN_FLAGS = (
    "--task", "--preset", "--out", "--resume", "--init-from", "--file", "--part", "--predictions", "--pictures",
    "--threads", "--eval-streams", "--windows", "--window-length", "--weights",
)  # fmt: skip
"""Flags with a value that the verbs have of their own."""


def task_of_training(arguments: Sequence[str]) -> tuple[TaskKind, str | None]:
    """The task of ``unrolled train ARGUMENTS``, and why it was taken where nobody named it.

    ``--resume``, ``--task``, ``--preset`` and ``--init-from`` name it, in this order; then the first file, if it is
    clearly of one task; else it is the language model.

    Raises:
        UserError: an unknown task, an unknown preset, or data of which the task is not clear.
    """
    given = {name: value_of(arguments, name) for name in ("--resume", "--task", "--preset", "--init-from")}
    if "--task" in arguments and given["--task"] is None:
        raise UserError(f"--task: name one of {', '.join(kind.name for kind in available())}")
    kind = None if given["--task"] is None else find(given["--task"])
    if given["--resume"] is not None:
        saved = _task_of_run(given["--resume"])
        if kind is not None and saved is not None and kind is not saved:
            raise UserError(
                f"--task {kind.name}: the run {given['--resume']} is of the task {saved.name}; leave --task out"
            )
        return saved or kind or TASKS["language"], None
    if kind is not None:
        return kind, None
    if given["--preset"] is not None and (named := preset_task(given["--preset"])) is not None:
        return find(named, f"--preset {given['--preset']}: task"), None
    if given["--init-from"] is not None and (old := _task_of_run(given["--init-from"])) is not None:
        return old, None
    for text in positionals(arguments)[:1]:
        if text != "-" and not glob.has_magic(text) and Path(text).exists():
            found = recognise(Path(text))
            if found is not None:
                return found[0], f"{text}: taken for the task {found[0].name}, since {found[1]} (--task names another)"
    return TASKS["language"], None


def task_of_answering(arguments: Sequence[str]) -> TaskKind | None:
    """The task of the run that ``unrolled predict`` or ``evaluate`` is about; None where there is no such run."""
    named = positionals(arguments)
    try:
        return _task_of_run(named[0] if named else "@latest")
    except UserError:
        return None


def _task_of_run(run: str) -> TaskKind | None:
    task = describe_run(resolve(run)).task
    kind = TASKS.get(task or "")
    if task is not None and (kind is None or not kind.there):
        raise UserError(f"{run}: a model of the task {task}, which this version does not know: upgrade unrolled")
    return kind


def value_of(arguments: Sequence[str], flag: str) -> str | None:
    """The value of ``--flag VALUE`` or ``--flag=VALUE``, the last one; None where there is none."""
    found = None
    for k, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith(flag + "="):
            found = argument[len(flag) + 1 :]
        elif argument == flag and k + 1 < len(arguments) and not arguments[k + 1].startswith("--"):
            found = arguments[k + 1]
    return found


def positionals(arguments: Sequence[str]) -> list[str]:
    """What is no flag and no flag's value, whichever task's flags they are."""
    valued, skip = _valued_flags(), False
    found: list[str] = []
    for k, argument in enumerate(arguments):
        if skip:
            skip = False
        elif argument == "--":
            return [*found, *arguments[k + 1 :]]
        elif argument.startswith("-") and argument != "-":
            skip = argument in valued
        else:
            found.append(argument)
    return found


def _valued_flags() -> set[str]:
    flags = set(OWN_FLAGS)
    configs: set[type] = {TrainConfig}
    for kind in available():
        configs |= {*kind.configs()} | ({resolve_name(kind.predict)} if kind.predict else set())
    for config in configs:
        for field in dataclasses.fields(config):
            if field_type(config, field.name)[0] is not bool:
                flags.add(flag_name(field))
    return flags
