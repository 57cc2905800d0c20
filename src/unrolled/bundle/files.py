"""Files that are either old and whole or new and whole, whatever interrupts the writing."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from unrolled.errors import UserError

Content = bytes | Callable[[BinaryIO], None]
"""What a file is to hold: its bytes, or a function that writes them to an open binary file."""

NEW = ".new"  # a file or folder still being written is called .NAME.new
OLD = ".old"  # a folder being removed is called .NAME.old, so that half of one is never taken for a whole one

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def disk_errors(folder: Path, flag: str = "--out") -> Iterator[None]:
    """Turn an OSError into a UserError that names ``folder`` and what to do; ``flag`` is the one that named it."""
    try:
        yield
    except OSError as e:
        if e.errno in _FULL:
            trouble = "the disk is full; free some space and run again (what was saved before is whole)"
        elif e.errno == errno.EFBIG:
            trouble = "a file would pass the size limit; raise it (ulimit -f) and run again (what was saved is whole)"
        elif e.errno in _CLOSED:
            trouble = f"not writable; give another folder with {flag}, or change its permissions"
        elif e.errno in (errno.ENOTDIR, errno.EEXIST):
            trouble = f"cannot be made, a file is in the way; give another folder with {flag}"
        else:
            trouble = f"cannot be written ({e.strerror or e}); give another folder with {flag}"
        raise UserError(f"{folder}: {trouble}") from e


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable; without this a rename may be lost with the power."""
    if os.name == "nt":  # Windows cannot open a folder, and orders its renames itself
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, content: Content) -> None:
    """Write ``path`` in place and wait until the disk has it. Raises OSError."""
    with open(path, "wb") as file:
        if callable(content):
            content(file)
        else:
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: Content, flag: str = "--out") -> None:
    """Write ``path`` so that a reader finds the old content or the new, never a part of either.

    Raises:
        UserError: the folder is not writable or the disk is full; the old file is untouched.
    """
    new = path.with_name(f".{path.name}{NEW}")
    with disk_errors(path.parent, flag):
        try:
            write_synced(new, content)
            os.replace(new, path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_folder(path: Path, files: Mapping[str, Content]) -> None:
    """Make the folder ``path`` with these files: under another name first, synced, then renamed.

    Args:
        path: must not exist yet; its parents are made.
        files: contents by plain file name.
    Raises:
        UserError: not writable or full; nothing is left behind.
    """
    new = path.with_name(f".{path.name}{NEW}")
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir()
            for name, content in files.items():
                write_synced(new / name, content)
            sync_folder(new)
            os.rename(new, path)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder so that an interruption leaves nothing that looks like it. Raises OSError."""
    old = path.with_name(f".{path.name}{OLD}")
    shutil.rmtree(old, ignore_errors=True)
    os.rename(path, old)
    shutil.rmtree(old)


def sweep(folder: Path) -> None:
    """Remove what an interrupted :func:`write_folder` or :func:`remove_folder` left in ``folder``. Raises OSError."""
    for entry in folder.iterdir():
        if entry.name.startswith(".") and entry.name.endswith((NEW, OLD)):
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
