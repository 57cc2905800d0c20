"""Weights and training for the page."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import torch

from unrolled.inspect.config import InspectConfig
from unrolled.inspect.kinds import KindLoss, loss_by_kind
from unrolled.inspect.page import Block, Section, figure, svg, table
from unrolled.inspect.subject import Subject
from unrolled.inspect.tensors import History, Weight, history, weights
from unrolled.inspect.truncation import TruncationError, truncation_error

PICTURES = 12
"""Histograms shown: those of the largest tensors."""
BPTT, STREAMS, LONGEST = 64, 16, 512
"""Steps that training goes back where the run does not say; streams and steps that the truncation is measured on."""


def section_weights(subject: Subject, config: InspectConfig) -> Section:
    """Tensors, clipping, loss by kind of character, and what truncation leaves out.

    Raises:
        UserError: a weight is not finite; the tensor is named.
    """
    found = weights(subject.model, subject.untrained)
    log = None if subject.run is None else history(subject.run)
    kinds = loss_by_kind(subject.model, subject.text, 2 * config.chars) if subject.text is not None else []
    cut, why = _truncation(subject, config)
    blocks = [_histograms(found), _table(found)]
    blocks += [] if log is None else [_clipping(log)]
    blocks += [_kinds(kinds)] if kinds else []
    blocks += [_truncated(cut)] if cut else []
    verdict = [*_sentences(subject, found, log, kinds), *why]
    numbers = {
        "tensors": [w.__dict__ for w in found], "history": None if log is None else log.__dict__,
        "loss_by_kind": [k.__dict__ for k in kinds], "truncation": [c.__dict__ for c in cut],
    }  # fmt: skip
    return Section("weights", "Weights and training", verdict, blocks, numbers)


def _truncation(subject: Subject, config: InspectConfig) -> tuple[list[TruncationError], list[str]]:
    """The measurement and its sentence, or why there is none."""
    text, bptt = subject.text, _bptt(subject)
    if text is None:
        return [], []
    if bptt is None:
        return [], ["Truncation: training went back through whole records; nothing is truncated."]
    if text.fresh is not None:
        return [], ["Truncation: not measured on records, each of which starts from an empty state."]
    T = min(8 * bptt, LONGEST, (len(text.train) - 1) // 2)
    scored = min(bptt, T // 4)
    if scored < 1:
        return [], ["Truncation: the text is too short for many times the steps that training goes back."]
    generator = torch.Generator().manual_seed(config.seed)
    starts = torch.randint(0, len(text.train) - T, (STREAMS,), generator=generator)
    ids = text.train[starts[None, :] + torch.arange(T + 1)[:, None]]
    model = copy.deepcopy(subject.model).cpu().eval()
    rows = truncation_error(model, ids, sorted({max(1, scored // 4), max(1, scored // 2), scored}), scored)
    last = rows[-1]
    noise = "" if math.isnan(last.noise) else f"; the two halves of the batch agree to {last.noise:.3f}"
    hurts = last.cosine < 0.95 and (math.isnan(last.noise) or last.cosine < last.noise)
    said = (
        f"Truncation: the gradient that goes back {last.k} steps has a cosine of {last.cosine:.4f} with one that goes "
        f"back {last.reach}"
    )
    judged = "it points elsewhere: truncation costs here" if hurts else "truncation hardly turns it"
    return rows, [f"{said}, a relative error of {last.relative:.3f}{noise}: {judged}."]


def _bptt(subject: Subject) -> int | None:
    """Steps that training went back; None for whole records."""
    if subject.run is None:
        return BPTT
    try:
        saved = json.loads((Path(subject.run) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return BPTT
    given = str((saved.get("train") or {}).get("bptt", BPTT))
    return int(given) if given.isdecimal() and int(given) else None


def _sentences(subject: Subject, found: list[Weight], log: History | None, kinds: list[KindLoss]) -> list[str]:
    total = sum(math.prod(w.shape) for w in found)
    lines = [f"{len(found)} tensors, {total:,} parameters, all finite."]
    moved = [w for w in found if math.isfinite(w.change)]
    if moved:
        most, least = max(moved, key=lambda w: w.change), min(moved, key=lambda w: w.change)
        lines.append(f"Training moved {most.name} most, by {most.change:.2f} times its norm at initialisation, and "
                     f"{least.name} least, by {least.change:.2f}.")  # fmt: skip
    if log is not None and math.isfinite(log.share):
        norm = float(np.nanmean(log.before))
        lines.append(f"{100 * log.share:.1f} % of the updates were clipped; the gradient's norm before that was "
                     f"{norm:.3g} in the mean.")  # fmt: skip
    elif subject.trained:
        lines.append("The run's log holds no gradient norms.")
    if kinds:
        worst, most_of = max(kinds, key=lambda k: k.nats), max(kinds, key=lambda k: k.share)
        lines.append(f"Hardest to predict: {worst.kind}, {worst.nats:.2f} nats a unit; most of the loss, "
                     f"{100 * most_of.share:.0f} %, lies in {most_of.kind}.")  # fmt: skip
    return lines


def _histograms(found: list[Weight]) -> Block:
    largest = sorted(found, key=lambda w: -math.prod(w.shape))[:PICTURES]
    shown = [w for w in found if w in largest]
    rows = math.ceil(len(shown) / 4)
    made = figure(9.0, 1.7 * rows + 0.2)
    axes = made.subplots(rows, 4, squeeze=False).ravel()
    for ax, w in zip(axes, shown, strict=False):
        ax.stairs(w.counts / max(1, w.counts.sum()), w.edges, fill=True, color="tab:blue", alpha=0.8)
        ax.set_title(w.name, fontsize=7)
        ax.tick_params(labelsize=6)
        ax.set_yticks([])
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    more = "" if len(shown) == len(found) else f" (the {len(shown)} largest of {len(found)} tensors)"
    return Block(svg(made), f"How the elements of each tensor are spread{more}: long thin tails are few large weights.")


def _table(found: list[Weight]) -> Block:
    rows = [
        [w.name, " × ".join(map(str, w.shape)), w.mean, w.std, w.largest, w.norm, _known(w.spectral), _known(w.change)]
        for w in found
    ]
    header = [
        "tensor",
        "shape",
        "mean",
        "std",
        "largest |w|",
        "norm",
        "largest singular value",
        "change from the start",
    ]
    return Block(table(header, rows), "The change is the norm of the difference from the initialisation, in units "
                                      "of the norm there.")  # fmt: skip


def _known(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _clipping(log: History) -> Block:
    made = figure(9.0, 2.8)
    left, right = made.subplots(1, 2)
    left.plot(log.step, log.before, color="tab:red", lw=1.1, label="before clipping")
    if np.isfinite(log.after).any():
        left.plot(log.step, log.after, color="tab:blue", lw=1.1, label="after")
    left.set(yscale="log", xlabel="updates", title="norm of the gradient")
    left.legend(frameon=False, fontsize=8)
    right.plot(log.step, 100 * log.clipped, color="0.3", lw=1.1)
    right.set(xlabel="updates", ylabel="%", ylim=(-3, 103), title="updates clipped")
    for ax in (left, right):
        ax.grid(alpha=0.25)
    missing = (
        "" if np.isfinite(log.after).all() else " (where no norm after clipping is drawn, the run did not record it)"
    )
    return Block(
        svg(made), f"Means between records{missing}: clipping bounds the update, it leaves the Jacobians as they are."
    )


def _kinds(kinds: list[KindLoss]) -> Block:
    rows = [[k.kind, k.units, k.nats, 100 * k.share] for k in kinds]
    header = ["predicted", "units", "nats a unit", "% of the loss"]
    return Block(table(header, rows), "The loss by the kind of the unit that was to be predicted: a word is counted "
                                      "as the kind of its first letter.")  # fmt: skip


def _truncated(cut: list[TruncationError]) -> Block:
    rows = [[c.k, c.cosine, c.relative, c.recurrent_cosine, c.recurrent_relative] for c in cut]
    header = ["steps back", f"cosine with {cut[-1].reach} steps", "relative error", "cosine, recurrent layers alone",
              "relative error"]  # fmt: skip
    return Block(table(header, rows),
                 "The gradient of the same losses on the same batch, cut every so many steps, against the one that "
                 f"goes back {cut[-1].reach}; the final loss for each number of steps is what `unrolled lab "
                 "truncation` measures.")  # fmt: skip
