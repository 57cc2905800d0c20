"""Right solutions as a learner would write them, and the edits that make them wrong, each with what is to be said."""

from __future__ import annotations

SEQUENCE_ONE_STATE = """
def forward_sequence(xs, h0, {p}):
    h, hs, caches = h0, np.zeros(xs.shape[:2] + h0.shape[1:]), []
    for t in range(len(xs)):
        h, cache = forward(xs[t], h, {p})
        hs[t] = h
        caches.append(cache)
    return hs, caches

def backward_sequence(dhs, caches):
    total, dxs, dh_next = None, [], np.zeros_like(dhs[0])
    for t in reversed(range(len(dhs))):
        dh = dhs[t] + dh_next
        dx, dh_next, *grads = backward(dh, caches[t])
        dxs.insert(0, dx)
        total = grads if total is None else [a + g for a, g in zip(total, grads)]
    return (np.stack(dxs), dh_next, *total)
"""

RNN = """
import numpy as np
CELL = "rnn"

def forward(x, h_prev, W_xh, W_hh, b):
    h = np.tanh(x @ W_xh.T + h_prev @ W_hh.T + b)
    return h, (x, h_prev, W_xh, W_hh, h)

def backward(dh, cache):
    x, h_prev, W_xh, W_hh, h = cache
    dhraw = (1 - h * h) * dh
    dx = dhraw @ W_xh
    dh_prev = dhraw @ W_hh
    dW_xh = dhraw.T @ x
    dW_hh = dhraw.T @ h_prev
    db = dhraw.sum(0)
    return dx, dh_prev, dW_xh, dW_hh, db
""" + SEQUENCE_ONE_STATE.format(p="W_xh, W_hh, b")

LSTM = """
import numpy as np
CELL = "lstm"

def sigmoid(a):
    return 1 / (1 + np.exp(-a))

def forward(x, h_prev, c_prev, W_xh, W_hh, b):
    H = h_prev.shape[1]
    a = x @ W_xh.T + h_prev @ W_hh.T + b
    i, f, g, o = a[:, :H], a[:, H:2*H], a[:, 2*H:3*H], a[:, 3*H:]
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return h, c, (x, h_prev, c_prev, W_xh, W_hh, i, f, g, o, c)

def backward(dh, dc, cache):
    x, h_prev, c_prev, W_xh, W_hh, i, f, g, o, c = cache
    tc = np.tanh(c)
    dc = dc + dh * o * (1 - tc ** 2)
    do = dh * tc
    df = dc * c_prev
    di = dc * g
    dg = dc * i
    dc_prev = dc * f
    d = np.concatenate((di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)), -1)
    return d @ W_xh, d @ W_hh, dc_prev, d.T @ x, d.T @ h_prev, d.sum(0)

def forward_sequence(xs, h0, c0, W_xh, W_hh, b):
    h, c, hs, caches = h0, c0, [], []
    for x in xs:
        h, c, cache = forward(x, h, c, W_xh, W_hh, b)
        hs.append(h)
        caches.append(cache)
    return np.stack(hs), caches

def backward_sequence(dhs, caches):
    dh_next = dc_next = np.zeros_like(dhs[0])
    dxs, dW_xh, dW_hh, db = [], 0, 0, 0
    for t in reversed(range(len(dhs))):
        dh = dhs[t] + dh_next
        dx, dh_next, dc_next, dWx, dWh, d_b = backward(dh, dc_next, caches[t])
        dxs.insert(0, dx)
        dW_xh = dW_xh + dWx
        dW_hh = dW_hh + dWh
        db = db + d_b
    return np.stack(dxs), dh_next, dc_next, dW_xh, dW_hh, db
"""

