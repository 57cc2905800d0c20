"""The GRU with its slips."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from unrolled.check.slips import Array, Arrays, Slips, blocks, sigmoid, weight_slips

ORDER = "rzn"


def _orders(s: Slips, pairs: list[list[Array]]) -> list[list[Array]]:
    """Blocks r z n of the two products, or as somebody with another order of gates reads them."""
    wrong = []
    for order in itertools.permutations(ORDER):
        if "".join(order) != ORDER:
            taken = [[product[order.index(g)] for g in ORDER] for product in pairs]
            wrong.append((f"the gates are read in the order {' '.join(order)}, where it is r z n", taken))
    found: list[list[Array]] = s(pairs, *wrong)
    return found


def forward(
    s: Slips, x: Array, h_prev: Array, W_xh: Array, W_hh: Array, b_xh: Array, b_hh: Array
) -> tuple[Arrays, Any]:
    """``h``, and what backward needs."""
    from_x = s(x @ W_xh.T + b_xh, ("the bias b_xh is missing", x @ W_xh.T))
    from_h = s(h_prev @ W_hh.T + b_hh, ("the bias b_hh is missing", h_prev @ W_hh.T))
    (x_r, x_z, x_n), (h_r, h_z, h_n) = _orders(s, [blocks(from_x, 3), blocks(from_h, 3)])
    r = s(sigmoid(x_r + h_r), ("tanh where r needs sigmoid", np.tanh(x_r + h_r)), ("sigmoid missing on r", x_r + h_r))
    z = s(sigmoid(x_z + h_z), ("tanh where z needs sigmoid", np.tanh(x_z + h_z)), ("sigmoid missing on z", x_z + h_z))
    H = h_prev.shape[-1]
    W_n, b_n = W_hh[2 * H :], b_hh[2 * H :]
    n_bar = s(
        x_n + r * h_n,
        ("the reset gate acts before the product (Cho et al. 2014); here it acts after it, as in torch: "
         "n = tanh(x_n + r · (W_hn h_prev + b_hn))", x_n + (r * h_prev) @ W_n.T + b_n),
        ("the reset gate is missing: n = tanh(x_n + r · h_n)", x_n + h_n),
        ("b_hn stands outside the reset: n = tanh(x_n + r · (W_hn h_prev + b_hn))", x_n + r * (h_n - b_n) + b_n),
        ("the reset gate acts on the input's product as well: n = tanh(x_n + r · h_n)", r * (x_n + h_n)),
        ("z where n needs r: n = tanh(x_n + r · h_n)", x_n + z * h_n),
        ("h_n missing: n = tanh(x_n + r · h_n)", x_n),
    )  # fmt: skip
    n = s(np.tanh(n_bar), ("sigmoid where n needs tanh", sigmoid(n_bar)), ("tanh missing on n", n_bar))
    h = s(
        (1 - z) * n + z * h_prev,
        ("the update gate is reversed: h = (1 − z) · n + z · h_prev, so that z near 1 keeps", z * n + (1 - z) * h_prev),
        ("(1 − z) missing: h = (1 − z) · n + z · h_prev", n + z * h_prev),
        ("z · h_prev missing: h = (1 − z) · n + z · h_prev", (1 - z) * n),
        ("z missing: h = (1 − z) · n + z · h_prev", (1 - z) * n + h_prev),
        ("r where h needs z: h = (1 − z) · n + z · h_prev", (1 - r) * n + r * h_prev),
    )
    return (h,), (x, h_prev, W_xh, W_hh, r, z, n, h_n, h)


def backward(s: Slips, d_state: Arrays, cache: Any) -> Arrays:
    """``dx, dh_prev, dW_xh, dW_hh, db_xh, db_hh``."""
    (dh,), (_, h_prev, _, _, r, z, n, h_n, h) = d_state, cache
    dz = s(
        dh * (h_prev - n),
        ("the sign of dz: dz = dh · (h_prev − n)", dh * (n - h_prev)),
        ("n missing: dz = dh · (h_prev − n)", dh * h_prev),
        ("h_prev missing: dz = dh · (h_prev − n)", -dh * n),
        ("h where dz needs h_prev: dz = dh · (h_prev − n)", dh * (h - n)),
    )
    dn = s(
        dh * (1 - z),
        ("z where dn needs 1 − z: dn = dh · (1 − z)", dh * z),
        ("1 − z missing: dn = dh · (1 − z)", dh),
    )
    dz_bar = s(dz * z * (1 - z), ("sigmoid' missing on z: dz_bar = dz · z · (1 − z)", dz),
               ("sigmoid' missing on r and z", dz))  # fmt: skip
    dn_bar = s(
        dn * (1 - n * n),
        ("1 − n² missing: dn_bar = dn · (1 − n²)", dn),
        ("n · (1 − n), sigmoid's derivative, where tanh's 1 − n² belongs", dn * n * (1 - n)),
    )
    dr = s(
        dn_bar * h_n,
        ("h_prev where dr needs h_n = W_hn h_prev + b_hn: dr = dn_bar · h_n", dn_bar * h_prev),
        ("h_n missing: dr = dn_bar · h_n", dn_bar),
        ("dn where dr needs dn_bar: dr = dn_bar · h_n", dn * h_n),
        ("dr missing: r has no gradient", np.zeros_like(r)),
    )
    dr_bar = s(dr * r * (1 - r), ("sigmoid' missing on r: dr_bar = dr · r · (1 − r)", dr),
               ("sigmoid' missing on r and z", dr))  # fmt: skip
    return _products(s, dh, dr_bar, dz_bar, dn_bar, cache)


def _products(s: Slips, dh: Array, dr_bar: Array, dz_bar: Array, dn_bar: Array, cache: Any) -> Arrays:
    x, h_prev, W_xh, W_hh, r, z, _, _, h = cache
    dh_n = s(
        dn_bar * r,
        ("r missing on the recurrent side: dh_n = dn_bar · r, in dh_prev, dW_hh and db_hh", dn_bar),
    )
    d_x, d_h = np.concatenate((dr_bar, dz_bar, dn_bar), -1), np.concatenate((dr_bar, dz_bar, dh_n), -1)
    dx = d_x @ W_xh
    dh_prev = s(
        dh * z + d_h @ W_hh,
        ("dh · z not added: dh_prev = dh · z + W_hhᵀ d_bar", d_h @ W_hh),
        ("the path through the gates is missing: dh_prev = dh · z + W_hhᵀ d_bar", dh * z),
        ("1 − z where dh_prev needs z: dh_prev = dh · z + W_hhᵀ d_bar", dh * (1 - z) + d_h @ W_hh),
        ("z missing: dh_prev = dh · z + W_hhᵀ d_bar", dh + d_h @ W_hh),
        ("r missing in dh_prev alone: the block n of d_bar is dn_bar · r there", dh * z + d_x @ W_hh),
    )
    dW_hh = s(
        d_h.T @ h_prev,
        ("h where dW_hh needs h_prev", d_h.T @ h),
        ("r missing in dW_hh alone: the block n is (dn_bar · r) h_prevᵀ", d_x.T @ h_prev),
    )
    db_hh = s(
        d_h.sum(0),
        ("r missing in db_hh alone: its block n is the sum of dn_bar · r", d_x.sum(0)),
    )
    B = len(x)
    return (dx, dh_prev, weight_slips(s, "W_xh", d_x.T @ x, B), weight_slips(s, "W_hh", dW_hh, B),
            weight_slips(s, "b_xh", d_x.sum(0), B), weight_slips(s, "b_hh", db_hh, B))  # fmt: skip
