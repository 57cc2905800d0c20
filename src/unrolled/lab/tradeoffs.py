"""``unrolled lab tradeoffs``: the lecture's four advantages and two disadvantages, each with a measured verdict."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from unrolled.errors import UserError
from unrolled.lab import child_memory, drawing, reach
from unrolled.lab.config import LabConfig
from unrolled.lab.problems import Adding
from unrolled.lab.report import Picture, Report, Table, Watch, number
from unrolled.lab.trial import Progress, Trial, train
from unrolled.layers import GRU

LENGTHS, QUICK_LENGTHS = (10, 50, 100, 300, 1000, 3000, 10_000), (10, 50, 100, 1000)
TRAINED_AT, HIDDEN, STEPS, QUICK_STEPS = 50, 64, 4_000, 1_500
WIDE, ROWS = 256, (1, 32)
"""H of the network whose time is taken, and batches."""
MEMORY = ((500, 2000, 8000), (500, 2000))
MEMORY_ROWS, MEMORY_V = 32, 8
TIMINGS = 5


def run(config: LabConfig, out: Path, watch: Watch) -> Report:
    """Measure each claim."""
    lengths = tuple(sorted(config.numbers() or (QUICK_LENGTHS if config.quick else LENGTHS)))
    if min(lengths) < 2:
        raise UserError(f"--lengths {min(lengths)}: at least 2")
    steps = config.steps or (QUICK_STEPS if config.quick else STEPS)
    result, errors = _train(lengths, steps, watch)
    watch.stage("time of a step", 0.5)
    times = [row for rows in ROWS for row in (_times(T, rows) for T in lengths)]
    watch.stage("memory", 0.7)
    memory = _memory(config.quick)
    watch.stage("reach", 0.9)
    long = 1000 if config.quick else 10_000
    found: dict[str, Any] = {
        "errors": errors, "trained": result, "times": times, "memory": memory, "places": reach.same_anywhere(long),
        "held": reach.held_over(long), "long": long, "reaches": reach.reaches(1000), "parameters": result["parameters"],
    }  # fmt: skip
    settings = (
        f"tradeoffs: a GRU of {HIDDEN} units trained on adding at T={TRAINED_AT} ({result['steps']:,} updates, test "
        f"MSE {number(result['score'])} there) and read at other lengths; time of a GRU of {WIDE} units, median of "
        f"{TIMINGS}, {torch.get_num_threads()} thread(s); memory of training an LSTM of {HIDDEN} units on "
        f"{MEMORY_ROWS} streams, each length in a process of its own."
    )
    by_length = _length_table(lengths, errors, result["parameters"])
    tables = [_claims(found), by_length, _time_table(times), _reach_table(found)]
    return Report("tradeoffs", settings, tables, [_picture(lengths, found)], _memory_lines(memory), found)


def _train(lengths: tuple[int, ...], steps: int, watch: Watch) -> tuple[dict[str, Any], dict[int, float]]:
    """Train once at one length; the errors of the same weights at all lengths."""
    trial = Trial("adding", "gru", TRAINED_AT, 1, HIDDEN, steps)
    problem = Adding(TRAINED_AT)

    def follow(progress: Progress) -> None:
        watch.stage(f"training at T={TRAINED_AT}, step {progress.step}", 0.5 * progress.step / steps)

    kept: dict[str, torch.Tensor] = {}
    result = train(trial, problem, follow, kept)
    return result, reach.errors_by_length(kept, trial, lengths)


def _times(T: int, rows: int) -> dict[str, Any]:
    """Microseconds a step, serial, and of one product with as many flops; both over T steps."""
    torch.manual_seed(1)
    layer, x = GRU(WIDE, WIDE), torch.randn(T, rows, WIDE)
    many, weight = torch.randn(T * rows, WIDE), torch.randn(WIDE, 3 * WIDE)
    projected = torch.empty(T * rows, 3 * WIDE)

    def serial() -> None:
        layer(x)

    def product() -> None:  # the input product, which is parallel over time in the network too, and the recurrent one
        torch.mm(many, weight, out=projected)
        torch.mm(many, weight, out=projected)

    with torch.no_grad():
        found = {name: 1e6 * _median(work) / T for name, work in (("serial", serial), ("product", product))}
    return {"T": T, "rows": rows, **found}


def _median(work: Callable[[], None]) -> float:
    work()
    seconds = []
    for _ in range(TIMINGS):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _memory(quick: bool) -> dict[str, Any]:
    """Peak bytes of training by length, and where this machine's memory would end; None where it cannot be told."""
    lengths = MEMORY[quick]
    peaks = {T: child_memory.measure(T, T, MEMORY_ROWS, HIDDEN, MEMORY_V) for T in lengths}
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if sys.platform == "linux" else None
    first, last = peaks[lengths[0]], peaks[lengths[-1]]
    a_step = None if first is None or last is None else (last - first) / (lengths[-1] - lengths[0])
    ends = None if not a_step or total is None else round(total / a_step)
    return {"peaks": peaks, "bytes_per_step": a_step, "total": total, "ends": ends}


