"""``unrolled lab embedding``: one-hot input against an embedding, and why the first is a lookup."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from unrolled.lab import drawing, texts
from unrolled.lab.config import CELLS, LabConfig
from unrolled.lab.report import Picture, Report, Table, Watch, number
from unrolled.layers import GRU, LSTM, RNN

B, K, LR, E, WORDS = 16, 50, 3e-3, 32, 2_000
STEPS, QUICK_STEPS, SEEDS, QUICK_SEEDS = 1_500, 250, 3, 2
"""Updates of K steps each."""
Follow = Callable[[int, float], None]


@dataclasses.dataclass(frozen=True)
class Found:
    """One training. E is None for one-hot. curve: pairs of an update and the held-out loss in nats a unit."""

    units: str
    V: int
    E: int | None
    H: int
    seed: int
    parameters: int
    loss: float
    curve: list[tuple[int, float]]

    @property
    def name(self) -> str:
        """What the row is called."""
        return "one-hot" if self.E is None else f"embedding of {self.E}"


def lookup_differences(seed: int = 1) -> list[tuple[str, bool, bool, float]]:
    """For every cell: is W_xh times one-hot the lookup to the bit, forward; is it in the whole layer's output; and by
    how much, relative, do the gradients of W_xh differ."""
    found = []
    for cell in CELLS:
        torch.manual_seed(seed)
        V, H, T, rows = 50, 32, 40, 4
        kinds = {"lstm": LSTM, "gru": GRU}
        layer = kinds[cell](V, H) if cell in kinds else RNN(V, H, nonlinearity=cell.removeprefix("rnn-"))
        ids = torch.randint(0, V, (T, rows))
        one_hot = F.one_hot(ids, V).float()
        weight = layer.weight_ih_l0
        assert isinstance(weight, Tensor)
        product = torch.equal(one_hot @ weight.t(), F.embedding(ids, weight.t()))
        outputs, gradients = [], []
        for x in (one_hot, ids):
            layer.zero_grad()
            y, _ = layer(x)
            y.square().sum().backward()
            assert weight.grad is not None
            outputs.append(y.detach())
            gradients.append(weight.grad.clone())
        off = float((gradients[0] - gradients[1]).abs().max() / gradients[0].abs().max())
        found.append((cell, product, torch.equal(*outputs), off))
    return found


def width(V: int, E: int | None, budget: int) -> int:
    """The largest H whose model has at most ``budget`` parameters."""
    H = 1
    while texts.parameters(V, H + 1, E) <= budget:
        H += 1
    return H


def run(config: LabConfig, out: Path, watch: Watch) -> Report:
    """The lookup to the bit; then characters and words, one-hot and embedded, at equal parameters and updates."""
    updates = config.steps or (QUICK_STEPS if config.quick else STEPS)
    seeds = QUICK_SEEDS if config.quick else SEEDS
    lookups = lookup_differences()
    text = texts.read(600_000 if config.quick else 3_000_000)
    found: list[Found] = []
    units = (("characters", texts.by_character(text), 64), ("words", texts.by_word(text, WORDS), 48))
    plan = [(u, ids, H, wide, s) for u, ids, H in units for s in range(1, seeds + 1) for wide in (None, E)]
    for j, (name, (ids, V), H, wide, seed) in enumerate(plan):
        budget = texts.parameters(V, H, None)

        def follow(update: int, loss: float, j: int = j, name: str = name) -> None:
            watch.stage(f"{name}, update {update}, loss {number(loss)}", (j + update / updates) / len(plan))

        made = H if wide is None else width(V, wide, budget)
        found.append(_train(name, ids, V, wide, made, seed, updates, follow))
        f = found[-1]
        watch.note(f"{name}, {f.name}, H={f.H}, seed {seed}: held-out {number(f.loss)} nats")
    settings = (
        f"embedding: the standard library's text in characters and in its {WORDS:,} most frequent words; LSTMs with "
        f"forget bias 1; the embedding's H is the largest whose parameters do not exceed the one-hot network's; {B} "
        f"streams, {updates:,} updates of {K} steps, Adam at {LR:g}, the norm clipped to 1; loss on held-out text."
    )
    numbers = {"lookup": lookups, "rows": [dataclasses.asdict(f) for f in found]}
    return Report("embedding", settings, [_lookup_table(lookups), _table(found)], [_picture(found)],
                  _verdicts(found, lookups), numbers)  # fmt: skip


def _train(
    name: str, ids: list[int], V: int, wide: int | None, H: int, seed: int, updates: int, follow: Follow
) -> Found:
    cut = len(ids) * 9 // 10
    data, held = texts.streams(ids[:cut], B), texts.streams(ids[cut:], B)[:400]
    torch.manual_seed(seed)
    model = texts.LanguageModel(V, H, wide)
    optimiser = torch.optim.Adam(model.parameters(), lr=LR, fused=True)
    state, curve, place = None, [], 0
    for step in range(1, updates + 1):
        if place + K + 1 > len(data):
            place, state = 0, None
        loss, state = texts.update(model, optimiser, data[place : place + K + 1], state)
        place += K
        if step % max(1, updates // 15) == 0 or step == updates:
            curve.append((step, texts.measure(model, held)))
        follow(step, loss)
    count = sum(p.numel() for p in model.parameters())
    return Found(name, V, wide, H, seed, count, curve[-1][1], curve)


def _lookup_table(lookups: list[tuple[str, bool, bool, float]]) -> Table:
    said = {True: "equal to the bit", False: "NOT equal"}
    rows = [(cell, said[product], said[output], f"{off:.1e}") for cell, product, output, off in lookups]
    header = ("cell", "W_xh one-hot = column of W_xh", "the layer's output", "gradient of W_xh, relative difference")
    return Table("W_xh times a one-hot vector is a lookup", header, rows,
                 "One term of the sum is w·1, all others are 0: there is nothing to round.")  # fmt: skip


def _table(found: list[Found]) -> Table:
    rows = []
    for units, name in dict.fromkeys((f.units, f.name) for f in found):
        some = [f for f in found if (f.units, f.name) == (units, name)]
        f = some[0]
        losses = "  ".join(f"{g.loss:.3f}" for g in some)
        rows.append((units, f"{f.V:,}", name, f"{f.H}", f"{f.parameters:,}", losses))
    header = ("units", "V", "input", "H", "parameters", "held-out loss, each seed")
    return Table("One-hot against embedding", header, rows, "Nats a unit, after the same number of updates.")


def _mean(found: list[Found], units: str, E: int | None) -> float:
    losses = [f.loss for f in found if (f.units, f.E) == (units, E)]
    return sum(losses) / len(losses)


def _verdicts(found: list[Found], lookups: list[tuple[str, bool, bool, float]]) -> list[str]:
    same = all(product and output for _, product, output, _ in lookups)
    said = [
        f"One-hot input is a lookup of a column of W_xh, {'to the bit' if same else 'but NOT to the bit here'}: an "
        "embedding is the same lookup, of a row of another matrix. What it adds is W_xh E: a W_xh of rank at most E, "
        "with fewer "
        "numbers."
    ]
    for units in dict.fromkeys(f.units for f in found):
        one, embedded = _mean(found, units, None), _mean(found, units, E)
        H = {f.E: f.H for f in found if f.units == units}
        V = next(f.V for f in found if f.units == units)
        better = "embedding" if embedded < one else "one-hot"
        said.append(
            f"{units} (V={V:,}): {better} is better at equal parameters by {abs(one - embedded):.3f} nats "
            f"(one-hot {one:.3f} with H={H[None]}, embedding {embedded:.3f} with H={H[E]})."
        )
    words, chars = (_mean(found, u, None) - _mean(found, u, E) for u in ("words", "characters"))
    verdict = (
        "true" if words > 0 and chars > 0 else "true with conditions" if max(words, chars) > 0 else "not seen here"
    )
    said.append(f"'If only one-hot, not that effectively': {verdict}; the numbers stand above.")
    return said


def _picture(found: list[Found]) -> Picture:
    made, axes = drawing.figure(2)
    for axis, units in zip(axes, dict.fromkeys(f.units for f in found), strict=True):
        for f in (f for f in found if f.units == units):
            colour = drawing.SERIES[0 if f.E is None else 1]
            label = f"{f.name}, H={f.H}" if f.seed == 1 else None
            axis.plot(*zip(*f.curve, strict=True), color=colour, linewidth=1.2, label=label)
        drawing.label(axis, units, "update", "held-out loss, nats a unit")
        drawing.legend(axis)
    caption = (
        "Held-out loss of an LSTM that reads one-hot vectors and of one that reads an embedding, at equal parameters: "
        "what the embedding saves in W_xh it spends on more units. A line is a seed."
    )
    return Picture("embedding", made, caption)
