"""The lecture's character model in NumPy: what ``--preset min-char-rnn`` is measured against. No torch here.

Written anew from the equations, in two forms that compute the same:

``columns``  as such programs are written: one-hot columns, every product of every step by itself, forward and backward.
``products`` the best that NumPy allows: ids pick columns of W_xh, and what need not wait for the recurrence is one
             product over all steps.

::

    h_t = tanh(W_xh x_t + W_hh h_{t-1} + b_h)      p_t = softmax(W_hy h_t + b_y)      loss = - sum_t log p_t[y_t]

Gradients are clipped to [-5, 5], element by element; Adagrad has its epsilon inside the root.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
CLIP, EPSILON = 5.0, 1e-8


class NumpyProgram:
    """The whole program: a place in the text, weights, hidden state, Adagrad's memory.

    Args:
        ids: the text, (N,) integers below V.
        weights: ``W_xh`` (H, V), ``W_hh`` (H, H), ``W_hy`` (V, H), ``b_h`` (H,), ``b_y`` (V,); copied.
    """

    def __init__(self, ids: Array, weights: dict[str, Array], form: str, *, T: int = 25, rate: float = 0.1) -> None:
        self.ids, self.T, self.rate, self.form = np.asarray(ids), T, rate, form
        self.w = {name: value.copy() for name, value in weights.items()}
        if form == "columns":
            self.w = {n: v.reshape(-1, 1) if v.ndim == 1 else v for n, v in self.w.items()}
        self.memory = {name: np.zeros_like(value) for name, value in self.w.items()}
        self.place, self.h = 0, np.zeros_like(self.w["b_h"])

    def step(self) -> float:
        """One update; the chunk's loss before it, in nats, summed."""
        if self.place + self.T + 1 >= len(self.ids):
            self.place, self.h = 0, np.zeros_like(self.h)
        window = self.ids[self.place : self.place + self.T + 1]
        run = _columns if self.form == "columns" else _products
        loss, gradients, self.h = run(self.w, window[:-1], window[1:], self.h)
        for name, w in self.w.items():
            g, memory = gradients[name], self.memory[name]
            np.clip(g, -CLIP, CLIP, out=g)
            memory += g * g
            w -= self.rate * g / np.sqrt(memory + EPSILON)
        self.place += self.T
        return loss


def _columns(w: dict[str, Array], x: Array, y: Array, h: Array) -> tuple[float, dict[str, Array], Array]:
    W_xh, W_hh, W_hy, b_h, b_y = (w[n] for n in ("W_xh", "W_hh", "W_hy", "b_h", "b_y"))
    steps, loss = len(x), 0.0
    xs, hs, ps = {}, {-1: h}, {}
    for t in range(steps):
        xs[t] = np.zeros((W_hy.shape[0], 1), h.dtype)
        xs[t][x[t]] = 1
        hs[t] = np.tanh(np.dot(W_xh, xs[t]) + np.dot(W_hh, hs[t - 1]) + b_h)
        exp = np.exp(np.dot(W_hy, hs[t]) + b_y)
        ps[t] = exp / np.sum(exp)
        loss -= float(np.log(ps[t][y[t], 0]))
    d = {name: np.zeros_like(value) for name, value in w.items()}
    dh_next = np.zeros_like(h)
    for t in reversed(range(steps)):
        dy = np.copy(ps[t])
        dy[y[t]] -= 1
        d["W_hy"] += np.dot(dy, hs[t].T)
        d["b_y"] += dy
        dh_bar = (1 - hs[t] * hs[t]) * (np.dot(W_hy.T, dy) + dh_next)
        d["b_h"] += dh_bar
        d["W_xh"] += np.dot(dh_bar, xs[t].T)
        d["W_hh"] += np.dot(dh_bar, hs[t - 1].T)
        dh_next = np.dot(W_hh.T, dh_bar)
    return loss, d, hs[steps - 1]


def _products(w: dict[str, Array], x: Array, y: Array, h0: Array) -> tuple[float, dict[str, Array], Array]:
    W_hh, W_hy = w["W_hh"], w["W_hy"]
    steps, every = len(x), np.arange(len(x))
    h = np.empty((steps + 1, len(h0)), h0.dtype)
    h[0] = h0
    entering = w["W_xh"].T[x] + w["b_h"]
    for t in range(steps):
        np.tanh(entering[t] + W_hh @ h[t], out=h[t + 1])
    d_scores = h[1:] @ W_hy.T + w["b_y"]
    d_scores -= d_scores.max(1, keepdims=True)
    true = d_scores[every, y].copy()
    np.exp(d_scores, out=d_scores)
    total = d_scores.sum(1, keepdims=True)
    loss = float((np.log(total[:, 0]) - true).sum())
    d_scores /= total
    d_scores[every, y] -= 1
    from_scores, slope = d_scores @ W_hy, 1 - h[1:] ** 2
    dh_bar, later = np.empty_like(from_scores), np.zeros_like(h0)
    for t in range(steps - 1, -1, -1):
        np.multiply(slope[t], from_scores[t] + later, out=dh_bar[t])
        later = dh_bar[t] @ W_hh
    d_W_xh = np.zeros_like(w["W_xh"])
    np.add.at(d_W_xh.T, x, dh_bar)
    d = {"W_xh": d_W_xh, "W_hh": dh_bar.T @ h[:-1], "W_hy": d_scores.T @ h[1:], "b_h": dh_bar.sum(0),
         "b_y": d_scores.sum(0)}  # fmt: skip
    return loss, d, h[-1].copy()
