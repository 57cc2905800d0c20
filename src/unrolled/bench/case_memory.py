"""Peak memory of training over 1000 steps: forward, backward, AdamW; LSTM, T 1000, B 32, I 512, H 512, one layer.

Every measurement is a fresh process: its peak resident memory less what was resident before the data was made, so
data, gradients, tape and optimiser count and the libraries do not. The peer is ``torch.nn.LSTM`` in the same script.
"beyond the data" leaves the caller's own x and gradient of the output out as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import torch

from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Bar, Figure, Row, figure

SHAPE = (1000, 32, 512, 512)
MB = 1e6


def rows(config: BenchConfig, shape: tuple[int, int, int, int] = SHAPE) -> Iterator[Row]:
    """One row; a third of the pairs, since memory hardly varies."""
    T, B, I, H = shape
    name = f"LSTM B{B} T{T} I{I} H{H}, training"
    if not config.wants(name):
        return
    if sys.platform == "win32":
        yield Row(name, skipped="the peak of a process is read from /proc or getrusage, which Windows has not")
        return
    found: dict[str, list[dict[str, float]]] = {"ours": [], "torch": []}
    for _ in range(max(1, config.pairs // 3)):
        for side, engine in (("ours", config.engine), ("torch", "auto")):
            found[side].append(measure(side, engine, config.threads or torch.get_num_threads(), shape))
    ours, theirs = (found[side] for side in ("ours", "torch"))
    difference = abs(ours[0]["sum"] - theirs[0]["sum"])
    if not difference <= 1e-3 * T * B * H**0.5:  # the sum of T*B*H outputs of either sign
        yield Row(name, refused=f"the outputs' sum after training differs from torch's by {difference:.3g}")
        return
    of_torch = Bar(0.6, 0.5, below=True)
    yield Row(
        name,
        {
            "share": _share([o["bytes"] / t["bytes"] for o, t in zip(ours, theirs, strict=True)], of_torch),
            "beyond the data": _share([(o["bytes"] - o["given"]) / (t["bytes"] - t["given"])
                                       for o, t in zip(ours, theirs, strict=True)]),
            "ours": figure([o["bytes"] / MB for o in ours], "MB"),
            "torch": figure([t["bytes"] / MB for t in theirs], "MB"),
        },
    )  # fmt: skip


def _share(values: list[float], bar: Bar | None = None) -> Figure:
    return figure(values, "x", bar)


def measure(side: str, engine: str, threads: int, shape: tuple[int, int, int, int]) -> dict[str, float]:
    """One training in a process of its own: ``bytes``, of them ``given`` (the caller's data), ``sum`` of the output."""
    arguments = [side, engine, str(threads), *(str(n) for n in shape)]
    done = subprocess.run(
        [sys.executable, "-m", "unrolled.bench.child_memory", *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"measuring memory of {side} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result
