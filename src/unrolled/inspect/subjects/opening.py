"""A subject from a trained model's folder, or from a preset that nothing was trained by."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import torch
from torch import nn

from unrolled.bundle.model import Bundle
from unrolled.data.config import TextConfig
from unrolled.data.corpus import Corpus, load_corpus
from unrolled.data.stdlib import stdlib_source
from unrolled.data.text import open_source
from unrolled.errors import UserError
from unrolled.inspect.config import InspectConfig
from unrolled.inspect.subject import Subject
from unrolled.inspect.subjects.examples import windows_for
from unrolled.inspect.subjects.language import language_subject
from unrolled.tasks.language.loading import load_model
from unrolled.tasks.loading import saved_settings
from unrolled.tasks.registry import TaskKind


@dataclasses.dataclass(frozen=True)
class Opened:
    """A subject, and what people should know of how it was made: one line each."""

    subject: Subject
    notes: list[str]


@dataclasses.dataclass(frozen=True)
class Alone:
    """The settings of training that opening a task reads, where nothing is trained."""

    batch: int = 32
    bptt: str = "64"
    stride: int | None = None
    skip_tail: bool = False
    loss_reduction: str = "mean"
    optimiser: str = "adamw"
    momentum: float = 0.0
    average: float = 0.0
    eval_streams: int = 16
    seed: int = 1
    dtype: str = "float32"


def from_run(kind: TaskKind, found: Bundle, paths: list[str], how: InspectConfig) -> Opened:
    """A trained model, as its folder holds it.

    Args:
        paths: the text or data to read; none: what was held out of the training's own.
        how: how many units of a text are read; of a text that ``paths`` names also its encoding and what units become
            that the vocabulary lacks, by default as in the training (whose own data are always read so).
    Raises:
        UserError: data that is not to be had, or that the model cannot read.
    """
    name, seed = found.path.name, int((found.config.get("train") or {}).get("seed") or 0)
    own = (found.config.get("text") or {}).get("paths")
    if kind.name == "language":
        return _language_run(found, paths, own, seed, how)
    if not paths and (not isinstance(own, list) or own == ["-"]):
        raise UserError(f"{name}: the data it was trained on is not known here; name it: inspect {name} DATA")
    face: Any = importlib.import_module(kind.face)
    data_class, model_class = kind.configs()
    settings: tuple[Any, Any] = saved_settings(found.config, model_class, data_class, name)
    shape, data = settings[0], reading(settings[1], how) if paths else settings[1]
    model = face.load(found.config, found.tensors, found.tokens or {}, name).model
    try:
        task = face.open_task(paths or own, data, shape, Alone(seed=seed))
    except UserError as error:
        raise error if paths else UserError(f"{name}: its training data is not to be had ({error}); name it: "
                                            f"inspect {name} DATA") from None  # fmt: skip
    untrained = _fresh(task, seed, model)
    sizes = [{n: tuple(t.shape) for n, t in m.state_dict().items()} for m in (model, untrained)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{task.label}: another vocabulary or other sizes come of it than {name} was trained with; give its own"
        )
    windows, part = windows_for(task)
    notes = [f"the {part} part of {task.label}"]
    return Opened(Subject(name, kind.name, model, untrained, windows, None, str(found.path)), notes)


def _language_run(found: Bundle, paths: list[str], own: Any, seed: int, how: InspectConfig) -> Opened:
    name = found.path.name
    model, units, text = load_model(found.config, found.tensors, found.tokens or {}, name)
    torch.manual_seed(seed)
    untrained = type(model)(len(units), model.config).to(model.head.weight.dtype).eval()
    training: Corpus | None = None
    problem = "its text came from standard input"
    if isinstance(own, list) and own != ["-"]:
        try:
            training = load_corpus(open_source(own) if own else stdlib_source(), text, units=units)
        except UserError as error:
            problem = f"its training text is not to be had ({error})"
    if paths:
        whole = dataclasses.replace(reading(text, how), heldout=0.0, dev=0.0)
        corpus, part = load_corpus(open_source(paths), whole, units=units), "train"
        notes = [corpus.label, *corpus.notes]
    elif training is None:
        raise UserError(f"{name}: {problem}; name a text: inspect {name} TEXT")
    else:
        corpus, part = training, _held_out(training)
        notes = [f"the {part} part of {corpus.label}"]
    if training is None:
        notes.append("the training text is not to be had: unigrams and unrelated text come from the text itself")
    subject = language_subject(
        name, model, untrained, corpus, part, chars=how.chars, training=training, run=str(found.path)
    )
    return Opened(subject, notes)


def untrained_preset(kind: TaskKind, name: str, data: Any, shape: Any, paths: list[str], how: InspectConfig) -> Opened:
    """The network of a preset as it is before training, on the data that it would be trained on.

    Args:
        data, shape: the configurations of data and model.
        how: the seed, and how many units of a text are read.
    Raises:
        UserError: as for training.
    """
    face: Any = importlib.import_module(kind.face)
    task = face.open_task(paths, data, shape, Alone(seed=how.seed))
    model: Any = _fresh(task, how.seed)
    name, notes = f"preset {name}, untrained", list(task.notes)
    if kind.name == "language":
        assert isinstance(data, TextConfig)
        part = _held_out(task.corpus)
        subject = language_subject(name, model, model, task.corpus, part, chars=how.chars)
    else:
        windows, part = windows_for(task)
        subject = Subject(name, kind.name, model, model, windows)
    return Opened(subject, [*notes, f"the {part} part of {task.label}"])


def reading(data: Any, how: InspectConfig) -> Any:
    """The settings of the data with the encoding and the policy for unknown units that are asked for.

    Raises:
        UserError: the task's data have no such setting.
    """
    asked = {name: getattr(how, name) for name in ("encoding", "unknown") if getattr(how, name) is not None}
    for name, value in asked.items():
        if not hasattr(data, name):
            raise UserError(f"--{name} {value}: this task's data have no such setting; leave it out")
    return dataclasses.replace(data, **asked)


def _held_out(corpus: Corpus) -> str:
    return next(part for part in ("test", "dev", "train") if corpus.parts[part].units > 1 or part == "train")


def _fresh(task: Any, seed: int, like: nn.Module | None = None) -> nn.Module:
    """The network at its initialisation, as the training loop draws it."""
    torch.manual_seed(seed)
    model: nn.Module = task.build()
    if like is not None:
        model.to(next(p.dtype for p in like.parameters() if p.is_floating_point()))
    return model.eval()
