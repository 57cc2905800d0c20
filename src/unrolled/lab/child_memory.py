"""Peak memory of one way to train, in a process of its own, since a process's peak never falls.

python -m unrolled.lab.child_memory K T B H V
"""

from __future__ import annotations

import json
import subprocess
import sys

import torch

from unrolled.bench.child_memory import resident
from unrolled.lab.texts import LanguageModel, train


def measure(k: int, T: int, B: int, H: int, V: int) -> float | None:
    """Bytes above what the process had before, for truncated training over T steps of B streams; None on Windows,
    which tells no process its peak."""
    if sys.platform == "win32":
        return None
    arguments = [str(n) for n in (k, T, B, H, V)]
    done = subprocess.run([sys.executable, "-m", __name__, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring memory at T={T} failed:\n{done.stderr}")
    found: float = json.loads(done.stdout)["bytes"]
    return found


def main(arguments: list[str]) -> None:
    """One measurement, as one JSON line."""
    k, T, B, H, V = (int(a) for a in arguments)
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = LanguageModel(V, H)
    ids = torch.randint(0, V, (T + 1, B))
    train(model, ids[: min(T, 5) + 1], 5, 5, 1e-3)  # libraries load code at the first call
    before = resident("VmRSS")
    train(model, ids, k, min(T, max(k, 4 * k)), 1e-3)
    print(json.dumps({"bytes": max(0, resident("VmHWM") - before)}))


if __name__ == "__main__":
    main(sys.argv[1:])
