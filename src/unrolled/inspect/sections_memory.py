"""The page's section on memory."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from torch import nn

from unrolled.errors import UserError
from unrolled.inspect.config import InspectConfig
from unrolled.inspect.memory import (
    FEWEST,
    LAGS,
    NEAR_FULL,
    SIZES,
    SMALLEST_CHANGE,
    WARM_UNITS,
    Context,
    Memory,
    carried_to,
    context_loss,
    memory_horizon,
)
from unrolled.inspect.page import Block, Section, figure, svg, table
from unrolled.inspect.reading import recurrent_weights
from unrolled.inspect.subject import Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWS = 5
OPERATIONS = 0.6e12
"""Floating-point operations that the section may spend on its runs: some six seconds of two cores."""
FEWEST_SAMPLED, MOST_SAMPLED = 64, 1024
_BLUE, _ORANGE = "#1f5fa8", "#d9730d"


def section_memory(subject: Subject, config: InspectConfig) -> Section:
    """How far back the network's predictions reach, and how much context is enough.

    Raises:
        UserError: a task without a text, or a text of under 100 units.
    """
    text = subject.text
    if text is None:
        raise UserError(f"{subject.name}: memory is measured along a text, and a {subject.task} model predicts "
                        "none; leave this instrument out")  # fmt: skip
    room = (len(text.ids) - 1 - 2 * FEWEST) // 2
    if room < 16:
        raise UserError(f"a text of {len(text.ids):,} units is too short to measure memory; give at least 100")
    lags, sizes = ([k for k in grid if k <= room] for grid in (LAGS, SIZES))
    positions = affordable(subject.model, lags[-1] + 1, sum(sizes))
    fresh = text.fresh
    ids = text.ids[:-1]
    carried = carried_to(subject.model, ids, longest=lags[-1], positions=positions, fresh=fresh,
                         seed=config.seed)  # fmt: skip
    try:
        memory = memory_horizon(subject.model, text.ids, train=text.train, lags=lags, draws=DRAWS, fresh=fresh,
                                seed=config.seed, carried=carried)  # fmt: skip
        context = context_loss(
            subject.model, text.ids, train=text.train, sizes=sizes, fresh=fresh, seed=config.seed, carried=carried
        )
    except ValueError as error:
        raise UserError(f"memory: {error}; give a longer text") from None
    notes = _notes(len(text.ids), lags, memory)
    return Section("memory", "Memory", [*_verdict(memory, context), *notes], _blocks(memory, context),
                   {"replaced": {**dataclasses.asdict(memory), "horizon": memory.horizon},
                    "context": {**dataclasses.asdict(context), "enough_from_zero": context.enough(),
                                "enough_from_warmed": context.enough(warmed=True)},
                    "notes": notes})  # fmt: skip


def affordable(model: nn.Module, steps: int, contexts: int) -> int:
    """Positions that :data:`OPERATIONS` pay for: two operations a weight of the recurrence, a row and a step."""
    each = 2 * recurrent_weights(model) * ((DRAWS + 1) * steps + 2 * contexts)
    return max(FEWEST_SAMPLED, min(MOST_SAMPLED, int(OPERATIONS // each)))


def _verdict(memory: Memory, context: Context) -> list[str]:
    longest = int(memory.lags[-1])
    if memory.horizon is None:
        first = (f"No replaced unit changes the loss by surely more than {SMALLEST_CHANGE} nats: the network hardly "
                 "uses what it read before the last unit.")  # fmt: skip
    elif memory.horizon == longest:
        first = f"The network remembers single units for at least {longest} steps, the longest lag looked at."
    else:
        first = (f"The network remembers single units for {memory.horizon} steps: replacing one that far back still "
                 f"changes the loss by more than {SMALLEST_CHANGE} nats, and none of the longer lags, up to {longest}, "
                 "surely does.")  # fmt: skip
    starts = [f"{_enough(context, False)} from an empty state", f"{_enough(context, True)} after unrelated text"]
    return [first, f"To come within {NEAR_FULL} nats of the loss with the full text ({context.full:.3f}) it must read "
            f"{' and '.join(starts)}."]  # fmt: skip


def _enough(context: Context, warmed: bool) -> str:
    n = context.enough(warmed)
    if n is not None:
        return f"{n} unit{'s' if n > 1 else ''}"
    excess = (context.warmed_excess if warmed else context.zero_excess)[0, -1]
    return f"more than {int(context.sizes[-1])} units (there it is still {excess:.3f} above)"


def _notes(units: int, lags: list[int], memory: Memory) -> list[str]:
    notes = []
    if lags[-1] < LAGS[-1]:
        notes.append(f"The text has {units:,} units, so no lag above {lags[-1]} was looked at.")
    if len(memory.lags) < len(lags):
        notes.append(f"Lags above {int(memory.lags[-1])} were left out: too few records are that long.")
    return notes


def _blocks(memory: Memory, context: Context) -> list[Block]:
    return [
        Block(svg(_replaced(memory)),
              f"One unit, k steps back, is replaced by {memory.draws} draws from the unigram distribution of the "
              f"training text, at {int(memory.positions.max()):,} sampled positions. Left, how far the prediction "
              "moves (KL), right, how much worse it gets. Bands are 95 % bootstrap intervals over positions; the "
              "horizon is the last k whose band on the right lies wholly above the dotted line."),
        Block(svg(_contexts(context)),
              f"The loss of the same {context.positions:,} predictions after only the last n units, above that after "
              f"the full text: from an empty state, and from one that has read {WARM_UNITS} units of unrelated text. "
              "Enough is where a line enters the grey strip and stays."),
        Block(table(["k", "KL", "95 %", "change of loss", "95 %", "positions"], [
            [int(k), kl, f"{a:.5f} to {b:.5f}", change, f"{c:+.5f} to {d:+.5f}", int(n)]
            for k, kl, a, b, change, c, d, n in zip(
                memory.lags, memory.kl.tolist(), memory.kl_low, memory.kl_high, memory.change.tolist(),
                memory.change_low, memory.change_high, memory.positions, strict=True)
        ]), "The same in numbers, nats."),
    ]  # fmt: skip


def _replaced(memory: Memory) -> Any:
    made = figure(8.0, 3.2)
    left, right = made.subplots(1, 2)
    _band(left, memory.lags, (memory.kl, memory.kl_low, memory.kl_high), _BLUE)
    left.set(xscale="log", yscale="log", xlabel="k, steps back", ylabel="mean KL, nats", title="the prediction")
    left.set_ylim(bottom=max(1e-8, float(memory.kl.min()) / 5))
    _band(right, memory.lags, (memory.change, memory.change_low, memory.change_high), _BLUE)
    right.axhline(SMALLEST_CHANGE, color="#5b6575", linestyle=":", linewidth=1)
    right.set(xscale="log", xlabel="k, steps back", ylabel="mean change of loss, nats", title="the loss")
    right.set_yscale("symlog", linthresh=SMALLEST_CHANGE)
    if memory.horizon:
        right.axvline(memory.horizon, color=_ORANGE, linewidth=1)
        right.annotate(f"horizon {memory.horizon}", (memory.horizon, 0.94), xycoords=("data", "axes fraction"),
                       xytext=(4, 0), textcoords="offset points", fontsize=8, color=_ORANGE)  # fmt: skip
    for axes in (left, right):
        _steps(axes, memory.lags)
    return made


def _contexts(context: Context) -> Any:
    made = figure(6.4, 3.2)
    axes = made.subplots()
    _band(axes, context.sizes, context.zero_excess, _BLUE, "from an empty state")
    _band(axes, context.sizes, context.warmed_excess, _ORANGE, "after unrelated text")
    axes.axhspan(-NEAR_FULL, NEAR_FULL, color="#dfe3ea", label=f"within {NEAR_FULL} nats")
    axes.set(xscale="log", xlabel="n, units read", ylabel="loss above the full text, nats")
    axes.set_yscale("symlog", linthresh=NEAR_FULL)
    axes.legend(frameon=False, fontsize=8)
    _steps(axes, context.sizes)
    return made


def _band(axes: Axes, x: Any, means: Any, colour: str, label: str | None = None) -> None:
    y, low, high = means
    axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(x, y, color=colour, marker="o", markersize=3, label=label)


def _steps(axes: Axes, values: Any) -> None:
    powers = [int(v) for v in values if int(v) & (int(v) - 1) == 0]
    axes.set_xticks(powers, [str(v) for v in powers])
    axes.minorticks_off()
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
