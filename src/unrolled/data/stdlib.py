"""The text at hand on every machine: the source of Python's own standard library."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from unrolled.data.text import Item, Source
from unrolled.errors import UserError

# Tests are half of the library and read differently; site-packages is not the library at all.
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def stdlib_source() -> Source:
    """Every ``*.py`` of the standard library, sorted, without its tests and without what is not UTF-8.

    Raises:
        UserError: this Python keeps no sources on disk (an embedded or frozen one).
    """
    root = Path(sysconfig.get_path("stdlib"))
    items: list[Item] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT and not name.startswith(".")]
        for name in files:
            path = Path(folder) / name
            if name.endswith(".py") and _is_utf8(path):
                items.append(Item(str(path), path, path.stat().st_size))
    if not items:
        raise UserError(f"no Python sources under {root}; name a text of your own: unrolled train FILE")
    items.sort(key=lambda item: Path(item.name).relative_to(root).parts)
    version = sysconfig.get_python_version()
    return Source(items, f"Python {version} standard library", [f"text: {len(items)} files of {root}, tests left out"])


def _is_utf8(path: Path) -> bool:
    """Whether the file can be read, has something in it, and is UTF-8 without NUL bytes."""
    try:
        data = path.read_bytes()
        data.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return bool(data) and b"\0" not in data
