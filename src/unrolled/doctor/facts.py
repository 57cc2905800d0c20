"""What is there: versions, processor, threads, memory, engines."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import torch

import unrolled
from unrolled.doctor.kernel import native_module
from unrolled.engines.select import native_missing

CGROUP = Path("/sys/fs/cgroup")


def gather() -> dict[str, dict[str, str]]:
    """Facts by section, as words for a table; the engines that are not there say why."""
    missing = native_missing()
    found = {
        "this installation": {
            "unrolled": unrolled.__version__,
            "python": f"{platform.python_version()} ({sys.platform}, {platform.machine()})",
            "torch": torch.__version__,
            "torch's products": "MKL" if torch._C.has_mkl else "no MKL",
            "torch's sequences": "oneDNN" if torch._C._has_mkldnn else "no oneDNN",
        },
        "engines": {
            "native": f"no: {missing}" if missing else "yes",
            "aten": "yes",
            "reference": "yes",
        },
        "instructions": {"torch uses": torch.backends.cpu.get_cpu_capability()},
        "threads": {
            "torch's": str(torch.get_num_threads()),
            "processors of the machine": str(os.cpu_count()),
            "processors this thread may use": _affinity(),
            "quota of the cgroup": quota(CGROUP) or "none",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        },
        "memory": {"cgroup limit": memory_limit(CGROUP) or "none"},
    }
    if missing is None:
        native = native_module()
        found["instructions"] |= {
            "native uses": native.isa(),
            "native has here": ", ".join(native.supported_isas()),
            "UNROLLED_ISA": os.environ.get("UNROLLED_ISA", "not set"),
        }
        found["threads"] |= {
            "native may use": str(native.available_threads()),
            "native works on": "torch's OpenMP threads" if native.borrowed_threads() else "its own threads",
        }
        found["memory"] |= {
            "native keeps at most, idle": f"{native.idle_cap() / 1e6:.0f} MB (UNROLLED_KEEP_BYTES)",
            "idle now": f"{native.idle_bytes() / 1e6:.1f} MB",
        }
    return found


def _affinity() -> str:
    return str(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else "not told by this system"


def quota(folder: Path) -> str | None:
    """Processors that the cgroup (version 2, or 1) allows, None for no quota."""
    try:
        limit, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        try:
            limit = (folder / "cpu" / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu" / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        except OSError:
            return None
    if limit in ("max", "-1"):
        return None
    return f"{int(limit) / int(period):g} processors"


def memory_limit(folder: Path) -> str | None:
    """What the cgroup allows, None for no limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = (folder / name).read_text(encoding="utf-8").strip()
        except OSError:
            continue
        return None if limit == "max" or int(limit) >= 1 << 60 else f"{int(limit) / 1e9:.1f} GB"
    return None