GRU = """
import numpy as np
CELL = "gru"

def sigmoid(a):
    return 1 / (1 + np.exp(-a))

def forward(x, h_prev, W_xh, W_hh, b_xh, b_hh):
    H = h_prev.shape[1]
    u = x @ W_xh.T + b_xh
    v = h_prev @ W_hh.T + b_hh
    r = sigmoid(u[:, :H] + v[:, :H])
    z = sigmoid(u[:, H:2*H] + v[:, H:2*H])
    hn = v[:, 2*H:]
    n = np.tanh(u[:, 2*H:] + r * hn)
    h = (1 - z) * n + z * h_prev
    return h, (x, h_prev, W_xh, W_hh, r, z, n, hn)

def backward(dh, cache):
    x, h_prev, W_xh, W_hh, r, z, n, hn = cache
    dz = dh * (h_prev - n) * z * (1 - z)
    dn = dh * (1 - z) * (1 - n * n)
    dr = dn * hn * r * (1 - r)
    du = np.concatenate((dr, dz, dn), -1)
    dv = np.concatenate((dr, dz, dn * r), -1)
    dh_prev = dh * z + dv @ W_hh
    return du @ W_xh, dh_prev, du.T @ x, dv.T @ h_prev, du.sum(0), dv.sum(0)
""" + SEQUENCE_ONE_STATE.format(p="W_xh, W_hh, b_xh, b_hh")

SOLUTIONS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}

RNN_EDITS = [
    ("(1 - h * h) * dh", "dh", "1 − h² missing: da"),
    ("(1 - h * h) * dh", "(1 - np.tanh(h) ** 2) * dh", "1 − tanh²(h) where 1 − h² belongs"),
    ("(1 - h * h) * dh", "(1 - np.arctanh(h) ** 2) * dh", "1 − a² where 1 − h² belongs"),
    ("(1 - h * h) * dh", "(1 - h) * dh", "the square is missing"),
    ("dh_prev = dhraw @ W_hh", "dh_prev = dhraw @ W_hh.T", "W_hh where dh_prev needs W_hhᵀ"),
    ("dW_hh = dhraw.T @ h_prev", "dW_hh = h_prev.T @ dhraw", "dW_hh is transposed"),
    ("dW_hh = dhraw.T @ h_prev", "dW_hh = dhraw.T @ h", "h where dW_hh needs h_prev"),
    ("db = dhraw.sum(0)", "db = dh.sum(0)", "1 − h² missing in db alone"),
    ("db = dhraw.sum(0)", "db = dhraw.mean(0)", "db is the mean over the batch"),
    ("dh = dhs[t] + dh_next", "dh = dhs[t]", "dh_next not added"),
    ("[a + g for a, g in zip(total, grads)]", "grads",
     "every weight's gradient lacks the sum over t: it is the share of step 0"),
    ("[a + g for a, g in zip(total, grads)]", "[total[0] + grads[0], grads[1], total[2] + grads[2]]",
     "dW_hh lacks the sum over t"),
    ("return (np.stack(dxs), dh_next, *total)", "return (np.stack(dxs), dh_next, *[g / len(dhs) for g in total])",
     "every weight's gradient is the mean over t"),
    ("reversed(range(len(dhs)))", "range(len(dhs))", "dxs"),
    ("dx, dh_next, *grads = backward(dh, caches[t])", "dx, _, *grads = backward(dh, caches[t]); dh_next = dh",
     "dh_next is dh"),
    ("np.tanh(x @ W_xh.T", "(x @ W_xh.T", "tanh is missing"),
    (" + b)", ")", "the bias b is missing"),
    ("h_prev @ W_hh.T", "h_prev @ W_hh", "W_hh is transposed"),
    ("forward(xs[t], h, ", "forward(xs[t], h0, ", "h not carried"),
]  # fmt: skip

