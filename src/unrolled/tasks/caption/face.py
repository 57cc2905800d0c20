"""What the command line knows of captioning: how its task is opened, and how a trained model is loaded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError
from unrolled.settings import from_dict
from unrolled.tasks.caption.answering import CaptionPredictor
from unrolled.tasks.caption.config import CaptionConfig, CaptionData
from unrolled.tasks.caption.frozen import at_size_of, frozen_encoder, settled, with_features
from unrolled.tasks.caption.model import CaptionModel, Inputs
from unrolled.tasks.caption.reading import Progress, read_corpus
from unrolled.tasks.caption.task import CaptionTask, Training

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
    for name in ("model", "data"):
        if not isinstance(config.get(name), Mapping):
            raise UserError(f"{where}: config.json has no {name!r} settings; restore the file")
    shape = from_dict(CaptionConfig, config["model"], where)
    data = from_dict(CaptionData, {k: v for k, v in config["data"].items() if k != "digest"}, where)
    vocabulary = Vocabulary.from_json(tokens, where)
    try:
        saved = dict(tokens["inputs"])
        grid = saved.pop("grid")
        inputs = Inputs(**saved, grid=None if grid is None else (int(grid[0]), int(grid[1])))
        longest = int(tokens["longest"])
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{where}: tokens.json is damaged; restore the file") from None
    model = CaptionModel(inputs, dataclasses.replace(shape, pretrained=False) if shape.train_encoder else shape)
    floating = [tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()]
    if floating:
        model.to(floating[0])
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise UserError(f"{where}: the weights do not fit the settings ({reason}); restore the folder") from None
    return CaptionPredictor(model.eval(), vocabulary, data, longest, dict(config), where)
