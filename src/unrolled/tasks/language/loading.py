"""A trained language model back from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unrolled.data.config import TextConfig
from unrolled.data.units import Units, units_from_json
from unrolled.errors import UserError
from unrolled.settings import from_dict
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel


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
    for name in ("model", "data"):
        if not isinstance(config.get(name), Mapping):
            raise UserError(f"{where}: config.json has no {name!r} settings; restore the file")
    shape = from_dict(LanguageConfig, config["model"], where)
    text = from_dict(TextConfig, {k: v for k, v in config["data"].items() if k != "digest"}, where)
    units = units_from_json(tokens, where)
    model = LanguageModel(len(units), shape)
    if tensors:
        model.to(next(iter(tensors.values())).dtype)
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise UserError(f"{where}: the weights do not fit the settings ({reason}); restore the folder") from None
    return model.eval(), units, text
