"""``unrolled lab truncation``: back-propagation through the whole text against k steps of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from unrolled.errors import UserError
from unrolled.lab import child_memory, drawing, texts
from unrolled.lab.config import LabConfig
from unrolled.lab.report import Picture, Report, Table, Watch, number

KS = (5, 25, 100)
B, H, LR = 8, 64, 3e-3
LENGTHS, STEPS = (500, 2000, 8000, 32_000), 96_000
QUICK_LENGTHS, QUICK_STEPS = (400, 2000), 8_000
HELD = 1_000
"""Steps of held-out text in each of the B streams."""
LEAST = 1e5
"""Bytes below which the peak of a process says nothing; not drawn."""


@dataclasses.dataclass(frozen=True)
class Found:
    """One way to train on one text.

    Attributes:
        k: steps a gradient reaches back; T for the whole. T: steps of text in each stream. updates: made in all.
        memory: peak bytes beyond the model; None where it cannot be measured. seconds: median of an update.
        loss: nats a character on held-out text.
    """

    k: int
    T: int
    updates: int
    memory: float | None
    seconds: float
    loss: float

    @property
    def name(self) -> str:
        """The row's name."""
        return "full" if self.k == self.T else f"k={self.k}"


def run(config: LabConfig, out: Path, watch: Watch) -> Report:
    """Train at every text length, whole and truncated; the same number of characters read each time."""
    lengths = config.numbers() or (QUICK_LENGTHS if config.quick else LENGTHS)
    steps = config.steps or (QUICK_STEPS if config.quick else STEPS)
    if min(lengths) <= min(KS):
        raise UserError(f"--lengths {min(lengths)}: nothing is truncated there; give lengths above {min(KS)}")
    text = texts.read(B * (max(lengths) + 1 + HELD + 1))
    ids, V = texts.by_character(text)
    held = texts.streams(ids[-B * (HELD + 1) :], B)
    found = []
    plan = [(T, k) for T in lengths for k in (*(k for k in KS if k < T), T)]
    for j, (T, k) in enumerate(plan):
        watch.stage(f"T={T}, k={k}: memory", j / len(plan))
        memory = child_memory.measure(k, T, B, H, V)
        torch.manual_seed(1)
        model = texts.LanguageModel(V, H)
        data = texts.streams(ids[: B * (T + 1)], B)

        def follow(done: int, j: int = j, T: int = T, k: int = k) -> None:
            watch.stage(f"T={T}, k={k}: step {done}", (j + done / steps) / len(plan))

        losses, seconds = texts.train(model, data, k, steps, LR, follow)
        found.append(Found(k, T, len(losses), memory, seconds, texts.measure(model, held)))
        f = found[-1]
        watch.note(f"T={T}, {f.name}: {_mb(f.memory)}, {1e3 * seconds:.1f} ms an update, loss {number(f.loss)}")
    settings = (
        f"truncation: characters of the standard library ({V} different ones), an LSTM of {H} units, one-hot, {B} "
        f"streams of T characters each, state carried within a pass; Adam at {LR:g}, the norm clipped to 1, {steps:,} "
        "steps of "
        f"each stream read whatever T and k; loss on {B * HELD:,} held-out characters. Peak memory: of a process of "
        f"its own, beyond what it held before training. {torch.get_num_threads()} thread(s)."
    )
    rows = [
        (f"{f.T:,}", f.name, f"{f.updates:,}", _mb(f.memory), f"{1e3 * f.seconds:.2f} ms", number(f.loss))
        for f in found
    ]
    header = ("text T", "gradient", "updates", "peak memory", "time per update", "loss")
    table = Table("The whole against k steps", header, rows, "Loss in nats a character after the same reading.")
    numbers = {"rows": [dataclasses.asdict(f) for f in found], "threads": torch.get_num_threads()}
    return Report("truncation", settings, [table], [_picture(found)], _verdicts(found), numbers)


def _mb(memory: float | None) -> str:
    return "-" if memory is None else "below 0.1 MB" if memory < LEAST else f"{memory / 1e6:.1f} MB"


def _verdicts(found: list[Found]) -> list[str]:
    lengths = sorted({f.T for f in found})
    said = []
    whole = {f.T: f for f in found if f.k == f.T}
    short, long = whole[lengths[0]], whole[lengths[-1]]
    if short.memory and long.memory and len(lengths) > 1:
        said.append(
            f"'Takes a lot of memory for long sequences': true. From T={short.T:,} to {long.T:,} the whole takes "
            f"{long.memory / short.memory:.1f} times the memory ({_mb(short.memory)}, {_mb(long.memory)})."
        )
        for k in KS:
            cut = {f.T: f for f in found if f.k == k and k < f.T}
            if len(cut) == len(lengths):
                a, b = cut[lengths[0]].memory, cut[lengths[-1]].memory
                said.append(f"k={k} takes {_mb(a)} and {_mb(b)} at the same two lengths.")
    for T in lengths:
        best = min((f for f in found if f.T == T), key=lambda f: f.loss)
        said.append(
            f"T={T:,}: after equal reading {best.name} has the lowest loss ({number(best.loss)}), with "
            f"{best.updates:,} "
            f"updates; the whole made {whole[T].updates:,} ({number(whole[T].loss)})."
        )
    said.append(
        "Equal reading is not an equal number of updates: these losses show what truncation gains, T/k times as many "
        "updates from the same text, not what it loses, every dependency longer than k."
    )
    return said


def _picture(found: list[Found]) -> Picture:
    made, axes = drawing.figure(3, width=3.8)
    names = [*(f"k={k}" for k in KS), "full"]
    for colour, name in zip(drawing.SERIES, names, strict=False):
        shown = [f for f in found if f.name == name]
        measured = [f for f in shown if f.memory is not None and f.memory >= LEAST]
        lines = (
            ([f.T for f in measured], [(f.memory or 0.0) / 1e6 for f in measured]),
            ([f.T for f in shown], [1e3 * f.seconds for f in shown]),
            ([f.T for f in shown], [f.loss for f in shown]),
        )
        for axis, (x, y) in zip(axes, lines, strict=True):
            axis.plot(x, y, "o-", color=colour, markersize=4, linewidth=1.2, label=name)
    ticks = sorted({f.T for f in found})
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xticks(ticks, [f"{T:,}" for T in ticks])
        axis.minorticks_off()
    axes[0].set_yscale("log")
    axes[1].set_yscale("log")
    drawing.label(axes[0], "peak memory", "text length T", "MB")
    drawing.label(axes[1], "time per update", "text length T", "ms")
    drawing.label(axes[2], "held-out loss after equal reading", "text length T", "nats a character")
    drawing.legend(axes[0])
    return Picture("truncation", made, (
        "Back-propagation through all of a text of T characters (full) and through k of them with the state carried. "
        "Memory and time of an update grow with T for the whole alone; after the same number of characters read, the "
        "truncated ones have made T/k times as many updates."
    ))  # fmt: skip
