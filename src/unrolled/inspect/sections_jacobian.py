"""Spectra of the step Jacobian for the page."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.inspect.checks import double
from unrolled.inspect.config import InspectConfig
from unrolled.inspect.page import Block, Section, figure, svg, table
from unrolled.inspect.spectrum import Spectrum, jacobian_spectrum
from unrolled.inspect.subject import Subject

PICTURES, POINTS, LINE = 4, 1200, 96
"""Layers with pictures; eigenvalues drawn; points of a curve of singular values."""
DEAD = -50.0
"""Nats a step below which a direction is called lost at once."""


def section_jacobian(subject: Subject, config: InspectConfig) -> Section:
    """Singular values, eigenvalues and products of the step Jacobians on windows of the data.

    Raises:
        UserError: a weight is not finite; the tensor is named.
    """
    model = double(subject.model)
    found = jacobian_spectrum(model, subject.windows(model, min(config.positions, 16), config.steps), seed=config.seed)
    verdict = [line for s in found for line in _sentences(s)] if len(found) <= 2 else _sentences(found[-1])
    verdict += [note for s in found for note in s.notes]
    blocks = [_table(found)]
    for s in found[:PICTURES]:
        blocks.append(_spectra(s))
        if s.exponents.size:
            blocks.append(_products(s))
        if s.recurrent is not None:
            blocks.append(_matrix(s))
    return Section("jacobian", "The Jacobian of one step", verdict, blocks, {"layers": [_numbers(s) for s in found]})


def _sentences(s: Spectrum) -> list[str]:
    lines = []
    if s.singular.size:
        low, high = float(s.singular[:, 0].min()), float(s.singular[:, 0].max())
        said = f"{s.layer}: the largest singular value of J_t is {low:.3g} to {high:.3g} over {len(s.singular)} steps"
        lines.append(
            f"{said}: each of them shrinks every direction."
            if high < 1
            else f"{said}; a step can stretch by that much, which alone does not say that a product of steps grows."
        )
    if s.exponents.size:
        lines.append(f"{s.layer}: {_exponent_words(float(s.exponents[0]))}")
    if s.recurrent is not None:
        lines.append(f"{s.layer}: {s.recurrent.statement()}")
    return lines


def _exponent_words(first: float) -> str:
    rate = math.exp(max(first, -700.0))
    told = f"leading Lyapunov exponent {first:.4f} a step"
    if first < DEAD:
        return "over many steps every direction is lost at once."
    if first < -1e-3:
        return (
            f"over many steps even the most lasting direction shrinks, by the factor {rate:.3f} a step ({told}): it "
            f"is halved every {math.log(2) / -first:.1f} steps."
        )
    if first > 1e-3:
        return f"over many steps the most lasting direction grows, by the factor {rate:.3f} a step ({told})."
    return f"over many steps the most lasting direction neither grows nor shrinks ({told})."


def _table(found: list[Spectrum]) -> Block:
    rows = []
    for s in found:
        ex = s.exponents
        rows.append([
            s.layer, s.cell, s.size, float(np.median(s.singular[:, 0])) if s.singular.size else "",
            float(np.median(s.singular[:, -1])) if s.singular.shape[1] == s.size else "",
            float(np.abs(s.eigenvalues).max()) if s.eigenvalues.size else "",
            float(ex[0]) if ex.size else "", int((ex > -0.01).sum()) if ex.size else "",
        ])  # fmt: skip
    header = ["layer", "cell", "size of the state", "median largest singular value", "median smallest",
              "largest |eigenvalue|", "leading exponent", "exponents above -0.01"]  # fmt: skip
    return Block(table(header, rows),
                 "Singular values bound what one step does, eigenvalues what the same step would do if it were "
                 "repeated for ever, exponents are what the steps along the text really do; the last column counts "
                 "directions that keep for 100 steps.")  # fmt: skip


def _spectra(s: Spectrum) -> Block:
    whole = s.singular.shape[1] == s.size and s.size > 1
    made = figure(9.0, 3.6)
    left, right = made.subplots(1, 2)
    if whole:
        picked = np.unique(np.linspace(0, s.size - 1, min(LINE, s.size)).astype(int))
        for row in s.singular:
            left.plot(picked + 1, np.maximum(row[picked], 1e-16), color="tab:blue", alpha=0.3, lw=0.8)
        left.set(yscale="log", xlabel="index", title=f"{s.layer}: singular values of J_t, {len(s.singular)} steps")
    elif s.singular.size:
        left.hist(s.singular[:, 0], bins=12, color="tab:blue")
        left.set(xlabel="largest singular value of J_t", ylabel="steps", title=s.layer)
    left.axhline(1.0, color="0.5", lw=0.8) if whole else None
    _plane(right, s.eigenvalues, f"eigenvalues of J_t, {len(s.eigenvalues)} step{'s' * (len(s.eigenvalues) != 1)}")
    reading = (
        "Left, one line a step: above 1 are directions that the step stretches. Right, with the unit circle: an "
        "eigenvalue near 1 is a direction that the step keeps, its angle how fast it turns."
    )
    return Block(svg(made), reading)


def _plane(ax: Any, eigenvalues: NDArray[Any], title: str) -> None:
    points = eigenvalues.ravel()[:POINTS] if eigenvalues.size else np.zeros(0, complex)
    turn = np.linspace(0, 2 * np.pi, 120)
    ax.plot(np.cos(turn), np.sin(turn), color="0.5", lw=0.8)
    ax.scatter(points.real, points.imag, s=6, color="tab:red", alpha=0.5, lw=0, rasterized=True)
    reach = 1.1 * max(1.0, float(np.abs(points).max()) if points.size else 1.0)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), title=title, xlabel="real", ylabel="imaginary")
    ax.set_aspect("equal")
    ax.grid(alpha=0.25)


def _products(s: Spectrum) -> Block:
    made = figure(9.0, 3.4)
    axes = made.subplots(1, 3 if s.norms else 2)
    axes[0].plot(
        np.arange(1, len(s.exponents) + 1), np.maximum(s.exponents, -8), color="tab:purple", marker=".", ms=3, lw=0.8
    )
    axes[0].axhline(0.0, color="0.5", lw=0.8)
    axes[0].set(title=f"{s.layer}: Lyapunov exponents", xlabel="index", ylabel="nats a step")
    k = np.arange(1, len(s.growth) + 1)
    for q in sorted({0, 1, 3, 7, 15, 31} & set(range(s.growth.shape[1]))):
        axes[1].plot(k, np.maximum(s.growth[:, q], -60), lw=1.0, label=f"direction {q + 1}")
    axes[1].axhline(0.0, color="0.5", lw=0.8)
    axes[1].set(title="ln of growth after k steps", xlabel="k")
    axes[1].legend(frameon=False, fontsize=7)
    if s.norms:
        names = {"s": "whole", "hh": "h to h", "cc": "c to c"}
        for name, line in s.norms.items():
            axes[2].plot(s.lags, np.maximum(line, 1e-30), marker="o", ms=3, lw=1.2, label=names[name])
        axes[2].axhline(1.0, color="0.5", lw=0.8)
        axes[2].set(xscale="log", yscale="log", title="norm of the product of k", xlabel="k")
        axes[2].legend(frameon=False, fontsize=7)
    for ax in axes:
        ax.grid(alpha=0.25)
    reading = "What the Jacobians along the data do one after another: directions with an exponent near 0 are memory"
    if "cc" in s.norms:
        reading += "; c to c is that block of the whole product, so it has every path in it, those through h too"
    return Block(svg(made), reading + f" ({s.rows} sequence{'s' * (s.rows != 1)}, {s.warmup} steps to settle).")


def _matrix(s: Spectrum) -> Block:
    assert s.recurrent is not None
    made = figure(4.2, 3.8)
    title = f"{s.layer}: eigenvalues of W_hh, radius {s.recurrent.radius:.3f}"
    _plane(made.subplots(), s.recurrent.eigenvalues, title)
    return Block(svg(made), "The eigenvalues of W_hh itself, before the slope of the nonlinearity shrinks them: "
                            "they decide alone only where the cell is linear.")  # fmt: skip


def _numbers(s: Spectrum) -> dict[str, Any]:
    found: dict[str, Any] = {
        "layer": s.layer, "cell": s.cell, "size": s.size, "sampled": s.sampled, "largest_singular": s.singular[:, 0],
        "median_singular": np.median(s.singular, 0) if s.singular.shape[1] == s.size else None,
        "eigenvalue_moduli": np.sort(np.abs(s.eigenvalues), axis=1)[:, ::-1] if s.eigenvalues.size else None,
        "exponents": s.exponents, "warmup": s.warmup, "rows": s.rows, "lags": s.lags, "product_norms": s.norms,
        "notes": s.notes, "recurrent": None,
    }  # fmt: skip
    if s.recurrent is not None:
        found["recurrent"] = {"radius": s.recurrent.radius, "largest_singular": s.recurrent.largest_singular,
                              "moduli": np.sort(np.abs(s.recurrent.eigenvalues))[::-1]}  # fmt: skip
    return found
