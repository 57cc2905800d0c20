"""``unrolled lab showpiece``: a vanilla network that solves adding at T=400, and the same one that fails."""

from __future__ import annotations

from pathlib import Path

from unrolled.lab import variants
from unrolled.lab.config import LabConfig
from unrolled.lab.report import Report, Watch, number
from unrolled.lab.trial import HALF, Trial, parameters

T, STEPS, QUICK_T, QUICK_STEPS, HIDDEN = 400, 4_000, 100, 2_000, 64

STARTS = (
    ("ReLU, half identity", "rnn-relu", HALF, 1e-3),
    ("ReLU, torch's start", "rnn-relu", "torch", 1e-3),
    ("tanh, torch's start", "rnn-tanh", "torch", 1e-3),
    ("tanh, orthogonal", "rnn-tanh", "orthogonal", 1e-3),
    ("ReLU, identity, rate 1e-4", "rnn-relu", "identity", 1e-4),
)
"""Name, cell, start, rate. From the identity a rate of 1e-3 explodes within a few updates: Adam moves all H² entries of
W_hh alike, and H·1e-3 above 1, to the power of T, is out of any float's range."""


def run(config: LabConfig, out: Path, watch: Watch) -> Report:
    """Five starts of one vanilla network, seed by seed."""
    length = QUICK_T if config.quick else T
    steps = config.steps or (QUICK_STEPS if config.quick else STEPS)
    trials = [
        Trial("adding", cell, length, seed, HIDDEN, steps, lr=lr, init=init, variant=name)
        for name, cell, init, lr in STARTS
        for seed in range(1, 1 + (config.seeds or 3))
    ]
    done = variants.run(trials, out, watch, quick=config.quick)
    settings = (
        f"showpiece: adding at T={length}; vanilla networks of {HIDDEN} units, "
        f"{parameters('rnn-relu', 2, HIDDEN, 1):,} "
        f"parameters; Adam at 1e-3 where nothing else is said, the norm clipped to 1, batches of 32, at most {steps:,} "
        "updates. Only the start differs. Half identity: half of the units start with W_hh = I and remember, the "
        "others with W_hh = 0 and look at this step alone."
    )
    found = variants.table(f"adding at T={length}: vanilla networks that differ in their start", trials, done)
    picture = variants.picture(
        "showpiece", f"adding at T={length}, vanilla networks", done,
        f"Vanilla recurrent networks of {HIDDEN} units on adding at T={length}, each line a seed. The same equation h "
        "= φ(W_hh h + W_xh x + b), the same data and optimiser: the start of W_hh decides.",
    )  # fmt: skip
    verdicts = []
    for name in dict.fromkeys(t.variant for t, _ in done):
        results = [r for t, r in done if t.variant == name]
        best = min(r["score"] for r in results)
        verdicts.append(f"{name}: solves T={length} in {sum(r['solved'] for r in results)} of {len(results)} seeds "
                        f"(lowest test MSE {number(best)}).")  # fmt: skip
    if len(done) < len(trials):
        verdicts.append(f"{len(done)} of {len(trials)} trials were run so far; the same command goes on.")
    numbers = {"trials": [{"trial": t.key(), "result": r} for t, r in done]}
    return Report("showpiece", settings, [found], [picture], verdicts, numbers)
