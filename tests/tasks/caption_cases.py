"""Small captioning tasks for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

from unrolled.tasks.caption.config import CaptionConfig, CaptionData
from unrolled.tasks.caption.reading import CaptionCorpus, read_corpus
from unrolled.tasks.caption.task import CaptionTask
from unrolled.training.config import TrainConfig


def small(**changes: Any) -> CaptionConfig:
    """A network of a few units, without dropout."""
    base: dict[str, Any] = {
        "hidden": 6, "embedding": 4, "memory": 5, "width": 3, "stages": 2, "blocks": 1, "dropout": 0.0,
    }  # fmt: skip
    return CaptionConfig(**(base | changes))


def corpus_of(images: int = 60, *, one: bool = False, **changes: Any) -> CaptionCorpus:
    """Generated shapes, small; ``one``: a caption each, and all of them in the training part."""
    shares = {"heldout": 0.0, "dev": 0.0} if one else {}
    data = CaptionData(**({"image_size": 16, "shapes": 100, **shares} | changes))
    corpus = read_corpus([], data)
    if one:
        corpus.captions, corpus.units = [c[:1] for c in corpus.captions], [c[:1] for c in corpus.units]
        corpus.parts["train"] = corpus.parts["train"][:images]
    return corpus


def task_of(corpus: CaptionCorpus, shape: CaptionConfig | None = None, *, batch: int = 8, **data: Any) -> CaptionTask:
    """The task of a corpus of 16 x 16 pictures."""
    settings = CaptionData(image_size=16, shapes=100, **data)
    return CaptionTask(corpus, settings, shape or small(), TrainConfig(batch=batch, bptt="full"))


def plain(value: Any) -> Any:
    """A dataclass as a dictionary."""
    return dataclasses.asdict(value)
