"""The trained experiments: which cell solves which length, and which seed fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unrolled.errors import UserError
from unrolled.lab import drawing, grid
from unrolled.lab.config import CELLS, LabConfig
from unrolled.lab.problems import Adding, Brackets, Copy, Digits, Problem
from unrolled.lab.report import Picture, Report, Table, Watch, listed, number
from unrolled.lab.trial import Trial, hidden_for

Done = list[tuple[Trial, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Spec:
    """Lengths and updates of an experiment, full and quick."""

    lengths: tuple[int, ...]
    steps: int
    quick_lengths: tuple[int, ...]
    quick_steps: int


SPECS = {
    "adding": Spec((50, 100, 200, 400, 600), 10_000, (20, 50), 1_200),
    "copy": Spec((10, 50, 100, 200, 500, 1000), 10_000, (5,), 4_000),
    "brackets": Spec((50, 100, 200, 400), 5_000, (20, 60), 800),
    "digits": Spec((28, 112, 196, 784), 5_000, (28, 112), 600),
}
BUDGET, QUICK_BUDGET, LR, QUICK_LR = 70_000, 20_000, 1e-3, 3e-3
FORGET_BIAS = 1.0
"""Of the LSTM in the plain grid; ``starts`` shows what it changes."""

PUBLISHED = {
    "adding": "Published (Bai, Kolter & Koltun 2018, arXiv:1803.01271, table 1; 70k parameters, T=600): GRU 5.3e-5, "
    "LSTM 0.164, RNN 0.177, where the trivial answer has 1/6 = 0.167.",
    "copy": "Published (the same table, T=1000): LSTM 0.0204 nats a step, which is the trivial 10 ln 8 / (T+20).",
}


def run(name: str, config: LabConfig, out: Path, watch: Watch) -> Report:
    """The experiment ``name``: every cell at every length from every seed.

    Raises:
        UserError: a length that the problem cannot have, data that are not there.
    """
    spec, quick = SPECS[name], config.quick
    lengths = config.numbers() or (spec.quick_lengths if quick else spec.lengths)
    cells, seeds = config.cell_names() or CELLS, config.seeds or 3
    steps = config.steps or (spec.quick_steps if quick else spec.steps)
    budget = config.parameters or (QUICK_BUDGET if quick else BUDGET)
    problems = make(name, lengths, config, watch)
    trials = [
        plain_trial(name, cell, T, seed, problems[T], budget, steps, QUICK_LR if quick else LR, config.data or "")
        for T in lengths for seed in range(1, seeds + 1) for cell in cells
    ]  # fmt: skip
    done = grid.run(trials, lambda t: problems[t.T], out, watch, quick=quick)
    if not done:
        raise UserError(f"{name}: no trial was finished in time; run the same command again, or give fewer --lengths")
    return _report(name, problems, done, len(trials), _settings(name, trials, budget, quick))


def make(name: str, lengths: Sequence[int], config: LabConfig, watch: Watch) -> dict[int, Problem]:
    """The problem at every length."""
    if name == "digits":
        from unrolled.lab.drawn import drawn_parts, mnist_parts

        for T in lengths:
            if 784 % T:
                raise UserError(f"--lengths {T}: 784 pixels make no {T} equal pieces; take of 28, 112, 196, 392, 784")
        if config.data is None:
            watch.stage("drawing digits", 0.0)
        parts = (
            mnist_parts(config.data)
            if config.data
            else drawn_parts(*((4000, 1000) if config.quick else (20_000, 1000)))
        )
        return {T: Digits(T, parts) for T in lengths}
    if name == "adding" and min(lengths) < 2:
        raise UserError(f"--lengths {min(lengths)}: adding needs at least 2 steps")
    kinds: dict[str, Any] = {"adding": Adding, "copy": Copy, "brackets": Brackets}
    return {T: kinds[name](T) for T in lengths}


def plain_trial(
    name: str, cell: str, T: int, seed: int, problem: Problem, budget: int, steps: int, lr: float, data: str = ""
) -> Trial:
    """A trial of the plain grid: torch's start, forget bias 1, Adam, the norm clipped to 1, batches of 32."""
    hidden = hidden_for(cell, problem.input_size, problem.outputs, budget)
    bias = FORGET_BIAS if cell == "lstm" else None
    return Trial(name, cell, T, seed, hidden, steps, lr=lr, forget_bias=bias, data=data)


def _settings(name: str, trials: Sequence[Trial], budget: int, quick: bool) -> str:
    sizes = {t.cell: t.hidden for t in trials}
    t = trials[0]
    wide = ", ".join(f"{cell} H={H}" for cell, H in sizes.items())
    source = "MNIST, " if t.data else "digits drawn by the project, " if name == "digits" else ""
    return (
        f"{name}{' (quick)' if quick else ''}: {source}up to {budget:,} parameters each ({wide}); Adam at {t.lr:g}, "
        f"gradient norm clipped to {t.clip_norm:g}, batches of {t.batch}, at most {t.steps:,} updates; torch's start, "
        f"the LSTM's forget bias {FORGET_BIAS:g}; best weights by 256 dev examples, 1,000 test examples read once."
    )