LSTM_EDITS = [
    ("dc = dc + dh * o", "dc = dh * o", "dc_next not added"),
    ("dc = dc + dh * o * (1 - tc ** 2)", "dc = dc + dh * o", "1 − tanh²(c) missing"),
    ("dc = dc + dh * o * (1 - tc ** 2)", "dc = dc + dh * o * (1 - c ** 2)", "1 − c² where 1 − tanh²(c) belongs"),
    ("dc = dc + dh * o * (1 - tc ** 2)", "dc = dc + dh * (1 - tc ** 2)", "o missing on the path from h to c"),
    ("dc_prev = dc * f", "dc_prev = dc", "f missing: dc_prev"),
    ("df = dc * c_prev", "df = dc * c", "c where df needs c_prev"),
    ("do = dh * tc", "do = dh * c", "tanh missing: do"),
    ("df * f * (1 - f)", "df", "sigmoid' missing on f"),
    ("di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)", "di, df, dg * (1 - g * g), do",
     "sigmoid' missing on i, f and o"),
    ("dg * (1 - g * g)", "dg", "1 − g² missing"),
    ("dg * (1 - g * g), do * o * (1 - o)", "do * o * (1 - o), dg * (1 - g * g)",
     "the gates' gradients are put together in the order i f o g"),
    ("i, f, g, o = a[", "i, f, o, g = a[", "the gates are read in the order i f o g"),
    ("i, f, g, o = a[", "f, i, o, g = a[", "the gates are read in the order f i o g"),
    ("h = o * np.tanh(c)", "h = o * c", "tanh missing on c"),
    ("c = f * c_prev + i * g", "c = c_prev + i * g", "f missing: c ="),
    ("sigmoid(f), np.tanh(g)", "sigmoid(f), sigmoid(g)", "sigmoid where g needs tanh"),
    ("return h, c, (x", "return c, h, (x", "h and c are returned in the other order"),
    ("dh = dhs[t] + dh_next", "dh = dhs[t]", "dh_next not added"),
    ("backward(dh, dc_next, caches[t])", "backward(dh, 0 * dh, caches[t])", "dc_next not handed on"),
    ("dW_hh = dW_hh + dWh", "dW_hh = dWh", "dW_hh lacks the sum over t"),
    ("h, c, cache = forward(x, h, c, W", "h, c, cache = forward(x, h, c0, W", "c not carried"),
]  # fmt: skip

GRU_EDITS = [
    ("(1 - z) * n + z * h_prev", "z * n + (1 - z) * h_prev", "the update gate is reversed"),
    ("r * hn)", "(r * h_prev) @ W_hh[2*H:].T + b_hh[2*H:])", "the reset gate acts before the product"),
    ("r * hn)", "hn)", "the reset gate is missing"),
    ("r = sigmoid(u[:, :H] + v[:, :H])\n    z = sigmoid(u[:, H:2*H] + v[:, H:2*H])",
     "z = sigmoid(u[:, :H] + v[:, :H])\n    r = sigmoid(u[:, H:2*H] + v[:, H:2*H])",
     "the gates are read in the order z r n"),
    ("@ W_hh.T + b_hh", "@ W_hh.T", "the bias b_hh is missing"),
    ("dh * (h_prev - n)", "dh * (n - h_prev)", "the sign of dz"),
    ("dn = dh * (1 - z)", "dn = dh * z", "z where dn needs 1 − z"),
    ("dh_prev = dh * z + dv", "dh_prev = dv", "dh · z not added"),
    ("* (1 - n * n)", "", "1 − n² missing"),
    ("dr = dn * hn * r * (1 - r)", "dr = dn * hn", "sigmoid' missing on r"),
    ("dr = dn * hn", "dr = dn * h_prev", "h_prev where dr needs h_n"),
    ("dn * r)", "dn)", "r missing on the recurrent side"),
    ("dv.sum(0)", "du.sum(0)", "r missing in db_hh alone"),
    ("dh = dhs[t] + dh_next", "dh = dhs[t]", "dh_next not added"),
    ("[a + g for a, g in zip(total, grads)]", "grads", "every weight's gradient lacks the sum over t"),
]  # fmt: skip

EDITS = {"rnn": RNN_EDITS, "lstm": LSTM_EDITS, "gru": GRU_EDITS}


def in_torch(source: str) -> str:
    """The same solution in torch."""
    return (
        source.replace("import numpy as np", "import torch")
        .replace("np.zeros(xs.shape[:2] + h0.shape[1:])", "torch.zeros(xs.shape[:2] + h0.shape[1:], dtype=h0.dtype)")
        .replace("np.concatenate", "torch.cat")
        .replace("np.", "torch.")
    )
