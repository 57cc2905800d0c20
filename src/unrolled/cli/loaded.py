"""What the verbs that use a trained model share: the model, its units, the text it was trained on."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.data.config import TextConfig
    from unrolled.data.text import Source
    from unrolled.data.units import Units
    from unrolled.tasks.base import Predictor
    from unrolled.tasks.language.model import LanguageModel
    from unrolled.tasks.registry import TaskKind


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A trained language model, ready to be used."""

    path: Path
    model: LanguageModel
    units: Units
    text: TextConfig
    config: dict[str, Any]

    def trained_on(self, texts: list[str] | None) -> Source:
        """``texts``, or without them the text of the training, where it still lies.

        Raises:
            UserError: it came from standard input, or is not there any more.
        """
        from unrolled.data.stdlib import stdlib_source
        from unrolled.data.text import open_source

        if texts:
            return open_source(texts)
        paths = (self.config.get("text") or {}).get("paths")
        if not isinstance(paths, list) or paths == ["-"]:
            raise UserError(f"{self.path}: the text it was trained on is not known here; name it: TEXT")
        try:
            return open_source(paths) if paths else stdlib_source()
        except UserError as error:
            raise UserError(f"{self.path}: its training text is not to be had ({error}); name it: TEXT") from None


def load_predictor(kind: TaskKind, run: str, threads: int | None = None) -> tuple[Path, Predictor]:
    """The folder and the trained model of a task that answers, checked.

    Raises:
        UserError: see :func:`unrolled.bundle.model.load`; or a model of another task.
    """
    import torch

    from unrolled.bundle.model import load, resolve

    found = load(resolve(run))
    if found.config["task"] != kind.name:
        raise UserError(f"{run}: a {found.config['task']} model; the run has changed meanwhile, try again")
    if threads is not None:
        torch.set_num_threads(threads)
    face = importlib.import_module(kind.face)
    predictor: Predictor = face.load(found.config, found.tensors, found.tokens or {}, run)
    return found.path, predictor


def load_language(run: str, threads: int | None = None) -> Loaded:
    """The language model in a run's folder, checked.

    Args:
        threads: how many torch is to use from here on; None leaves its own choice.
    Raises:
        UserError: see :func:`unrolled.bundle.model.load`; or a model of another task.
    """
    import torch

    from unrolled.bundle.model import load, resolve
    from unrolled.tasks.language.loading import load_model

    found = load(resolve(run))
    if found.config["task"] != "language":
        raise UserError(
            f"{run}: a {found.config['task']} model, and this verb takes a language model; use unrolled predict {run} "
            f"INPUT, or unrolled evaluate {run}"
        )
    if threads is not None:
        torch.set_num_threads(threads)
    model, units, text = load_model(found.config, found.tensors, found.tokens or {}, run)
    return Loaded(found.path, model, units, text, found.config)
