"""What every task does to bring a trained model back from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from unrolled.errors import UserError
from unrolled.settings import from_dict

Model = TypeVar("Model")
Data = TypeVar("Data")
Module = TypeVar("Module", bound=nn.Module)


def saved_settings(config: Mapping[str, Any], model: type[Model], data: type[Data], where: str) -> tuple[Model, Data]:
    """The "model" and "data" tables of a ``config.json``.

    Args:
        where: what messages call the folder.
    Raises:
        UserError: a table is missing, or a setting unknown or out of range.
    """
    for name in ("model", "data"):
        if not isinstance(config.get(name), Mapping):
            raise UserError(f"{where}: config.json has no {name!r} settings; restore the file")
    saved = {k: v for k, v in config["data"].items() if k != "digest"}
    return from_dict(model, config["model"], where), from_dict(data, saved, where)


def with_weights(model: Module, tensors: Mapping[str, Tensor], where: str) -> Module:
    """``model`` in the weights' precision, holding them, in evaluation mode.

    Raises:
        UserError: weights of other names or shapes.
    """
    floating = [tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()]
    if floating:
        model.to(floating[0])
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise UserError(f"{where}: the weights do not fit the settings ({reason}); restore the folder") from None
    return model.eval()
