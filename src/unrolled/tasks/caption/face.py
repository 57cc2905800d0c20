"""What the command line knows of captioning: how its task is opened, and how a trained model is loaded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError
from unrolled.tasks.caption.answering import CaptionPredictor
from unrolled.tasks.caption.config import CaptionConfig, CaptionData
from unrolled.tasks.caption.frozen import at_size_of, frozen_encoder, settled, with_features
from unrolled.tasks.caption.model import CaptionModel, Inputs
from unrolled.tasks.caption.reading import Progress, read_corpus
from unrolled.tasks.caption.task import CaptionTask, Training
from unrolled.tasks.loading import saved_settings, with_weights

INHERITED = ("units", "lower", "image_size", "fit")
"""Settings of the data that a run started from another one's weights takes over, below its flags."""


def open_task(
    paths: list[str], data: CaptionData, model: CaptionConfig, train: Training, *,
    progress: Progress | None = None, start_from: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
) -> CaptionTask:  # fmt: skip
    """Read captions and images and make the task of them.

    Args:
        paths: caption files, or a folder of images and one; none: shapes are generated.
        progress: called with a stage's name and the share of it that is done.
        start_from: weights and ``tokens.json`` of an older model.
    Raises:
        UserError: anything wrong with captions, images or settings.
    """
    model, data = settled(model, data), _rooted(data)
    frozen = frozen_encoder(model)
    if frozen is not None:
        data = at_size_of(frozen, data)
    corpus = read_corpus(paths, data, progress)
    if frozen is not None:
        corpus = with_features(corpus, frozen, progress)
    old = None if start_from is None else (start_from[0], Vocabulary.from_json(start_from[1], "tokens.json"))
    return CaptionTask(corpus, data, model, train, start_from=old)


def _rooted(data: CaptionData) -> CaptionData:
    """The data's paths absolute, so that a run can be resumed and evaluated from any folder."""
    paths = {name: getattr(data, name) for name in ("images", "features", "test_list", "dev_list")}
    return dataclasses.replace(data, **{name: os.path.abspath(p) for name, p in paths.items() if p is not None})


def load(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokens: Mapping[str, Any], where: str
) -> CaptionPredictor:
    """A trained model, in evaluation mode, from what a model folder holds.

    Raises:
        UserError: settings, weights and vocabulary that do not fit each other.
    """
    shape, data = saved_settings(config, CaptionConfig, CaptionData, where)
    vocabulary = Vocabulary.from_json(tokens, where)
    try:
        saved = dict(tokens["inputs"])
        grid = saved.pop("grid")
        inputs = Inputs(**saved, grid=None if grid is None else (int(grid[0]), int(grid[1])))
        longest = int(tokens["longest"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{where}: tokens.json is damaged; restore the file") from None
    model = CaptionModel(inputs, dataclasses.replace(shape, pretrained=False) if shape.train_encoder else shape)
    return CaptionPredictor(with_weights(model, tensors, where), vocabulary, data, longest, dict(config), where)
