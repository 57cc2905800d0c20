"""The page's section on units: what they follow, whether the network uses them, and the text to see for oneself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from unrolled.errors import UserError
from unrolled.inspect.features import Feature, make_features, unfit, usual
from unrolled.inspect.hold import Effect, causal_check
from unrolled.inspect.page import Block, Section, figure, svg, table
from unrolled.inspect.ranks import FEWEST_POSITIONS
from unrolled.inspect.reading import Reading, carry, read, recurrent_weights
from unrolled.inspect.subject import Subject, Text
from unrolled.inspect.units import UnitProbe, unit_probe
from unrolled.inspect.view import BUDGET, LONGEST, assets, shown_units, text_view

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST_HELD, MOST_HELD = 500, 3000
"""Steps of the second half over which units are held: it goes step by step, and fewer of them in a large network."""
_HOW = (
    "Unit and sign are chosen on the first half of the text and scored on the second. Grey: what the best of all units "
    "reaches by chance there, over circular shifts of the feature, up to the 95 % point; a unit right of it follows "
    "the feature. It means something where it also stands right of the untrained twin and of the last three characters."
)


@dataclasses.dataclass(frozen=True)
class _Searched:
    subject: Subject
    text: Text
    reading: Reading
    probes: list[UnitProbe]
    effects: list[Effect]
    skipped: list[str]


def section_units(subject: Subject, features: Sequence[str] | None = None, *, beside: Subject | None = None) -> Section:
    """Search, controls, causal check and the text view.

    Args:
        features: names (:data:`unrolled.inspect.features.KNOWN`, ``re:PATTERN``); None: the usual ones that the
            text has enough of.
        beside: another model, or the same on another text: both are searched, and shown side by side.
    Raises:
        UserError: a task without a text, an unknown feature, a bad regular expression.
    """
    searched = [_search(one, features) for one in (subject, beside) if one is not None]
    verdict, blocks = [], []
    for one in searched:
        name = f"{one.subject.name}: " if len(searched) > 1 else ""
        verdict += [name + line for line in _verdict(one)]
        blocks += _blocks(one, name)
    style, script = assets()
    limit = BUDGET // (len(searched) * max(min(len(one.text.units), LONGEST) for one in searched))
    views = [
        text_view(one.subject.name, one.text.units, one.text.vocabulary, one.reading,
                  shown_units(one.reading, one.probes, most=limit), k)
        for k, one in enumerate(searched)
    ]  # fmt: skip
    blocks.append(
        Block(f'<style>{style}</style><div class="unrolled-views">{"".join(views)}</div>', _reading_line(searched))
    )
    numbers = [_numbers(one) for one in searched]
    whole = numbers[0] if len(numbers) == 1 else {**numbers[0], "beside": numbers[1]}
    return Section("units", "Cells that mean something", verdict, blocks, whole, script)


def _search(subject: Subject, names: Sequence[str] | None) -> _Searched:
    text = subject.text
    if text is None:
        raise UserError(f"{subject.name}: units are read along a text, and a {subject.task} model predicts none; "
                        "leave this instrument out")  # fmt: skip
    reading = read(subject.model, text.ids, fresh=text.fresh)
    features, skipped = _features(names, text)
    probes: list[UnitProbe] = []
    effects: list[Effect] = []
    if features:
        twin = read(subject.untrained, text.ids, fresh=text.fresh).states if subject.trained else None
        probes = unit_probe(reading.states, features, units=text.units, untrained=twin)
        effects = _effects(subject, text, features, probes, reading)
    return _Searched(subject, text, reading, probes, effects, skipped)


def _features(names: Sequence[str] | None, text: Text) -> tuple[list[Feature], list[str]]:
    """Those that can be searched for, and a line for each that was asked for and cannot."""
    made = make_features(usual(text.units) if names is None else names, text.units)
    if len(text.units) < 2 * FEWEST_POSITIONS:
        return [], [f"No search: the text has {len(text.units):,} units, and a search needs {2 * FEWEST_POSITIONS}."]
    fit: list[Feature] = []
    lines = []
    for feature in made:
        why = unfit(feature)
        same = next((f.name for f in fit if names is None and (f.values == feature.values).all()), None)
        if why is None and same is None:
            fit.append(feature)
        elif names is not None:
            lines.append(f"Not searched for, {feature.words}: {why}.")
    return fit, lines


def _effects(
    subject: Subject, text: Text, features: list[Feature], probes: list[UnitProbe], reading: Reading
) -> list[Effect]:
    half = len(text.ids) // 2
    chosen = [(feature, probe.best[0].unit) for feature, probe in zip(features, probes, strict=True)]
    state = carry(subject.model, text.ids, torch.tensor([half]), fresh=text.fresh).state
    return causal_check(subject.model, text.ids, chosen, reading.states, state=state, start=half,
                        steps=held_steps(subject.model), fresh=text.fresh)  # fmt: skip


def held_steps(model: nn.Module) -> int:
    """How many steps units are held: two or three seconds' worth."""
    return max(FEWEST_HELD, min(MOST_HELD, int(4e9) // recurrent_weights(model)))


def _verdict(one: _Searched) -> list[str]:
    lines = [_sentence(probe, effect) for probe, effect in zip(one.probes, one.effects, strict=True)]
    return (lines + one.skipped) or ["No feature was searched for: the text holds too little of each of those known."]


def _sentence(probe: UnitProbe, effect: Effect) -> str:
    best, what = probe.best[0], "AUC" if probe.two_valued else "rho"
    controls = {"the untrained twin's best": probe.twin.score if probe.twin else None,
                "the last three characters alone": probe.cue}  # fmt: skip
    beaten = [name for name, score in controls.items() if score is not None and score >= best.score]
    scores = ", ".join(f"{name} {score:.2f}" for name, score in controls.items() if score is not None)
    beside = f"chance {probe.null_95:.2f}, {scores}".rstrip(", ")
    if best.score <= probe.null_95:
        together = "" if probe.probe is None else f"; all units of its layer together {probe.probe:.2f}"
        return (f"{_up(probe.words)}: no unit follows it; the best, {best.unit}, has {what} {best.score:.2f} "
                f"({beside}){together}.")  # fmt: skip
    if beaten:
        return (f"{_up(probe.words)}: {best.unit} is above chance with {what} {best.score:.2f}, but not above "
                f"{' and '.join(beaten)} ({beside}).")  # fmt: skip
    interval = f"(95 %: {_signed(effect.where_low)} to {_signed(effect.where_high)})"
    used = f"{_signed(effect.where)} nats {_there(probe)} {interval} and {_signed(effect.elsewhere)} elsewhere"
    return (f"{_up(probe.words)}: {best.unit} follows it with {what} {best.score:.2f} ({beside}); held at its mean it "
            f"changes the loss by {used}.")  # fmt: skip


def _there(probe: UnitProbe) -> str:
    return "there" if probe.two_valued else "above its median"


def _signed(nats: float) -> str:
    return f"{nats:+.3f}" if abs(nats) >= 0.0005 else "0.000"


def _up(words: str) -> str:
    return words[:1].upper() + words[1:]


def _blocks(one: _Searched, name: str) -> list[Block]:
    if not one.probes:
        return []
    rows, held = [], []
    for probe, effect in zip(one.probes, one.effects, strict=True):
        best = probe.best[0]
        rows.append([probe.words, "AUC" if probe.two_valued else "rho", best.unit, "high" if best.sign > 0 else "low",
                     best.chosen_on, best.score, probe.null_95, probe.p,
                     probe.twin.score if probe.twin else "untrained", "" if probe.cue is None else probe.cue,
                     "" if probe.probe is None else probe.probe])  # fmt: skip
        held.append([probe.words, effect.unit, effect.mean, effect.where,
                     f"{effect.where_low:+.4f} to {effect.where_high:+.4f}", effect.elsewhere,
                     f"{effect.elsewhere_low:+.4f} to {effect.elsewhere_high:+.4f}"])  # fmt: skip
    head = ["feature", "score", "unit", "is then", "first half", "second half", "chance, 95 %", "p", "twin",
            "last three", "linear probe"]  # fmt: skip
    units = sum(part.shape[1] for part in one.reading.states.values())
    return [
        Block(svg(_picture(one.probes)), name + _HOW),
        Block(table(head, rows), f"{name}All {units:,} units of {', '.join(one.reading.states)} were searched; h0 is "
              "the hidden state of layer 0, c0 its cell state. The linear probe is ridge regression from all units of "
              "the state that holds the unit (from tanh(c) for a c, as the cell reads it), fitted on the first half."),
        Block(table(["feature", "unit", "held at", "there", "95 %", "elsewhere", "95 %"], held),
              f"{name}The change of loss, nats a unit, when the unit is held at its mean at every step of the second "
              f"half (of its first {held_steps(one.subject.model):,} steps): where the feature holds (for a "
              "scalar, above its median) and elsewhere. A unit that the network uses for the feature costs something "
              "there, one that merely follows costs nothing."),
    ]  # fmt: skip


def _picture(probes: Sequence[UnitProbe]) -> Any:
    kinds = [kind for kind in ([p for p in probes if p.two_valued], [p for p in probes if not p.two_valued]) if kind]
    made = figure(7.6, 1.5 + 0.34 * len(probes))
    all_axes = made.subplots(len(kinds), 1, squeeze=False, height_ratios=[len(kind) + 0.8 for kind in kinds])
    for axes, kind in zip(all_axes[:, 0], kinds, strict=True):
        _dots(axes, kind)
    handles, labels = all_axes[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside upper left", ncols=5, frameon=False, fontsize=8)
    return made


def _dots(axes: Axes, probes: Sequence[UnitProbe]) -> None:
    floor = 0.5 if probes[0].two_valued else 0.0
    rows = range(len(probes))
    axes.barh(rows, [p.null_95 - floor for p in probes], left=floor, height=0.62, color="#dfe3ea", label="chance, 95 %")
    for label, marker, colour, scores in (
        ("untrained twin", "^", "#8a6d3b", [p.twin.score if p.twin else None for p in probes]),
        ("last three characters", "s", "#5b6575", [p.cue for p in probes]),
        ("linear probe", "D", "#3f8f5f", [p.probe for p in probes]),
        ("unit", "o", "#1f5fa8", [p.best[0].score for p in probes]),
    ):
        there = [(score, k) for k, score in enumerate(scores) if score is not None]
        if there:
            x, y = zip(*there, strict=True)
            axes.scatter(x, y, marker=marker, color=colour, label=label, zorder=3, s=34)
    axes.set_yticks(rows, [f"{p.words}  {p.best[0].unit}" for p in probes], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(
        "AUC on the second half" if probes[0].two_valued else "Spearman's rho on the second half", fontsize=8
    )
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(right=1.02)
    axes.spines[["top", "right"]].set_visible(False)


def _reading_line(searched: Sequence[_Searched]) -> str:
    cut = any(len(one.text.units) > LONGEST for one in searched)
    first = f"The first {LONGEST:,} units of the text. " if cut else ""
    return (
        f"{first}Choose a unit and the text is coloured by its value after each unit was read; point at a place for "
        "the most probable next units, which also stand in the row below; click, or select a span, for the places "
        "where the hidden state of the top layer has the largest cosine with the one there. To keep the page small, "
        "the units on offer are the two best of each feature and the most variable."
    )


def _numbers(one: _Searched) -> dict[str, Any]:
    found = []
    for probe, effect in zip(one.probes, one.effects, strict=True):
        values = dataclasses.asdict(probe)
        values["null"] = {"shifts": len(probe.null), "quantile_95": probe.null_95, "largest": float(probe.null[-1])}
        found.append({**values, "p": probe.p, "held": dataclasses.asdict(effect)})
    return {"name": one.subject.name, "units": len(one.text.units), "features": found, "skipped": one.skipped}
