"""A trained language model back from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unrolled.data.config import TextConfig
from unrolled.data.units import Units, units_from_json
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.loading import saved_settings, with_weights


def load_model(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], tokens: Mapping[str, Any], where: str
) -> tuple[LanguageModel, Units, TextConfig]:
    """A trained model, in evaluation mode, from what a model folder holds.

    Args:
        config: ``config.json``; its "model" and "data" are what :meth:`LanguageTask.settings` gave.
        tensors: the model's ``state_dict``. tokens: ``tokens.json``.
        where: what messages call the folder.
    Returns:
        The model, its units, and how its text was read.
    Raises:
        UserError: settings, weights and vocabulary that do not fit each other.
    """
    shape, text = saved_settings(config, LanguageConfig, TextConfig, where)
    units = units_from_json(tokens, where)
    model = LanguageModel(len(units), shape)
    return with_weights(model, tensors, where), units, text
