"""The LSTM with its slips."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from unrolled.check.slips import Array, Arrays, Slips, blocks, sigmoid, weight_slips

ORDER = "ifgo"


def _orders(s: Slips, whole: Array, what: str) -> Array:
    """``whole`` in blocks i f g o, or as somebody with another order of gates takes or gives them."""
    parts = dict(zip(ORDER, blocks(whole, 4), strict=True))
    wrong = []
    for order in itertools.permutations(ORDER):
        if "".join(order) != ORDER:
            phrase = f"{what} in the order {' '.join(order)}, where it is {' '.join(ORDER)}"
            where = [order.index(g) for g in ORDER] if what.startswith("the gates") else None
            taken = [list(parts.values())[k] for k in where] if where else [parts[g] for g in order]
            wrong.append((phrase, np.concatenate(taken, -1)))
    return np.asarray(s(whole, *wrong))


def forward(s: Slips, x: Array, h_prev: Array, c_prev: Array, W_xh: Array, W_hh: Array, b: Array) -> tuple[Arrays, Any]:
    """``h, c``, and what backward needs."""
    from_x, from_h = x @ W_xh.T, h_prev @ W_hh.T
    a = s(
        from_x + from_h + b,
        ("the bias b is missing", from_x + from_h),
        ("W_hh h_prev is missing: the gates do not see the state before", from_x + b),
        ("W_xh x is missing: the gates do not see the input", from_h + b),
    )
    i_bar, f_bar, g_bar, o_bar = blocks(_orders(s, a, "the gates are read"), 4)
    i = s(sigmoid(i_bar), ("tanh where i needs sigmoid", np.tanh(i_bar)), ("sigmoid missing on i", i_bar))
    f = s(
        sigmoid(f_bar),
        ("tanh where f needs sigmoid", np.tanh(f_bar)),
        ("sigmoid missing on f", f_bar),
        ("1 is added to f_bar: a forget bias belongs into b, not into the step", sigmoid(f_bar + 1)),
        ("f = 1 − i, where f is a gate of its own", 1 - sigmoid(i_bar)),
    )
    g = s(np.tanh(g_bar), ("sigmoid where g needs tanh", sigmoid(g_bar)), ("tanh missing on g", g_bar))
    o = s(sigmoid(o_bar), ("tanh where o needs sigmoid", np.tanh(o_bar)), ("sigmoid missing on o", o_bar))
    c = s(
        f * c_prev + i * g,
        ("f missing: c = f · c_prev + i · g", c_prev + i * g),
        ("i missing: c = f · c_prev + i · g", f * c_prev + g),
        ("f · c_prev missing: c = f · c_prev + i · g", i * g),
        ("(1 − f) where c needs f: c = f · c_prev + i · g", (1 - f) * c_prev + i * g),
        ("i + g where c needs i · g", f * c_prev + i + g),
    )
    t = s(np.tanh(c), ("tanh missing on c: h = o · tanh(c)", c), ("sigmoid where h needs tanh(c)", sigmoid(c)))
    h = s(
        o * t,
        ("o missing: h = o · tanh(c)", t),
        ("tanh around the product: h = o · tanh(c), not tanh(o · c)", np.tanh(o * c)),
    )
    swapped = s(False, ("h and c are returned in the other order", True))
    cache = (x, h_prev, c_prev, W_xh, W_hh, i, f, g, o, c, np.tanh(c), h)
    return ((c, h) if swapped else (h, c)), cache


def backward(s: Slips, d_state: Arrays, cache: Any) -> Arrays:
    """``dx, dh_prev, dc_prev, dW_xh, dW_hh, db``."""
    (dh, dc_in), (x, h_prev, c_prev, W_xh, W_hh, i, f, g, o, c, t, h) = d_state, cache
    through = dh * o * (1 - t * t)
    dc = s(
        dc_in + through,
        ("dc_next not added: dc = dc_next + dh · o · (1 − tanh²(c))", through),
        ("the path from h to c is missing: dc = dc_next + dh · o · (1 − tanh²(c))", dc_in),
        ("1 − tanh²(c) missing: dc = dc_next + dh · o · (1 − tanh²(c))", dc_in + dh * o),
        ("1 − c² where 1 − tanh²(c) belongs", dc_in + dh * o * (1 - c * c)),
        ("1 − h² where 1 − tanh²(c) belongs", dc_in + dh * o * (1 - h * h)),
        ("o missing on the path from h to c: dc = dc_next + dh · o · (1 − tanh²(c))", dc_in + dh * (1 - t * t)),
    )
    dc_prev = s(
        dc * f,
        ("f missing: dc_prev = dc · f", dc),
        ("dc_prev is made from dc_next before the path from h was added", dc_in * f),
        ("i where dc_prev needs f", dc * i),
    )
    a_bar = _gates(s, dh, dc, i, f, g, o, c, c_prev, t)
    d_bar = _orders(s, a_bar, "the gates' gradients are put together")
    dx = d_bar @ W_xh
    dh_prev = s(
        d_bar @ W_hh,
        *(
            (f"the gate {gate} missing in dh_prev: it is the sum over all four gates",
             d_bar @ W_hh - blocks(d_bar, 4)[k] @ np.split(W_hh, 4)[k])
            for k, gate in enumerate(ORDER)
        ),
    )  # fmt: skip
    dW_hh = s(d_bar.T @ h_prev, ("h where dW_hh needs h_prev", d_bar.T @ h))
    B = len(x)
    return (dx, dh_prev, dc_prev, weight_slips(s, "W_xh", d_bar.T @ x, B), weight_slips(s, "W_hh", dW_hh, B),
            weight_slips(s, "b", d_bar.sum(0), B))  # fmt: skip


def _gates(
    s: Slips, dh: Array, dc: Array, i: Array, f: Array, g: Array, o: Array, c: Array, c_prev: Array, t: Array
) -> Array:
    """Gradients of the four pre-activations, side by side."""
    di = s(dc * g, ("i where di needs g: di = dc · g", dc * i), ("g missing: di = dc · g", dc))
    df = s(
        dc * c_prev,
        ("c where df needs c_prev: df = dc · c_prev", dc * c),
        ("c_prev missing: df = dc · c_prev", dc),
    )
    dg = s(dc * i, ("g where dg needs i: dg = dc · i", dc * g), ("i missing: dg = dc · i", dc))
    do = s(
        dh * t,
        ("tanh missing: do = dh · tanh(c)", dh * c),
        ("tanh(c) missing: do = dh · tanh(c)", dh),
        ("dc where do needs dh: do = dh · tanh(c)", dc * t),
    )
    every = "sigmoid' missing on i, f and o: di_bar = di · i · (1 − i), and so on"
    di_bar = s(di * i * (1 - i), ("sigmoid' missing on i: di_bar = di · i · (1 − i)", di), (every, di))
    df_bar = s(df * f * (1 - f), ("sigmoid' missing on f: df_bar = df · f · (1 − f)", df), (every, df))
    dg_bar = s(
        dg * (1 - g * g),
        ("1 − g² missing: dg_bar = dg · (1 − g²)", dg),
        ("g · (1 − g), sigmoid's derivative, where tanh's 1 − g² belongs", dg * g * (1 - g)),
    )
    do_bar = s(do * o * (1 - o), ("sigmoid' missing on o: do_bar = do · o · (1 − o)", do), (every, do))
    return np.concatenate((di_bar, df_bar, dg_bar, do_bar), -1)
