"""``unrolled lab gradients``: when gradients vanish and explode, against what theory says. Nothing is trained."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unrolled.lab import drawing, held
from unrolled.lab.config import LabConfig
from unrolled.lab.jacobians import (
    KINDS,
    SCALES,
    lstm_jacobians,
    products,
    recurrent_matrix,
    spectral_radius,
    vanilla_jacobians,
)
from unrolled.lab.report import Picture, Report, Table, Watch

H, STEPS, QUICK_STEPS = 64, 400, 200
DRIVES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Standard deviations of W_xh x_t, drawn anew at every step; 0 is no input."""
LN10 = math.log(10.0)


@dataclasses.dataclass(frozen=True)
class Row:
    """One network: its W_hh, its Jacobians' product over k steps.

    Attributes:
        radius: spectral radius of W_hh. log10_norm: of the product, after each step. rate: growth of the largest
            singular direction in nats a step over the second half, past the transient.
    """

    kind: str
    scale: float
    phi: str
    drive: float
    radius: float
    log10_norm: list[float]
    rate: float

    @property
    def verdict(self) -> str:
        """In a word."""
        return "explodes" if self.rate > 1e-3 else "vanishes" if self.rate < -1e-3 else "keeps"


def measure(kind: str, scale: float, phi: str, drive: float, steps: int, seed: int = 1) -> Row:
    """The product of ``steps`` Jacobians of one network of 64 units."""
    generator = torch.Generator().manual_seed(seed)
    W = recurrent_matrix(kind, H, scale, generator)
    h = torch.randn(H, dtype=torch.float64, generator=generator)
    inputs = torch.randn(steps, H, dtype=torch.float64, generator=generator) * drive
    # a linear network's Jacobian knows no state; its path would only overflow
    path = [W] * steps if phi == "linear" else vanilla_jacobians(W, steps, phi, lambda t: inputs[t], h)
    norms = products(path, H).log_norm
    rate = float((norms[-1] - norms[steps // 2 - 1]) / (steps - steps // 2))
    return Row(kind, scale, phi, drive, spectral_radius(W), (norms / LN10).tolist(), rate)


def run(config: LabConfig, out: Path, watch: Watch) -> Report:
    """The tables and pictures of products of Jacobians."""
    steps = QUICK_STEPS if config.quick else STEPS
    plan = [(kind, s, "linear", 0.0) for kind in KINDS for s in SCALES]
    plan += [(kind, s, "tanh", d) for d in DRIVES for kind in KINDS for s in SCALES]
    rows = []
    for k, (kind, scale, phi, drive) in enumerate(plan):
        watch.stage(f"{phi} {kind} s={scale:g} input {drive:g}", k / len(plan))
        rows.append(measure(kind, scale, phi, drive, steps))
    watch.stage("LSTMs", 1.0)
    lstm, lstm_norms = _lstm_rows(steps)
    settings = (
        f"gradients: networks of {H} units in float64, products of {steps} Jacobians from a random state; W_hh is s "
        "times a random orthogonal matrix, or Gaussian and scaled so that its largest singular value is s; where there "
        "is input, W_xh x_t is drawn anew at each step from N(0, input²) for every unit. The rate is that of the "
        "product's spectral norm over the second half of the steps."
    )
    tables = [_linear_table(rows, steps), _tanh_table(rows), _scalar_table(), lstm]
    numbers = {"rows": [dataclasses.asdict(r) for r in rows], "lstm": lstm_norms}
    return Report("gradients", settings, tables, [_picture(rows), _lstm_picture(lstm_norms)], _verdicts(rows), numbers)


def _find(rows: list[Row], kind: str, scale: float, phi: str, drive: float = 0.0) -> Row:
    return next(r for r in rows if (r.kind, r.scale, r.phi, r.drive) == (kind, scale, phi, drive))


def _linear_table(rows: list[Row], steps: int) -> Table:
    shown = []
    for r in (r for r in rows if r.phi == "linear"):
        first = max(r.log10_norm)
        shown.append((r.kind, f"{r.scale:g}", f"{r.radius:.3f}", f"{r.rate:+.4f}", f"{math.log(r.radius):+.4f}",
                      f"{first:+.2f}", f"{r.log10_norm[-1]:+.1f}", r.verdict))  # fmt: skip
    return Table(
        "Linear: ∂h_t/∂h_{t-k} = W_hh^k",
        ("W_hh", "σ_max = s", "radius ρ", "rate", "ln ρ", "log10 largest", f"log10 at k={steps}", ""), shown,
        "Theory: the rate is ln ρ, the logarithm of the spectral radius, not of σ_max. A Gaussian matrix has "
        "ρ ≈ σ_max/2: with σ_max = 1.1 it vanishes. (The largest norm on the way may exceed 1 where σ_max > 1 > ρ: a "
        "non-normal matrix grows first.)",
    )  # fmt: skip


def _tanh_table(rows: list[Row]) -> Table:
    shown = []
    for kind in KINDS:
        for s in SCALES:
            found = [_find(rows, kind, s, "tanh", d) for d in DRIVES]
            shown.append((kind, f"{s:g}", *(f"{r.rate:+.3f}" for r in found)))
    return Table(
        "tanh: rate of the product in nats a step (above 0 explodes, below 0 vanishes), by the strength of the input",
        ("W_hh", "σ_max = s", *("no input" if d == 0 else f"input {d:g}" for d in DRIVES)), shown,
        "σ_max·max|φ'| < 1 suffices to vanish, so every row with s < 1 must be negative. σ_max > 1 is necessary to "
        "explode, not sufficient: input saturates tanh, whose derivative 1 - h² then falls below 1/σ_max.",
    )  # fmt: skip


def _scalar_table() -> Table:
    steps = (1, 10, 100, 1000)
    rows = []
    for w in SCALES:
        logs = [k * math.log10(w) for k in steps]
        rows.append(
            (f"{w:g}", *(f"{w**k:.3g}" if abs(x) < 300 else f"10^{x:.1f}" for k, x in zip(steps, logs, strict=True)))
        )
    return Table("One unit: w^k", ("w", *(f"k={k}" for k in steps)), rows, "The whole matter in one number.")


def _lstm_rows(steps: int) -> tuple[Table, dict[str, list[float]]]:
    """What the held LSTMs do at every lag up to ``steps``; the first two are exact, to the bit, or this raises."""
    c = torch.linspace(-2, 2, 8, dtype=torch.float64)
    lags = (1, 2, 10, 50, 100)
    kept, halved = held.held_lstm(8, held.OPEN, held.SHUT, 1), held.held_lstm(8, 0.0, held.SHUT, 1)
    eye = torch.eye(8, dtype=torch.float64)
    rows = [
        _exact("f = 1, i = 0", kept, c, lags, lambda k: eye, "I at every lag, to the bit"),
        _exact("f = 1/2, i = 0", halved, c, lags, lambda k: eye * 0.5**k, "halves each step, to the bit"),
    ]
    zero = torch.zeros_like(c)
    rows.append(
        _exact("f = 1, i = o = 1/2, W_hg = 4 I, at c = 0", held.doubling_lstm(8), zero, lags,
               lambda k: eye * 2.0 ** (k - 1), "doubles each step after the first: an LSTM that explodes")
    )  # fmt: skip
    norms: dict[str, list[float]] = {}
    generator = torch.Generator().manual_seed(3)
    h0, c0 = torch.randn(2, 32, dtype=torch.float64, generator=generator)
    for name, spread, bias in (("small weights, forget bias 1", 0.5, 1.0), ("large weights, forget bias 1", 6.0, 1.0)):
        found = products(lstm_jacobians(held.random_lstm(32, spread, bias, 2), h0, c0, min(steps, 200)), 64)
        norms[name] = (found.log_norm / LN10).tolist()
        rows.append(
            (f"random, {name}", *(f"10^{norms[name][k - 1]:.1f}" for k in lags), "norm of ∂(h,c)_t/∂(h,c)_{t-k}")
        )
    table = Table(
        "LSTM: ∂c_t/∂c_{t-k}", ("gates", *(f"k={k}" for k in lags), ""), rows,
        "The gates are held by their biases (±1000, where float64's sigmoid is 0 or 1 to the bit); weights of g and o "
        "are random. Entries are those of the diagonal; the random ones are spectral norms over the whole state.",
    )  # fmt: skip
    return table, norms


def _exact(
    name: str, step: held.Step, c: Tensor, lags: tuple[int, ...], theory: Callable[[int], Tensor], words: str
) -> tuple[str, ...]:
    shown = []
    for k in lags:
        found = held.cell_gradient(step, c, k)
        if not torch.equal(found, theory(k)):
            raise AssertionError(f"{name}: the gradient over {k} steps is not what theory says: {found}")
        shown.append(f"{float(found[0, 0]):.3g}")
    return (name, *shown, words)


def _verdicts(rows: list[Row]) -> list[str]:
    linear = [r for r in rows if r.phi == "linear"]
    worst = max(abs(r.rate - math.log(r.radius)) for r in linear if r.kind == "orthogonal")
    gauss = _find(rows, "gaussian", 1.1, "linear")
    calm = _find(rows, "orthogonal", 2.0, "tanh")
    found = [
        "'Largest singular value > 1: exploding' is not true as it stands: it is necessary, not sufficient. "
        f"The linear Gaussian network with σ_max = 1.1 has ρ = {gauss.radius:.2f} and vanishes ({gauss.rate:+.3f} nats "
        "a step).",
        "'Largest singular value < 1: vanishing' is true, for tanh and linear alike: all "
        f"{sum(r.scale < 1 for r in rows)} networks with σ_max < 1 vanish.",
        f"Linear and orthogonal, the rate is ln s to {max(worst, 1e-16):.0e} nats a step.",
    ]
    assert all(r.rate < 0 for r in rows if r.scale < 1)
    for kind in KINDS:
        driven = [_find(rows, kind, 2.0, "tanh", d) for d in DRIVES]
        first = next((r for r in driven if r.drive > 0 and r.rate < -1e-3), None)
        rates = ", ".join(f"{r.drive:g}: {r.rate:+.3f}" for r in driven)
        end = f"it vanishes from input {first.drive:g} on" if first else "it vanishes at none of these inputs"
        found.append(f"tanh, {kind}, σ_max = 2: {end} (rate by input, 0 is none: {rates}).")
    found.append(
        f"Undriven tanh with orthogonal W_hh, σ_max = 2, {calm.verdict} ({calm.rate:+.3f} nats a step, linear: "
        f"{math.log(2):+.3f}): the state itself grows until tanh holds it back."
    )
    found.append(
        "The LSTM with f = 1 and i = 0 keeps its gradient at every lag, to the bit; with f = 1/2 it halves each step; "
        "and an LSTM can explode: 'does not guarantee' is true."
    )
    return found


def _picture(rows: list[Row]) -> Picture:
    made, axes = drawing.figure(3, rows=2, width=3.9, height=3.0)
    panels = [("linear", 0.0), ("tanh", 0.0), ("tanh", 4.0)]
    for line, kind in enumerate(KINDS):
        for column, (phi, drive) in enumerate(panels):
            axis = axes[3 * line + column]
            for colour, s in zip(drawing.SERIES, SCALES, strict=False):
                r = _find(rows, kind, s, phi, drive)
                axis.plot(
                    range(1, len(r.log10_norm) + 1), r.log10_norm, color=colour, linewidth=1.2, label=f"s = {s:g}"
                )
            words = phi if phi == "linear" else f"tanh, input {drive:g}" if drive else "tanh, no input"
            drawing.label(axis, f"{words}, {kind}", "k", "log10 norm")
            axis.axhline(0, color="0.5", linewidth=0.8, linestyle="--")
            axis.set_ylim(max(axis.get_ylim()[0], -60), min(axis.get_ylim()[1], 60))
    drawing.legend(axes[0], loc="upper left", ncols=2)
    gone = sum(r.rate < 0 for r in rows if r.phi == "tanh" and r.drive == 4.0)
    caption = (
        "Norm of the product of k Jacobians for W_hh of largest singular value s. Above: s times an orthogonal matrix; "
        "below: Gaussian. Left, a linear network follows the spectral radius, for the Gaussian about s/2; middle, tanh "
        f"without input; right, tanh with strong input, where {gone} of {2 * len(SCALES)} vanish. Axes end at 10^±60."
    )
    return Picture("gradients", made, caption)


def _lstm_picture(norms: dict[str, list[float]]) -> Picture:
    made, (axis,) = drawing.figure()
    steps = range(1, 1 + len(next(iter(norms.values()))))
    axis.plot(steps, [0.0] * len(steps), color=drawing.SERIES[2], label="f = 1, i = 0")
    axis.plot(steps, [k * math.log10(0.5) for k in steps], color=drawing.SERIES[0], label="f = 1/2, i = 0")
    axis.plot(
        steps, [(k - 1) * math.log10(2) for k in steps], color=drawing.SERIES[1], label="f = 1, i = o = 1/2, W_hg = 4 I"
    )
    for colour, (name, values) in zip(drawing.SERIES[3:], norms.items(), strict=False):
        axis.plot(steps, values, color=colour, linewidth=1.1, label=name)
    drawing.label(axis, "LSTM", "k", "log10 norm")
    drawing.legend(axis)
    caption = (
        "An LSTM's gradient over k steps. Held gates keep it exactly (f = 1, i = 0) or halve it each step (f = 1/2); a "
        "loop through h and W_hh doubles it although no gate exceeds 1. The other two are whole networks of 32 units "
        "with random weights, their full state (h, c)."
    )
    return Picture("gradients-lstm", made, caption)
