"""What the machine has: its devices, and its memory when that is not enough."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import torch

from unrolled.errors import UserError

_ALLOCATOR = re.compile(
    r"not enough memory|can't allocate|DefaultCPUAllocator|out of memory|Storage size calculation overflowed",
    re.IGNORECASE,
)
"""How torch's allocators complain. Any other RuntimeError is a bug and stays one."""


def device_of(name: str) -> torch.device:
    """The device of ``--device``.

    Raises:
        UserError: no device is called so, or this machine does not have it.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: no device; use cpu, or cuda, cuda:1, mps where there is one") from None
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= count.get(device.type, 0):
        raise UserError(f"--device {name}: not available on this machine; use --device cpu")
    return device


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """Turn an allocator's refusal into one line for the user; everything else passes as it is.

    Raises:
        UserError: what is inside needs more memory than there is.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        if not isinstance(e, MemoryError) and not _ALLOCATOR.search(str(e)):
            raise
        raise UserError(
            f"--hidden/--batch: too large for this machine's memory ({_wanted(str(e))}); --dry-run tells what is needed"
        ) from e


def _wanted(message: str) -> str:
    """What was asked for, where the allocator says it."""
    cpu = re.search(r"tried to allocate (\d+) bytes", message)
    if cpu is None:
        other = re.search(r"tried to allocate ([\d.]+ [KMGT]?i?B)", message, re.IGNORECASE)
        return f"{other[1]} at once" if other else "an allocation failed"
    size = float(cpu[1])
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000:
            return f"{size:.1f} {unit} at once"
        size /= 1000
    return f"{size:,.1f} PB at once"
