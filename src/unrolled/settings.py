"""Configuration dataclasses: one declaration serves the library, the command line's flags and ``config.json``.

No torch here, nor in any module that declares a configuration: ``unrolled --help`` must answer at once.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from unrolled.errors import UserError

C = TypeVar("C")

_BOUNDS = {
    "min": (operator.ge, "at least"),
    "max": (operator.le, "at most"),
    "above": (operator.gt, "above"),
    "below": (operator.lt, "below"),
}


def option(
    default: Any,
    help: str,
    *,
    min: float | None = None,
    max: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    flag: str | None = None,
) -> Any:
    """A dataclass field with what a flag needs: help text, inclusive (``min``, ``max``) and open (``above``,
    ``below``) bounds, choices, and the flag's name where it is not the field's with dashes."""
    metadata = {
        "help": help, "min": min, "max": max, "above": above, "below": below, "choices": choices, "flag": flag,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def flag_name(field: dataclasses.Field[Any]) -> str:
    """``clip_norm`` is ``--clip-norm``, unless the field names its own flag."""
    return field.metadata.get("flag") or "--" + field.name.replace("_", "-")


def field_type(config: type, name: str) -> tuple[type, bool]:
    """The plain type of a field and whether None is allowed: ``float | None`` is ``(float, True)``."""
    hint = typing.get_type_hints(config)[name]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [t for t in typing.get_args(hint) if t is not type(None)]
        return inner[0], True
    return hint, False


def check(config: Any) -> None:
    """Check every field against its declared bounds and choices.

    Raises:
        UserError: names the flag, the value and what is allowed.
    """
    for field in dataclasses.fields(config):
        value, meta, name = getattr(config, field.name), field.metadata, flag_name(field)
        if value is None:
            continue
        if meta.get("choices") and value not in meta["choices"]:
            raise UserError(f"{name} {value}: not one of {', '.join(meta['choices'])}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} {value}: " + ("not a number" if math.isnan(value) else "must be finite"))
        for key, (holds, words) in _BOUNDS.items():
            bound = meta.get(key)
            if bound is not None and not holds(value, bound):
                raise UserError(f"{name} {value}: must be {words} {bound if isinstance(bound, int) else f'{bound:g}'}")


def to_dict(config: Any) -> dict[str, Any]:
    """The fields as plain JSON values."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}


def from_dict(config: type[C], values: Mapping[str, Any], where: str) -> C:
    """Build ``config`` from JSON values, naming what does not fit.

    Args:
        where: the file the values came from, for the message.
    Raises:
        UserError: on an unknown name or a value of the wrong type or out of range.
    """
    known = {f.name for f in dataclasses.fields(config)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in known:
            raise UserError(f"{where}: unknown setting {name!r}; known: {', '.join(sorted(known))}")
        wanted, optional = field_type(config, name)
        fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
        if isinstance(value, bool) and wanted is not bool:
            fits = False
        if not (fits or (value is None and optional)):
            raise UserError(f"{where}: setting {name!r} is {value!r}, not a {wanted.__name__}")
    made = config(**values)
    check(made)
    return made
