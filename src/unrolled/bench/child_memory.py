"""Trains one layer in this fresh process and prints what memory that took: run by :mod:`unrolled.bench.case_memory`.

python -m unrolled.bench.child_memory SIDE ENGINE THREADS T B I H
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

UPDATES = 3


def resident(which: str) -> int:
    """Bytes: ``VmHWM`` is the peak so far, ``VmRSS`` what is resident now."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith(which):
            return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def train(layer: nn.Module, x: torch.Tensor, d_output: torch.Tensor, updates: int) -> float:
    """Forward, backward and AdamW; the sum of the last output, for the parity check."""
    optimiser = torch.optim.AdamW(layer.parameters(), lr=1e-4, fused=True)
    total = 0.0
    for _ in range(updates):
        optimiser.zero_grad(set_to_none=True)
        x.grad = None
        output = layer(x)[0]
        output.backward(d_output)
        optimiser.step()
        # Step by step: a copy of the whole output in float64 would count as memory of the training.
        total = sum(float(step.double().sum()) for step in output.detach())
    return total


def main(arguments: list[str]) -> None:
    """One measurement, as one JSON line."""
    side, engine = arguments[:2]
    threads, T, B, I, H = (int(a) for a in arguments[2:])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    from unrolled.layers import LSTM

    def make(read: int, width: int) -> nn.Module:
        return LSTM(read, width, engine=engine) if side == "ours" else nn.LSTM(read, width)

    # Libraries load code and threads at the first call: that is not what training takes.
    train(make(8, 8), torch.zeros(2, 1, 8, requires_grad=True), torch.ones(2, 1, 8), 1)
    layer = make(I, H)
    if side != "ours":  # the same weights, drawn by ours
        torch.manual_seed(1)
        LSTM(8, 8)
        layer.load_state_dict(LSTM(I, H).state_dict())
    empty = resident("VmRSS")
    x, d_output = torch.randn(T, B, I).mul_(0.5).requires_grad_(), torch.randn(T, B, H)
    given = resident("VmRSS")
    total = train(layer, x, d_output, UPDATES)
    print(json.dumps({"bytes": resident("VmHWM") - empty, "given": given - empty, "sum": total}))


if __name__ == "__main__":
    main(sys.argv[1:])
