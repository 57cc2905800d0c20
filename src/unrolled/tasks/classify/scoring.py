"""A classifier's answers to inputs that are numbers already."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.data.examples import Ragged, batches_by_length
from unrolled.tasks.classify.model import Classifier

AT_ONCE = 256
"""Examples read side by side where nothing is trained."""


def run(
    model: Classifier, x: Tensor, lengths: Tensor, call: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Tensor:
    """Scores (B, K) of a batch (T, B) or (T, B, I), moved to where the model is and into its precision; or what
    ``call``, a method of the model, gives of it."""
    weight = model.head.weight
    x = x.to(weight.device)
    x = x.to(weight.dtype) if x.is_floating_point() else x
    found: Tensor = (call or model)(x, lengths.to(weight.device))
    return found


def scores(model: Classifier, inputs: Ragged, at_once: int = AT_ONCE) -> Tensor:
    """(N, K) in float64, before the temperature, in the order of the inputs."""
    found = torch.zeros(len(inputs), model.head.out_features, dtype=torch.float64)
    for rows in batches_by_length(inputs.lengths, at_once):
        x, lengths = inputs.padded(rows)
        found[torch.from_numpy(rows)] = run(model, torch.from_numpy(x), torch.from_numpy(lengths)).cpu().double()
    return found


def answers(model: Classifier, target: str, found: Tensor) -> NDArray[np.float64]:
    """(N, K) probabilities from :func:`scores`, at the model's temperature; or (N, 1) numbers."""
    if target == "number":
        mean, deviation, _ = model.get_buffer("target").double().cpu()
        values = found * deviation + mean
    else:
        found = found / model.get_buffer("temperature").item()
        values = found.softmax(1) if target == "class" else torch.special.expit(found)
    array: NDArray[np.float64] = values.numpy()
    return array
