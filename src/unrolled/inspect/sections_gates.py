"""The use of the gates for the page."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.inspect.checks import double
from unrolled.inspect.config import InspectConfig
from unrolled.inspect.page import Block, Section, figure, svg, table
from unrolled.inspect.saturation import GateUse, gates
from unrolled.inspect.subject import Subject

PICTURES = 6
COLOURS = {"i": "tab:green", "f": "tab:blue", "o": "tab:red", "r": "tab:orange", "z": "tab:blue"}
NAMES = {"i": "input", "f": "forget", "o": "output", "r": "reset", "z": "update"}
LONGEST = 1e4
"""Steps above which time constants share the last bin."""


def section_gates(subject: Subject, config: InspectConfig) -> Section:
    """Saturation and time constants of every unit, on windows of the data.

    Raises:
        UserError: a weight is not finite; the tensor is named.
    """
    model = double(subject.model)
    found = gates(model, subject.windows(model, config.positions, config.steps))
    verdict = [line for use in found[-2:] for line in _sentences(use)]
    blocks = [_table(found)] + [_picture(use) for use in found[:PICTURES] if _pictured(use)]
    title = "Gates" if any(use.left for use in found) else "Saturation"
    return Section("gates", title, verdict, blocks, {"layers": [_numbers(use) for use in found]})


def _sentences(use: GateUse) -> list[str]:
    lines, H = [], 0
    if use.keep is not None and use.time_constant is not None:
        tau, name, H = use.time_constant, NAMES[use.keep], len(use.time_constant)
        long = int((tau > 100).sum())
        lines.append(
            f"{use.layer}: the {name} gate keeps a unit for {np.median(tau):.3g} steps in the median (its time "
            f"constant); {long} of {H} units are above 100 steps."
        )
    if use.hold is not None:
        how = "f > 0.9 and i < 0.1 in the same step" if use.keep == "f" else "z > 0.9"
        most = int((use.hold > 0.5).sum())
        lines.append(
            f"{use.layer}: {100 * use.hold.mean():.1f} % of all (unit, step) pairs hold ({how}); {most} of {H} units "
            "hold in more than half of the steps."
        )
    if use.extreme is not None:
        lines.append(f"{use.layer}: |h| > 0.9 in {100 * use.extreme.mean():.1f} % of all (unit, step) pairs; there "
                     "the slope of tanh is under 0.19.")  # fmt: skip
    if use.zero is not None:
        lines.append(f"{use.layer}: {use.dead} of {len(use.zero)} ReLU units are dead (0 at each of {use.steps:,} "
                     f"steps); {100 * use.zero.mean():.1f} % of all (unit, step) pairs are 0.")  # fmt: skip
    return lines or [f"{use.layer}: the linear cell has nothing that saturates."]


def _table(found: list[GateUse]) -> Block:
    rows: list[list[Any]] = []
    for use in found:
        for gate in use.left:
            left, right = use.left[gate], use.right[gate]
            tau = use.time_constant if gate == use.keep else None
            quarter = (
                ["", "", ""]
                if tau is None
                else [float(q) for q in np.quantile(np.minimum(tau, 1e9), (0.25, 0.5, 0.75))]
            )
            rows.append([use.layer, f"{gate}, {NAMES[gate]}", float(left.mean()), float(right.mean()),
                         float(1 - left.mean() - right.mean()), *quarter])  # fmt: skip
        if use.extreme is not None:
            rows.append([use.layer, "|h| > 0.9", "", float(use.extreme.mean()), "", "", "", ""])
        if use.zero is not None:
            rows.append([use.layer, "h = 0", float(use.zero.mean()), "", "", "", "", ""])
    header = ["layer", "gate", "under 0.1", "over 0.9", "between", "time constant, lower quartile", "median",
              "upper quartile"]  # fmt: skip
    reading = (
        "Shares of all units and steps; the time constant is -1/mean(ln of the gate that keeps), in steps: after so "
        "many the state of the unit has fallen to 1/e."
    )
    return Block(table(header, rows), reading)


def _pictured(use: GateUse) -> bool:
    return bool(use.left) or use.extreme is not None or use.zero is not None


def _picture(use: GateUse) -> Block:
    if not use.left:
        return _vanilla(use)
    made = figure(9.0, 3.0)
    axes = made.subplots(1, len(use.left) + 1)
    for ax, gate in zip(axes, use.left, strict=False):
        ax.scatter(use.left[gate], use.right[gate], s=9, color=COLOURS[gate], alpha=0.45, lw=0, rasterized=True)
        ax.plot([0, 1], [1, 0], color="0.7", lw=0.7)
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=f"{NAMES[gate]} gate", xlabel="share under 0.1")
        ax.set_aspect("equal")
    axes[0].set_ylabel(f"{use.layer}\nshare over 0.9")
    assert use.time_constant is not None
    tau = np.clip(use.time_constant, 0.1, LONGEST)
    axes[-1].hist(tau, bins=np.geomspace(0.1, LONGEST, 31).tolist(), color="0.35")
    axes[-1].set(xscale="log", title="time constants", xlabel="steps", ylabel="units")
    return Block(svg(made), "A point is a unit: right, its gate is mostly shut; up, mostly open; on the diagonal, "
                            "always one or the other; near the origin, never quite either.")  # fmt: skip


def _vanilla(use: GateUse) -> Block:
    share, what = (use.extreme, "|h| > 0.9") if use.extreme is not None else (use.zero, "h = 0")
    assert share is not None
    made = figure(5.0, 2.8)
    ax = made.subplots()
    ax.hist(share, bins=np.linspace(0, 1, 26).tolist(), color="tab:blue")
    ax.set(title=use.layer, xlabel=f"share of steps with {what}", ylabel="units", xlim=(0, 1))
    return Block(svg(made), "Units at the right end are stuck: hardly any gradient passes through them.")


def _numbers(use: GateUse) -> dict[str, Any]:
    return {
        "layer": use.layer, "cell": use.cell, "steps": use.steps, "left": use.left, "right": use.right,
        "keep": use.keep, "time_constant": use.time_constant, "hold": use.hold, "extreme": use.extreme,
        "zero": use.zero, "dead": use.dead,
    }  # fmt: skip
