"""The folder of encoded texts. Entries appear whole or not at all: written aside, synced, then renamed."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from unrolled.errors import UserError

STALE = 24 * 3600  # seconds after which an unfinished entry is nobody's
_fallback: dict[str, Path] = {}  # one temporary folder a process, by the folder it stands in for


def cache_folder(given: Path | None = None) -> tuple[Path, str | None]:
    """The cache folder, made if need be, and a note where a temporary one stands in for it.

    ``given``, else ``$UNROLLED_CACHE``, else ``$XDG_CACHE_HOME/unrolled``, else ``~/.cache/unrolled``. A folder that
    cannot be written is replaced by a temporary one that goes when the process ends.
    """
    folder = given or _default()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        return folder, None
    except OSError as error:
        reason = error.strerror or str(error)
    if str(folder) not in _fallback:
        made = Path(tempfile.mkdtemp(prefix="unrolled-"))
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        _fallback[str(folder)] = made
    return _fallback[str(folder)], f"cache {folder}: {reason}; a temporary folder stands in (set UNROLLED_CACHE)"


def _default() -> Path:
    if named := os.environ.get("UNROLLED_CACHE"):
        return Path(named)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "unrolled"
    try:
        return Path.home() / ".cache" / "unrolled"
    except RuntimeError:  # no home folder at all, as in some containers
        return Path(tempfile.gettempdir()) / "unrolled"


@contextlib.contextmanager
def new_entry(entry: Path) -> Iterator[Path]:
    """A temporary folder beside ``entry`` to fill; it becomes ``entry`` when the block ends well.

    Raises:
        UserError: the disk is full or fails.
    """
    try:
        for left in entry.parent.glob(".new-*"):  # by a process that was killed
            if time.time() - left.stat().st_mtime > STALE:
                shutil.rmtree(left, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=entry.parent))
        try:
            yield work
            for path in work.iterdir():
                _sync(path)
            _sync(work)
            _put(work, entry)
            _sync(entry.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cache {entry.parent}: {error.strerror or error}; make room there, or set UNROLLED_CACHE to another folder"
        ) from None


def _put(work: Path, entry: Path) -> None:
    """Rename ``work`` to ``entry``. Entries are named by their content, so one that another process put there first
    is as good; but one that is there and was found damaged has to go."""
    aside = work.with_name(work.name + ".old")
    with contextlib.suppress(FileNotFoundError):
        os.replace(entry, aside)
    try:
        os.rename(work, entry)
    except OSError:
        if not entry.is_dir():
            raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    """Force a file or folder to disk, where the system can."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder on Windows cannot be opened, and need not be
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
