"""What the command line knows of the language model: how its task is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from unrolled.data.config import TextConfig
from unrolled.data.corpus import load_corpus
from unrolled.data.stdlib import stdlib_source
from unrolled.data.text import open_source
from unrolled.data.units import units_from_json
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.streams import Training
from unrolled.tasks.language.task import LanguageTask

INHERITED = ("units", "encoding", "records", "vocab_size")
"""Settings of the data that a run started from another one's weights takes over, below its flags."""


class OpenedLanguage(LanguageTask):
    """The task with what people are told of its text.

    Attributes:
        summary: one line about the text. label: its short name.
    """

    summary: str
    label: str

    @property
    def unit(self) -> str:
        """The kind of units."""
        return self.corpus.units.kind

    @property
    def units_per_char(self) -> float | None:
        """Of the training part; None where it has no characters."""
        part = self.corpus.parts["train"]
        return part.units / part.chars if part.chars else None


def open_task(
    paths: list[str],
    data: TextConfig,
    model: LanguageConfig,
    train: Training,
    *,
    progress: Callable[[str, float], None] | None = None,
    start_from: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
) -> OpenedLanguage:
    """Read a text and make the task of it.

    Args:
        paths: files, folders, globs, or ``-``; none: the source of Python's standard library on this machine.
        progress: called with a stage's name and the share of it that is done.
        start_from: weights and ``tokens.json`` of an older model.
    Raises:
        UserError: a text that cannot be read or is too short; settings that do not go together.
    """
    corpus = load_corpus(open_source(paths) if paths else stdlib_source(), data, progress=progress)
    old = None if start_from is None else (start_from[0], units_from_json(start_from[1], "tokens.json"))
    task = OpenedLanguage(corpus, model, train, data_config=data, start_from=old)
    task.summary, task.label = corpus.summary, corpus.label
    task.notes = [*corpus.notes, *task.notes]
    return task
