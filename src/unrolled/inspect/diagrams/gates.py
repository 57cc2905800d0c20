"""The LSTM's gates as one product: the old state over the input, times one matrix, cut into four."""

from __future__ import annotations

from unrolled.cells import LSTMCell
from unrolled.inspect.diagrams.insides import rows
from unrolled.inspect.diagrams.picture import Picture

_WHAT = {"i": "whether to write", "f": "whether to keep", "g": "what to write", "o": "how much to reveal"}


def lstm_gates(cell: LSTMCell | None = None) -> Picture:
    """``[i f g o] = (sigma, sigma, tanh, sigma) W [h; x] + b``, in the cell's own order."""
    cell = cell or LSTMCell(65, 128)
    p = Picture("lstm-gates", "The four gates of an LSTM are four blocks of one product")
    G, H, I = cell.rows, cell.hidden_size, cell.input_size
    block = 46.0
    top = block * 1.5
    p.box("h_prev", 0, block, "$h_{t{-}1}$", "h", w=40, h=2 * block - 4)
    p.box("x", 0, -block, "$x_t$", "x", w=40, h=2 * block - 4)
    p.note(0, -2 * block - 14, f"${H} + {I}$")
    p.box("W", 150, 0, "$W$", "weight", w=150, h=4 * block - 4, size=18)
    p.note(150, -2 * block - 14, rf"${G} \times ({H} + {I})$")
    p.arrow("h_prev", "W", out="e", into=f"w{block:+g}")
    p.arrow("x", "W", out="e", into=f"w{-block:+g}")
    for k, gate in enumerate(cell.gates):
        y = top - block * k
        tanh = gate == "g"
        p.box(f"{gate}_bar", 282, y, rf"$\bar{{{gate}}}$", "weight", w=40, h=block - 4)
        p.box(f"phi_{gate}", 350, y, "tanh" if tanh else r"$\sigma$", "op", w=42, h=28, size=11 if tanh else 13)
        p.box(gate, 418, y, f"${gate}$", "h", w=34, h=30)
        p.arrow("W", f"{gate}_bar", out=f"e{y:+g}")
        p.chain([f"{gate}_bar", f"phi_{gate}", gate])
        p.note(444, y + 6, _WHAT[gate], "l", 10)
        p.note(444, y - 8, f"rows {rows(cell, gate)}", "l", 8)
    p.note(282, -2 * block - 14, f"${G}$")
    p.note(400, -2 * block - 14, f"each ${H}$")
    p.note(570, 20, r"$c_t = f \odot c_{t{-}1} + i \odot g$", "l", 14)
    p.note(570, -20, r"$h_t = o \odot \tanh(c_t)$", "l", 14)
    return p
