"""Presets: plain TOML files of settings, in the tables ``[model]``, ``[data]`` and ``[train]``. No torch here."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unrolled.data.config import TextConfig
from unrolled.errors import UserError
from unrolled.settings import from_dict
from unrolled.tasks.language.config import LanguageConfig
from unrolled.training.config import TrainConfig

# Python 3.10 has no TOML reader of its own.
tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

TABLES: Mapping[str, type] = {"model": LanguageConfig, "data": TextConfig, "train": TrainConfig}


@dataclasses.dataclass(frozen=True)
class Preset:
    """Settings by table; only those the file states, so that a flag can stand above them and a default below."""

    name: str
    model: dict[str, Any]
    data: dict[str, Any]
    train: dict[str, Any]


def preset_names() -> list[str]:
    """The presets that come with the package, in alphabetical order."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.toml"))


def load_preset(name: str, tables: Mapping[str, type] = TABLES) -> Preset:
    """Read a preset.

    Args:
        name: one of :func:`preset_names`, or the path of a ``.toml`` file of your own.
        tables: the dataclass that each table's settings belong to.
    Raises:
        UserError: no such preset or file, not TOML, an unknown table or setting, or a value that does not fit.
    """
    path = Path(name)
    if path.suffix != ".toml":
        if name not in preset_names():
            raise UserError(f"--preset {name}: not one of {', '.join(preset_names())}, nor a .toml file")
        path = Path(__file__).parent / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise UserError(f"--preset {name}: cannot be read ({e.strerror or e}); check the path") from e
    except ValueError as e:  # TOML's errors and UTF-8's
        raise UserError(f"--preset {name}: not a TOML file ({e}); correct it there") from e
    for table, values in content.items():
        if table not in tables or not isinstance(values, dict):
            raise UserError(f"--preset {name}: unknown table or setting {table!r}; the tables are "
                            + ", ".join(f"[{t}]" for t in tables))  # fmt: skip
        try:
            from_dict(tables[table], values, f"[{table}]")
        except UserError as e:
            raise UserError(f"--preset {name}: {e}") from e
    return Preset(path.stem, **{table: dict(content.get(table, {})) for table in ("model", "data", "train")})