def _report(name: str, problems: dict[int, Problem], done: Done, wanted: int, settings: str) -> Report:
    lengths = sorted({t.T for t, _ in done})
    cells = [c for c in CELLS if any(t.cell == c for t, _ in done)]
    problem = problems[lengths[0]]
    rule = f"{problem.measure} {'of at least' if problem.rising else 'below'} {problem.bound:g}"
    rows = [(f"T={T}", *(_cell_of(done, T, cell) for cell in cells), number(problems[T].trivial)) for T in lengths]
    table = Table(
        f"{name}: {problem.measure} on the test examples, each seed; * is solved ({rule})",
        ("length", *cells, "trivial"), rows,
        "One number a seed, in the order of the seeds; 'diverged' where the loss became no number. Trivial is the best "
        "answer that does not look at the input.",
    )  # fmt: skip
    verdicts = [_reach(cell, done) for cell in cells]
    if len(done) < wanted:
        verdicts.append(f"{len(done)} of {wanted} trials were run so far; the same command goes on with the rest.")
    tables = [table, *_copy_losses(name, done, cells, lengths)]
    verdicts += [PUBLISHED[name]] if name in PUBLISHED else []
    numbers = {"trials": [{"trial": t.key(), "result": r} for t, r in done]}
    return Report(name, settings, tables, _pictures(name, problems, done, cells, rule), verdicts, numbers)


def _cell_of(done: Done, T: int, cell: str) -> str:
    found = {t.seed: r for t, r in done if (t.T, t.cell) == (T, cell)}
    words = []
    for _, r in sorted(found.items()):
        words.append(("diverged " if r["diverged"] else "") + number(r["score"]) + ("*" if r["solved"] else ""))
    return "  ".join(words) or "not run"


def _reach(cell: str, done: Done) -> str:
    by_length: dict[int, list[bool]] = {}
    for t, r in done:
        if t.cell == cell:
            by_length.setdefault(t.T, []).append(r["solved"])
    return (
        f"{cell} solves "
        + ", ".join(f"T={T} in {sum(s)} of {len(s)} seeds" for T, s in sorted(by_length.items()))
        + "."
    )


def _copy_losses(name: str, done: Done, cells: Sequence[str], lengths: Sequence[int]) -> list[Table]:
    """For copy, the loss too: it is what is published, and says little by itself."""
    if name != "copy":
        return []
    rows = []
    for T in lengths:
        found = {c: sorted(r["loss"] for t, r in done if (t.T, t.cell) == (T, c)) for c in cells}
        trivial = next(r["trivial_loss"] for t, r in done if t.T == T)
        rows.append((f"T={T}", *("  ".join(number(v) for v in found[c]) for c in cells), number(trivial)))
    return [Table("copy: loss in nats a step over all T+20 steps", ("length", *cells, "trivial"), rows,
                  "Best seed first. The trivial loss falls as 1/T, so a small loss alone means nothing.")]  # fmt: skip


def _pictures(name: str, problems: dict[int, Problem], done: Done, cells: Sequence[str], rule: str) -> list[Picture]:
    problem = next(iter(problems.values()))
    made, (left, right) = drawing.figure(2)
    longest = max(t.T for t, _ in done)
    for k, cell in enumerate(cells):
        points = [(t.T * (1 + 0.03 * (k - 1.5)), r) for t, r in done if t.cell == cell]
        colour = drawing.COLOURS[cell]
        for mark, wanted in (("o", True), ("x", False)):
            shown = [(T, r["score"]) for T, r in points if r["solved"] == wanted]
            if shown:
                left.plot(*zip(*shown, strict=True), mark, color=colour, markersize=5)
        left.plot([], [], "o", color=colour, label=cell)
        for t, r in done:
            if (t.cell, t.T) == (cell, longest) and r["curve"]:
                curve = [(step, value) for step, value in r["curve"] if value is not None]
                right.plot(*zip(*curve, strict=True), color=colour, linewidth=1.1)
    left.set_xscale("log")
    ticks = sorted({t.T for t, _ in done})
    left.set_xticks(ticks, [str(T) for T in ticks])
    left.minorticks_off()
    drawing.label(left, f"{name}: each seed at each length", "length T", f"{problem.measure} (test)")
    drawing.label(right, f"while training at T={longest}", "update", f"{problem.measure} (dev)")
    for axis in (left, right):
        if not problem.rising:
            axis.set_yscale("log")
        drawing.level(axis, problem.bound, "solved")
    trivial = {T: problems[T].trivial for T in ticks}
    left.plot(ticks, list(trivial.values()), color="0.5", linewidth=0.9, linestyle=":", marker="_", label="trivial")
    drawing.legend(left)
    drawing.level(right, trivial[longest], "trivial")
    caption = (
        f"{name}: solved is {rule}. Left, every seed of every cell ({listed(cells)}) at every length: a dot is solved, "
        f"a cross is not. Right, the dev examples while training at T={longest}, a line a seed; a line ends where its "
        "training was solved with half the allowed error, or diverged."
    )
    return [Picture(name, made, caption)]
