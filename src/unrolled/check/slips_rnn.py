"""The vanilla cell with its slips."""

from __future__ import annotations

from typing import Any

import numpy as np

from unrolled.check.slips import Array, Arrays, Slips, sigmoid, weight_slips


def forward(s: Slips, x: Array, h_prev: Array, W_xh: Array, W_hh: Array, b: Array) -> tuple[Arrays, Any]:
    """``h``, and what backward needs."""
    from_x, from_h = x @ W_xh.T, h_prev @ W_hh.T
    a = s(
        from_x + from_h + b,
        ("the bias b is missing", from_x + from_h),
        ("the bias b is subtracted", from_x + from_h - b),
        ("W_hh is transposed: it is W_hh h_prev, h_prev @ W_hh.T with the batch first", from_x + h_prev @ W_hh + b),
        ("W_hh h_prev is missing: the step does not see the state before", from_x + b),
        ("W_xh x is missing: the step does not see its input", from_h + b),
    )
    h = s(
        np.tanh(a),
        ("tanh is missing", a),
        ("sigmoid where tanh belongs", sigmoid(a)),
        ("relu where tanh belongs", np.maximum(a, 0)),
    )
    return (h,), (x, h_prev, W_xh, W_hh, a, h)


def backward(s: Slips, d_state: Arrays, cache: Any) -> Arrays:
    """``dx, dh_prev, dW_xh, dW_hh, db``."""
    (dh,), (x, h_prev, W_xh, W_hh, a, h) = d_state, cache
    da = s(
        dh * (1 - h * h),
        ("1 − h² missing: da = (1 − h²) · dh", dh),
        ("1 − a² where 1 − h² belongs: the derivative of tanh is written in its output h", dh * (1 - a * a)),
        ("1 − tanh²(h) where 1 − h² belongs: h is tanh(a) already", dh * (1 - np.tanh(h) ** 2)),
        ("1 − h_prev² where 1 − h² belongs", dh * (1 - h_prev * h_prev)),
        ("1 − h where 1 − h² belongs: the square is missing", dh * (1 - h)),
        ("1 + h² where 1 − h² belongs", dh * (1 + h * h)),
        ("h · (1 − h), sigmoid's derivative, where tanh's 1 − h² belongs", dh * h * (1 - h)),
    )
    dx = s(da @ W_xh, ("1 − h² missing in dx alone: dx = W_xhᵀ da", dh @ W_xh))
    dh_prev = s(
        da @ W_hh,
        ("W_hh where dh_prev needs W_hhᵀ (da @ W_hh with the batch first)", da @ W_hh.T),
        ("1 − h² missing in dh_prev alone: dh_prev = W_hhᵀ da", dh @ W_hh),
        ("W_hh missing in dh_prev: dh_prev = W_hhᵀ da", da),
    )
    dW_xh = s(da.T @ x, ("1 − h² missing in dW_xh alone: dW_xh = da xᵀ", dh.T @ x))
    dW_hh = s(
        da.T @ h_prev,
        ("h where dW_hh needs h_prev: dW_hh = da h_prevᵀ", da.T @ h),
        ("1 − h² missing in dW_hh alone: dW_hh = da h_prevᵀ", dh.T @ h_prev),
    )
    db = s(da.sum(0), ("1 − h² missing in db alone: db = the sum of da over the batch", dh.sum(0)))
    B = len(x)
    return (dx, dh_prev, weight_slips(s, "W_xh", dW_xh, B), weight_slips(s, "W_hh", dW_hh, B),
            weight_slips(s, "b", db, B))  # fmt: skip
