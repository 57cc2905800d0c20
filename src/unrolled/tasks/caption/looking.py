"""From pictures at hand to what a captioning model sees of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from unrolled.data.examples import Ints
from unrolled.data.image_sets import Features, Pictures
from unrolled.tasks.caption.model import CaptionModel, Scene

AT_ONCE = 64
"""Pictures that are looked at, or captioned, together."""


def tensors(
    pictures: Pictures | Features, rows: Ints | Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Pictures or features as :meth:`CaptionModel.look` takes them."""
    if isinstance(pictures, Pictures):
        batch = pictures.batch(rows)
        extent = batch.sizes
        values = torch.from_numpy(batch.pixels)
    else:
        found = pictures.batch(rows)
        extent, values = found.lengths, torch.from_numpy(found.values)
    return values.to(device), None if extent is None else torch.from_numpy(np.asarray(extent)).to(device)


def look(model: CaptionModel, pictures: Pictures | Features, rows: Ints | Sequence[int]) -> Scene:
    """A model looks at pictures as they are."""
    values, extent = tensors(pictures, rows, model.head.weight.device)
    return model.look(values.to(model.head.weight.dtype) if values.is_floating_point() else values, extent)
