"""The folder of encoded texts. Entries appear whole or not at all: written aside, synced, then renamed."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from unrolled.errors import UserError

STALE = 24 * 3600  # seconds after which an unfinished entry is nobody's
UNUSED = 90 * 24 * 3600  # seconds after which an entry that nobody opened is dropped
FRESH = 3600  # seconds in which an entry is not dropped whatever its size: another process may just have made it
MOST_BYTES = 20_000_000_000  # of all entries together; beyond that the least recently used are dropped
ENTRY = re.compile("[0-9a-f]{40}")  # other things in the folder are not ours
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
            prune(entry)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"cache {entry.parent}: {error.strerror or error}; make room there, or set UNROLLED_CACHE to another folder"
        ) from None


def touch(entry: Path) -> None:
    """Note that ``entry`` is in use."""
    with contextlib.suppress(OSError):
        os.utime(entry)


def prune(newest: Path) -> None:
    """Drop the entries beside ``newest`` that were not used for :data:`UNUSED` seconds, and the least recently used of
    those that are too much together (but none used within :data:`FRESH` seconds).

    One that another process reads is dropped all the same: what is mapped stays until it is let go, and where the
    system does not allow that, the entry stays. What fails here fails silently.
    """
    ages: list[tuple[float, int, Path]] = []
    with contextlib.suppress(OSError):
        for entry in newest.parent.iterdir():
            if ENTRY.fullmatch(entry.name) and entry != newest:
                with contextlib.suppress(OSError):  # another process drops it
                    ages.append((time.time() - entry.stat().st_mtime, _size(entry), entry))
    with contextlib.suppress(OSError):
        total = _size(newest)
        for age, size, entry in sorted(ages):
            total += size
            if age > UNUSED or (age > FRESH and total > MOST_BYTES):
                total -= size
                with contextlib.suppress(OSError):
                    _drop(entry)


def _size(entry: Path) -> int:
    return sum(path.stat().st_size for path in entry.iterdir())


def _drop(entry: Path) -> None:
    # Renamed first, so that nobody finds half an entry; as a name that is swept up if this process ends here.
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=entry.parent))
    try:
        os.rename(entry, aside / entry.name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


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
