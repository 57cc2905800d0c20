"""The equations once more, element by element in plain Python floats: an independent reference without torch.

Slow on purpose: a sum is a loop, a gate is a line. Weights are nested lists by name; a state is a list of vectors.
"""

from __future__ import annotations

import math
from typing import Any

Vector = list[float]


def sigmoid(a: float) -> float:
    return 1.0 / (1.0 + math.exp(-a))


def product(W: list[Vector], v: Vector) -> Vector:
    return [sum(w * e for w, e in zip(row, v, strict=True)) for row in W]


def layer_norm(u: Vector, gain: Vector) -> Vector:
    mean = sum(u) / len(u)
    variance = sum((e - mean) ** 2 for e in u) / len(u)
    return [g * (e - mean) / math.sqrt(variance + 1e-5) for g, e in zip(gain, u, strict=True)]


def preactivation(w: dict[str, Any], side: str, v: Vector) -> Vector:
    """W v (+ normalisation) + b, for side ``ih`` or ``hh``."""
    u = product(w[f"weight_{side}"], v)
    if f"gain_{side}" in w:
        u = layer_norm(u, w[f"gain_{side}"])
    return [a + b for a, b in zip(u, w.get(f"bias_{side}", [0.0] * len(u)), strict=True)]


def rnn(w: dict[str, Any], x: Vector, state: list[Vector], nonlinearity: str, mask: Vector) -> list[Vector]:
    dropped = [e * m for e, m in zip(state[0], mask, strict=True)]
    a = [p + q for p, q in zip(preactivation(w, "ih", x), preactivation(w, "hh", dropped), strict=True)]
    phi = {"tanh": math.tanh, "relu": lambda e: max(e, 0.0), "identity": lambda e: e}[nonlinearity]
    return [[phi(e) for e in a]]


def lstm(w: dict[str, Any], x: Vector, state: list[Vector], mask: Vector) -> list[Vector]:
    h, c = state
    H = len(c)
    dropped = [e * m for e, m in zip(h, mask, strict=True)]
    a = [p + q for p, q in zip(preactivation(w, "ih", x), preactivation(w, "hh", dropped), strict=True)]
    new_c = [sigmoid(a[H + k]) * c[k] + sigmoid(a[k]) * math.tanh(a[2 * H + k]) for k in range(H)]
    inner = new_c
    if "gain_c" in w:
        shift = w.get("shift_c", [0.0] * H)
        inner = [e + s for e, s in zip(layer_norm(new_c, w["gain_c"]), shift, strict=True)]
    new_h = [sigmoid(a[3 * H + k]) * math.tanh(inner[k]) for k in range(H)]
    return [product(w["weight_hr"], new_h) if "weight_hr" in w else new_h, new_c]


def gru(w: dict[str, Any], x: Vector, state: list[Vector], reset_after: bool, mask: Vector) -> list[Vector]:
    (h,) = state
    H = len(h)
    dropped = [e * m for e, m in zip(h, mask, strict=True)]
    p, q = preactivation(w, "ih", x), preactivation(w, "hh", dropped)
    r = [sigmoid(p[k] + q[k]) for k in range(H)]
    z = [sigmoid(p[H + k] + q[H + k]) for k in range(H)]
    if reset_after:
        n = [math.tanh(p[2 * H + k] + r[k] * q[2 * H + k]) for k in range(H)]
    else:
        b = w.get("bias_hh", [0.0] * (3 * H))
        u = product(w["weight_hh"][2 * H :], [r[k] * dropped[k] for k in range(H)])
        n = [math.tanh(p[2 * H + k] + u[k] + b[2 * H + k]) for k in range(H)]
    return [[(1 - z[k]) * n[k] + z[k] * h[k] for k in range(H)]]


def step(cell: str, w: dict[str, Any], x: Vector, state: list[Vector], mask: Vector | None = None) -> list[Vector]:
    """One step of the cell with this name; ``mask`` multiplies h in the recurrent product, and only there."""
    mask = mask or [1.0] * len(state[0])
    if cell.startswith("rnn-"):
        return rnn(w, x, state, cell[4:], mask)
    if cell == "lstm":
        return lstm(w, x, state, mask)
    return gru(w, x, state, cell == "gru", mask)


def run(
    cell: str,
    w: dict[str, Any],
    xs: list[Vector],
    state: list[Vector],
    zoneout: Vector,
    *,
    mask: Vector | None = None,
    zoned: list[list[list[bool]]] | None = None,
    resets: list[bool] | None = None,
) -> list[list[Vector]]:
    """All steps of one row: the states after each.

    Zoneout takes its expectation, by the rates ``zoneout``, unless ``zoned`` (state, step, unit) says which units keep
    their old value. ``resets`` (step) zeroes the state before a step.
    """
    states = []
    for t, x in enumerate(xs):
        if resets and resets[t]:
            state = [[0.0] * len(s) for s in state]
        new = step(cell, w, x, state, mask)
        kept = zoned and [[float(keep) for keep in part[t]] for part in zoned]
        kept = kept or [[p] * len(s) for p, s in zip(zoneout, state, strict=True)]
        state = [
            [p * old + (1 - p) * e for p, old, e in zip(ps, before, after, strict=True)]
            for ps, before, after in zip(kept, state, new, strict=True)
        ]
        states.append(state)
    return states
