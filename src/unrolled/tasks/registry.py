"""The tasks that there are, by name, and where their parts lie. No torch here.

A task whose package is not installed is not listed. Everything is named by string and resolved when it is needed, so
that ``unrolled --help`` imports none of it.
"""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

from unrolled.errors import UserError

TABULAR = (".csv", ".tsv", ".jsonl", ".json", ".npy", ".npz", ".parquet", ".conllu", ".conll", ".h5", ".hdf5")
"""Extensions of data that is no plain text: what it is for is never guessed."""
PACKED = (".gz", ".xz", ".zst")


@dataclasses.dataclass(frozen=True)
class TaskKind:
    """One task.

    Attributes:
        help: one line for people.
        data, model, predict: ``module:Class`` of its configurations (``predict``: how it answers, flags of ``predict``
            and ``evaluate``; None for a task that has verbs of its own).
        face: the module with ``open_task`` and ``load``.
        preset: the default preset.
        unit: what is counted and scored, in the singular.
        recognises: ``module:function`` (no torch) from a path to the reason why it is clearly of this task, by its
            extension or header, or None; None for a task that recognises nothing.
        training: settings of training that it takes of those that are about streams (``bptt``), which most tasks lack.
    """

    name: str
    help: str
    data: str
    model: str
    predict: str | None
    face: str
    preset: str
    unit: str
    recognises: str | None
    training: tuple[str, ...] = ()

    @property
    def there(self) -> bool:
        """Whether the task's package is installed."""
        return _file(self.face).exists()

    def configs(self) -> tuple[type, type]:
        """The classes of ``data`` and ``model``."""
        return resolve(self.data), resolve(self.model)

    def reason(self, path: Path) -> str | None:
        """Why ``path`` is clearly of this task; None where it is not."""
        if self.recognises is None or not _file(self.recognises.split(":")[0]).exists():
            return None
        found: str | None = resolve(self.recognises)(path)
        return found


def _kind(name: str, unit: str, help: str, training: tuple[str, ...] = ()) -> TaskKind:
    """A task that keeps to the usual names: ``tasks/<name>/{config,face,recognise}.py``, ``presets/<name>.toml``."""
    home, title = f"unrolled.tasks.{name}", name.capitalize()
    return TaskKind(
        name, help, f"{home}.config:{title}Data", f"{home}.config:{title}Config", f"{home}.config:{title}Predict",
        f"{home}.face", name, unit, f"{home}.recognise:recognise", training,
    )  # fmt: skip


TASKS: dict[str, TaskKind] = {
    "language": TaskKind(
        "language", "the next character, byte, word or token of a text", "unrolled.data.config:TextConfig",
        "unrolled.tasks.language.config:LanguageConfig", None, "unrolled.tasks.language.face", "quick", "unit", None,
    ),
    "classify": _kind("classify", "example", "a class, several, or a number for each text, sequence or picture",
                      ("bptt",)),
    "tag": _kind("tag", "word", "a tag for each word, a class or a number for each step", ("bptt",)),
    "translate": _kind("translate", "token", "a sequence for each sequence"),
    "caption": _kind("caption", "token", "a sentence for each picture"),
    "forecast": _kind("forecast", "value", "the next values of series of numbers", ("bptt", "loss_reduction")),
}  # fmt: skip


def available() -> list[TaskKind]:
    """The tasks whose packages are installed."""
    return [kind for kind in TASKS.values() if kind.there]


def find(name: str, flag: str = "--task") -> TaskKind:
    """The task of this name.

    Raises:
        UserError: lists those that there are.
    """
    kind = TASKS.get(name)
    if kind is None or not kind.there:
        raise UserError(f"{flag} {name}: not one of {', '.join(k.name for k in available())}")
    return kind


def recognise(path: Path) -> tuple[TaskKind, str] | None:
    """The task that a file is clearly of, and why; None for plain text and for what several tasks claim or none.

    Raises:
        UserError: data that is no plain text and that no task, or more than one, recognises: the tasks are listed.
    """
    claims = [(kind, reason) for kind in available() if (reason := kind.reason(path)) is not None]
    if len(claims) == 1:
        return claims[0]
    if claims or suffix(path) in TABULAR:
        kinds = [kind for kind, _ in claims] or available()
        raise UserError(f"{path}: which task? say one: " + ", ".join(f"--task {kind.name}" for kind in kinds))
    return None


def suffix(path: Path) -> str:
    """The extension in lower case, of what is packed the one before: ``.csv`` of ``a.CSV.gz``."""
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    if len(endings) == 2 and endings[1] in PACKED:
        return endings[0]
    return endings[-1] if endings else ""


def resolve(name: str) -> Any:
    """What ``module:attribute`` names."""
    module, attribute = name.split(":")
    return getattr(importlib.import_module(module), attribute)


def _file(module: str) -> Path:
    return Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")
