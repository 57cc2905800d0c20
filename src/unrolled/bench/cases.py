"""The cases by name, and running them. No torch here: a case is imported when it is run."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unrolled.bench.config import BenchConfig
from unrolled.bench.figures import Row
from unrolled.bench.picture import check_target, draw
from unrolled.errors import UserError

CASES = {
    "sequence": "LSTM, GRU, RNN forward and backward, large: share of sgemm, and against torch.nn",
    "tiny": "one stream of 25 steps, 100 units: through autograd, and the engine's own call",
    "grid": "batch x hidden x steps x cells against torch.nn",
    "options": "what a reset mask, a trace, layer norm and zoneout cost",
    "train-step": "a character LSTM's whole training step against torch.nn with fused AdamW",
    "min-char-rnn": "the lecture's program against NumPy",
    "memory": "peak memory of training over 1000 steps against torch.nn",
    "step": "one sampling step against LSTMCell, ONNX Runtime and nn.LSTM",
    "streams": "256 streams at once against one",
}


def rows(name: str, config: BenchConfig) -> Iterator[Row]:
    """Measure a case, row by row.

    Raises:
        UserError: no case of this name; the engine asked for is not there.
    """
    if name not in CASES:
        raise UserError(f"{name}: no such case; one of {', '.join(CASES)}")
    module = importlib.import_module(f"unrolled.bench.case_{name.replace('-', '_')}")
    found: Iterator[Row] = module.rows(config)
    return found


def start(config: BenchConfig) -> dict[str, Any]:
    """Set the threads; what a figure must be read with: machine, versions, threads, engine.

    Raises:
        UserError: the engine asked for is not in this installation.
    """
    import platform

    import torch

    from unrolled.engines.select import native_missing

    if config.engine == "native" and (why := native_missing()) is not None:
        raise UserError(f"--engine native: {why}; use --engine auto")
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return {
        "engine": config.engine,
        "threads": torch.get_num_threads(),
        "pairs": config.pairs,
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "processor": platform.processor() or platform.machine(),
    }


def run(names: Sequence[str], config: BenchConfig, *, as_json: bool = False) -> int:
    """Measure, show and dump; what ``unrolled bench`` and the scripts in ``benchmarks/`` do.

    Returns:
        1 where a result was wrong, otherwise 0: a bar that was missed is told, and no error.
    """
    from unrolled.bench.show import dump, failed, show

    for name in names:
        if name not in CASES:
            raise UserError(f"{name}: no such case; one of {', '.join(CASES)}")
    if config.plot is not None:
        check_target(Path(config.plot))
    facts, bad, measured = start(config), False, []
    for name in names:
        title = f"{name}: {CASES[name]} ({facts['threads']} threads, {config.pairs} pairs, engine {config.engine})"
        found = list(rows(name, config)) if as_json else show(title, rows(name, config))
        if found:
            dump(name, facts, found)
            measured.append((name, found))
        bad |= failed(found)
    if not measured:
        raise UserError(f"--only {config.only}: no row of {', '.join(names)} has that in its name")
    if config.plot is not None:
        draw(
            Path(config.plot), measured, f"torch {facts['torch']}, {facts['instructions']}, {facts['threads']} threads"
        )
    return int(bad)
