"""One training at a time in a run's folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from unrolled.bundle.files import disk_errors
from unrolled.errors import UserError

LOCK = ".lock"


@contextlib.contextmanager
def only_one(run: Path) -> Iterator[None]:
    """Hold ``run`` while it is trained. The system lets go of it however this process ends; where it has no such locks
    (Windows, some network folders) nothing is held.

    Raises:
        UserError: another process trains there; the folder is not writable.
    """
    with _opened(run) as file:
        if not _taken(file):
            file.seek(0)
            raise UserError(f"{run}: process {file.read()} is training it; wait for its end, or stop it first")
        with disk_errors(run):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (run / LOCK).unlink()


def _opened(run: Path) -> IO[str]:
    with disk_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        return open(run / LOCK, "a+", encoding="ascii")


def _taken(file: IO[str]) -> bool:
    """Whether it is ours now, or cannot be anybody's."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        pass
    return True
