"""``unrolled lab starts``: what forget bias, chrono, orthogonal and identity starts and clipping change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unrolled.lab import variants
from unrolled.lab.config import LabConfig
from unrolled.lab.report import Report, Watch
from unrolled.lab.trial import HALF, Trial

T, STEPS, QUICK_T, QUICK_STEPS, HIDDEN = 200, 6_000, 50, 1_000, 64


def starts(length: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, cell, and what differs from torch's start, Adam at 1e-3 and a norm clipped to 1."""
    return [
        ("tanh, torch's start", "rnn-tanh", {}),
        ("tanh, orthogonal", "rnn-tanh", {"init": "orthogonal"}),
        ("ReLU, torch's start", "rnn-relu", {}),
        ("ReLU, identity", "rnn-relu", {"init": "identity"}),
        ("ReLU, identity, rate 1e-4", "rnn-relu", {"init": "identity", "lr": 1e-4}),
        ("ReLU, half identity", "rnn-relu", {"init": HALF}),
        ("ReLU, half identity, unclipped", "rnn-relu", {"init": HALF, "clip_norm": 0.0}),
        ("LSTM, forget bias 0", "lstm", {"forget_bias": 0.0}),
        ("LSTM, forget bias 1", "lstm", {"forget_bias": 1.0}),
        ("LSTM, forget bias 1, unclipped", "lstm", {"forget_bias": 1.0, "clip_norm": 0.0}),
        (f"LSTM, chrono (T_max {length})", "lstm", {"init": "chrono", "t_max": length}),
        ("GRU, torch's start", "gru", {}),
        (f"GRU, chrono (T_max {length})", "gru", {"init": "chrono", "t_max": length}),
    ]


def run(config: LabConfig, out: Path, watch: Watch) -> Report:
    """Every start, seed by seed, on adding."""
    length = QUICK_T if config.quick else T
    steps = config.steps or (QUICK_STEPS if config.quick else STEPS)
    trials = [
        Trial("adding", cell, length, seed, HIDDEN, steps, variant=name, **options)
        for seed in range(1, 1 + (config.seeds or 3))
        for name, cell, options in starts(length)
    ]
    done = variants.run(trials, out, watch, quick=config.quick)
    settings = (
        f"starts: adding at T={length}, {HIDDEN} units in every network; Adam at 1e-3 where nothing else is said, the "
        f"norm clipped to 1, batches of 32, at most {steps:,} updates. Chrono: Tallec & Ollivier 2018; identity: Le, "
        "Jaitly & "
        "Hinton 2015; orthogonal: Saxe et al. 2014; half identity: units that remember and units that look."
    )
    found = variants.table(f"adding at T={length}: what a start changes", trials, done)
    picture = variants.picture(
        "starts", f"adding at T={length}", done,
        f"The dev error while training on adding at T={length}, a colour a start, a line a seed.",
    )  # fmt: skip
    numbers = {"trials": [{"trial": t.key(), "result": r} for t, r in done]}
    return Report("starts", settings, [found], [picture], _verdicts(done, len(trials)), numbers)


def _verdicts(done: variants.Done, wanted: int) -> list[str]:
    by: dict[str, list[dict[str, Any]]] = {}
    for t, r in done:
        by.setdefault(t.variant, []).append(r)
    order = sorted(by, key=lambda name: (-sum(r["solved"] for r in by[name]), sum(r["steps"] for r in by[name])))
    solving = [
        f"{n} ({sum(r['solved'] for r in by[n])} of {len(by[n])})" for n in order if any(r["solved"] for r in by[n])
    ]
    failing = [n for n in order if not any(r["solved"] for r in by[n])]
    said = [f"Solved, fastest first: {', '.join(solving) or 'none'}.", f"Never solved: {', '.join(failing) or 'none'}."]
    if len(done) < wanted:
        said.append(f"{len(done)} of {wanted} trials were run so far; the same command goes on.")
    return said