def _claims(found: dict[str, Any]) -> Table:
    """Each claim, what was measured, the verdict."""
    errors, trained = found["errors"], found["trained"]
    good = [T for T, e in errors.items() if e < 0.01]
    bad = [T for T, e in errors.items() if not e < 0.01]
    conditions = "true" if not bad else "true with conditions"
    kept, identity = found["held"]
    by_rows = {rows: [t["serial"] / t["product"] for t in found["times"] if t["rows"] == rows] for rows in ROWS}
    slow = {rows: statistics.median(ratios) for rows, ratios in by_rows.items()}
    lags = found["reaches"]
    gone = {name: "beyond 1,000" if k is None else f"{k}" for name, k in lags.items()}
    spread = [k for k in lags.values() if k is not None]
    rows = [
        ("Can process any length input",
         f"runs at every T; MSE below 0.01 at {_lengths(good)}, not at {_lengths(bad)} (trained at T={TRAINED_AT})",
         conditions if trained["solved"] else "runs, but this one learnt nothing to keep"),
        ("Step t can (in theory) use information from many steps back",
         f"LSTM with f=1, i=0: after {found['long']:,} steps c is {'the same bits' if kept else 'changed'}, its "
         f"gradient {'exactly I' if identity else 'not I'}", "true" if kept and identity else "false"),
        ("Model size doesn't increase for longer input",
         f"{found['parameters']:,} parameters at every T; training memory does grow", "true"),
        ("Same weights at every step: symmetry",
         f"20 inputs at three places of {found['long']:,} steps, from a fresh state: "
         f"{'the same bits' if found['places'] else 'different bits'}", "true" if found["places"] else "false"),
        ("Recurrent computation is slow",
         "serial over one product of as many flops: " + ", ".join(f"{r:.1f} times at B={b}" for b, r in slow.items()),
         "true" if min(slow.values()) > 1.5 else "true with conditions" if max(slow.values()) > 1.5 else "false"),
        ("Difficult to access information from many steps back",
         "untrained, lag at which the gradient is below 1e-3: " + ", ".join(f"{n}: {k}" for n, k in gone.items()),
         "true with conditions" if len(spread) < len(lags) or max(spread) > 5 * min(spread) else "true"),
    ]  # fmt: skip
    return Table("The lecture's list", ("claim", "measured here", "verdict"), rows)


def _lengths(found: list[int]) -> str:
    return f"T = {', '.join(f'{T:,}' for T in found)}" if found else "none"


def _length_table(lengths: tuple[int, ...], errors: dict[int, float], count: int) -> Table:
    rows = [(f"{T:,}", f"{count:,}", number(errors[T]) + ("*" if errors[T] < 0.01 else "")) for T in lengths]
    return Table("One set of weights at every length", ("T", "parameters", "adding, MSE"), rows,
                 f"Trained at T={TRAINED_AT} alone; 64 examples each; * is solved, trivial is 0.167.")  # fmt: skip


def _time_table(times: list[dict[str, Any]]) -> Table:
    rows = [
        (
            f"{t['T']:,}",
            f"{t['rows']}",
            f"{t['serial']:.2f}",
            f"{t['product']:.2f}",
            f"{t['serial'] / t['product']:.1f}",
        )
        for t in times
    ]
    return Table("Time of a step in microseconds", ("T", "B", "serial", "one product", "ratio"), rows,
                 "Forward without gradients. The product has the flops of the layer's two products over all steps at "
                 "once; the layer also makes the gates.")  # fmt: skip


def _reach_table(found: dict[str, Any]) -> Table:
    rows = [(name, "beyond 1,000" if k is None else f"{k:,}") for name, k in found["reaches"].items()]
    reading = "‖∂(v·h_T)/∂x_{T-k}‖ relative to k = 0, median of 32 sequences of normal input, 64 units."
    return Table(
        "How far back an untrained network's gradient reaches", ("network", "first lag below 1e-3"), rows, reading
    )


def _memory_lines(memory: dict[str, Any]) -> list[str]:
    if memory["bytes_per_step"] is None:
        return ["Memory was not measured: this system tells no process its peak."]
    peaks = ", ".join(f"T={T:,}: {peak / 1e6:.0f} MB" for T, peak in memory["peaks"].items())
    line = f"Training memory grows with T: {peaks}; {memory['bytes_per_step'] / 1e3:.1f} kB a step."
    if memory["ends"] is not None:
        line += (
            f" This machine's {memory['total'] / 1e9:.0f} GB would end at about T={memory['ends']:,} (extrapolated)."
        )
    return [line, "Reading without training keeps the state alone: its memory does not depend on T."]


def _picture(lengths: tuple[int, ...], found: dict[str, Any]) -> Picture:
    made, axes = drawing.figure(3, width=3.9)
    axes[0].loglog(lengths, [found["errors"][T] for T in lengths], "o-", color=drawing.COLOURS["gru"], markersize=4)
    axes[0].axvline(TRAINED_AT, color="0.7", linewidth=0.8)
    drawing.level(axes[0], 0.01, "solved")
    drawing.level(axes[0], 1 / 6, "trivial")
    drawing.label(axes[0], f"one set of weights, trained at T={TRAINED_AT}", "length T", "MSE on adding")
    for colour, rows in zip(drawing.SERIES, ROWS, strict=False):
        shown = [t for t in found["times"] if t["rows"] == rows]
        for name, style in (("serial", "o-"), ("product", "o:")):
            axes[1].loglog([t["T"] for t in shown], [t[name] for t in shown], style, color=colour, markersize=3,
                           linewidth=1.2, label=f"{name}, B={rows}")  # fmt: skip
    drawing.label(axes[1], "time of a step", "length T", "microseconds")
    drawing.legend(axes[1])
    peaks = [(T, peak / 1e6) for T, peak in found["memory"]["peaks"].items() if peak is not None]
    if peaks:
        axes[2].loglog(*zip(*peaks, strict=True), "o-", color=drawing.SERIES[0], markersize=4)
    drawing.label(axes[2], "peak memory of training", "length T", "MB")
    caption = (
        "Left, one set of weights at every length (the grey line is where it was trained); middle, the time of a "
        "step, one "
        "after another and in one product of as many flops; right, memory of back-propagation through the whole "
        "sequence."
    )
    return Picture("tradeoffs", made, caption)
