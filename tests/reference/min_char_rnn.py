"""The lecture's character RNN in NumPy alone: what the package is checked against. It imports nothing of the package.

Written from the equations, with row vectors::

    a_t = W_xh[:, x_t] + W_hh h_{t-1} + b_h        h_t = tanh(a_t)        s_t = W_hy h_t + b_y
    loss = sum_t  logsumexp(s_t) - s_t[y_t]

    ds_t = softmax(s_t) - onehot(y_t)              da_t = (1 - h_t^2) * (W_hy' ds_t + W_hh' da_{t+1})

Every weight's gradient is the sum over t; each element is clipped to [-5, 5]; Adagrad adds its epsilon inside the root.
"""

from __future__ import annotations

import numpy as np

NAMES = ("W_xh", "W_hh", "W_hy", "b_h", "b_y")
CLIP = 5.0
EPSILON = 1e-8


def initial_weights(V, H, seed, dtype=np.float64):
    """N(0, 0.01^2) for the matrices, zeros for the biases."""
    draw = np.random.default_rng(seed).standard_normal
    return {
        "W_xh": (0.01 * draw((H, V))).astype(dtype),
        "W_hh": (0.01 * draw((H, H))).astype(dtype),
        "W_hy": (0.01 * draw((V, H))).astype(dtype),
        "b_h": np.zeros(H, dtype),
        "b_y": np.zeros(V, dtype),
    }


def loss_and_gradients(w, x, y, h0):
    """Loss summed over the chunk, clipped gradients, and the last hidden state; x and y are arrays of ids (T,)."""
    steps = len(x)
    h = np.empty((steps + 1, len(h0)), h0.dtype)
    h[0] = h0
    for t in range(steps):
        h[t + 1] = np.tanh(w["W_xh"][:, x[t]] + w["W_hh"] @ h[t] + w["b_h"])
    scores = h[1:] @ w["W_hy"].T + w["b_y"]
    scores -= scores.max(1, keepdims=True)
    normaliser = np.exp(scores).sum(1, keepdims=True)
    loss = float((np.log(normaliser[:, 0]) - scores[np.arange(steps), y]).sum())

    d_scores = np.exp(scores) / normaliser
    d_scores[np.arange(steps), y] -= 1.0
    d_a = np.empty((steps, len(h0)), h0.dtype)
    from_the_future = np.zeros_like(h0)
    for t in range(steps - 1, -1, -1):
        d_a[t] = (1.0 - h[t + 1] ** 2) * (d_scores[t] @ w["W_hy"] + from_the_future)
        from_the_future = d_a[t] @ w["W_hh"]
    d_w_xh = np.zeros_like(w["W_xh"])
    np.add.at(d_w_xh.T, x, d_a)
    gradients = {
        "W_xh": d_w_xh,
        "W_hh": d_a.T @ h[:-1],
        "W_hy": d_scores.T @ h[1:],
        "b_h": d_a.sum(0),
        "b_y": d_scores.sum(0),
    }
    return loss, {name: g.clip(-CLIP, CLIP) for name, g in gradients.items()}, h[-1].copy()


class MinCharRnn:
    """The whole program: where it stands in the text, its weights, its hidden state, Adagrad's memory."""

    def __init__(self, ids, V, *, H=100, T=25, rate=0.1, seed=0, dtype=np.float64):
        self.ids, self.V, self.H, self.T, self.rate = np.asarray(ids), V, H, T, rate
        self.w = initial_weights(V, H, seed, dtype)
        self.memory = {name: np.zeros_like(value) for name, value in self.w.items()}
        self.h = np.zeros(H, dtype)
        self.place = None
        self.smooth_loss = T * np.log(V)

    def start_chunk(self):
        """Inputs, targets, and whether the text starts again here.

        A chunk is read only where at least one unit is left after its last target; a text that ends exactly there
        starts again all the same. The rest of the text is skipped, never read as a shorter chunk.
        """
        fresh = self.place is None or len(self.ids) - self.place <= self.T + 1
        if fresh:
            self.place, self.h = 0, np.zeros_like(self.h)
        window = self.ids[self.place : self.place + self.T + 1]
        return window[:-1], window[1:], fresh

    def step(self):
        """One update; returns the chunk's loss before it."""
        x, y, _ = self.start_chunk()
        loss, gradients, self.h = loss_and_gradients(self.w, x, y, self.h)
        for name, g in gradients.items():
            self.memory[name] += g * g
            self.w[name] -= self.rate * g / np.sqrt(self.memory[name] + EPSILON)
        self.smooth_loss = 0.999 * self.smooth_loss + 0.001 * loss
        self.place += self.T
        return loss
