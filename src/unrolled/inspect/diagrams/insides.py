"""The inside of a cell: one step as a computational graph, and the path of the gradient through it.

What a node computes stands in its ``op``, so that the drawing can be run and compared with the cell itself, as a test
does: ``input:NAME``; ``product:ih``, ``product:hh`` or ``product:both``, all rows of that product with its bias;
``sigmoid:GATE`` and ``tanh:GATE``, of the sum of what comes in, of which a product gives the rows of GATE;
``rows:GATE``, those rows alone; ``times``, ``plus``, ``one-minus``, ``tanh``, ``relu``, ``identity``, ``state``, on
elements.
Which gates there are, in which order their rows stand and how large everything is, is read from the cell.
"""

from __future__ import annotations

from unrolled.cells import Cell, GRUCell, LSTMCell, RNNCell
from unrolled.inspect.diagrams.picture import Picture

TIMES, PLUS = r"$\times$", r"$+$"


def inside(cell: Cell, name: str | None = None) -> Picture:
    """One step of ``cell``.

    Raises:
        ValueError: a cell whose inside is not drawn (projection, layer norm, reset before the product).
    """
    if cell.proj_size or cell.layer_norm or not getattr(cell, "reset_after", True):
        what = "a projection" if cell.proj_size else "layer_norm" if cell.layer_norm else "reset_after=False"
        raise ValueError(f"no picture of the inside of {cell.name} with {what}: only plain RNN, LSTM and GRU cells")
    if isinstance(cell, RNNCell):
        return _rnn(cell, name or "rnn-cell")
    if isinstance(cell, LSTMCell):
        return _lstm(cell, name or "lstm-cell")
    if isinstance(cell, GRUCell):
        return _gru(cell, name or "gru-cell")
    raise ValueError(f"no picture of the inside of {cell.name}")


def rows(cell: Cell, gate: str) -> str:
    """The rows of a gate in ``weight_ih`` and ``weight_hh``, as Python slices them."""
    k, H = cell.gates.index(gate), cell.hidden_size
    return f"{k * H}:{(k + 1) * H}"


def sizes(cell: Cell) -> str:
    """The shapes of both weights, in one line."""
    shapes = {p.name: p.shape for p in cell.parameters()}
    ih, hh = (r" \times ".join(map(str, shapes[n])) for n in ("weight_ih", "weight_hh"))
    return rf"$I = {cell.input_size}$,  $H = {cell.hidden_size}$      $W_{{xh}}$: ${ih}$      $W_{{hh}}$: ${hh}$"


def _rnn(cell: RNNCell, name: str) -> Picture:
    p = Picture(name, f"One step of the vanilla cell ({cell.nonlinearity}), and its gradient back to the state before")
    phi = {"tanh": "tanh", "relu": "relu", "identity": "1"}[cell.nonlinearity]
    p.box("h_prev", 0, 90, "$h_{t{-}1}$", "h", op="input:h")
    p.box("x", 135, 10, "$x_t$", "x", op="input:x")
    p.box("W", 135, 90, r"$W_{hh}h_{t{-}1} + W_{xh}x_t + b$", "weight", w=146, h=32, op="product:both")
    p.box("phi", 270, 90, phi, "op", op=cell.nonlinearity, size=11)
    p.box("h", 365, 90, "$h_t$", "h", op="state")
    p.chain(["h_prev", "W", "phi", "h"])
    p.arrow("x", "W")
    p.arrow("h", "h_prev", "gradient", out="n", into="n", via=((365, 138), (0, 138)))
    slope = {"tanh": r"\mathrm{diag}(1 - h_t^2)", "relu": r"\mathrm{diag}(h_t > 0)", "identity": ""}
    p.note(
        182,
        154,
        rf"$\partial h_t / \partial h_{{t{{-}}1}} = {slope[cell.nonlinearity]}\,W_{{hh}}$",
        size=12,
        kind="gradient",
    )
    p.note(182, -28, sizes(cell))
    p.note(135, 122, r"$W_{hh}^{\top}\,\cdot$", size=11, kind="gradient")
    if cell.nonlinearity != "identity":
        factor = "(1 - h_t^2)" if cell.nonlinearity == "tanh" else "(h_t > 0)"
        p.note(270, 121, rf"${factor}\,\odot$", size=10, kind="gradient")
    p.path = ("h", "phi", "W", "h_prev")
    return p


def _lstm(cell: LSTMCell, name: str) -> Picture:
    p = Picture(name, "One step of the LSTM, and the gradient of c back to the c before: times f, no matrix")
    p.box("c_prev", 0, 200, "$c_{t{-}1}$", "h", op="input:c")
    p.box("h_prev", 0, 20, "$h_{t{-}1}$", "h", op="input:h")
    p.box("x", 240, -40, "$x_t$", "x", op="input:x")
    p.box("W", 240, 20, r"$W_{hh}h_{t{-}1} + W_{xh}x_t + b$", "weight", w=330, h=32, op="product:both")
    # The rows of W stand in the cell's order; the gates are drawn where their lines do not cross.
    for gate, x in {"f": 105, "i": 190, "g": 290, "o": 375}.items():
        kind = "tanh" if gate == "g" else "sigmoid"
        p.box(gate, x, 84, "tanh" if gate == "g" else r"$\sigma$", "op", op=f"{kind}:{gate}", w=40, h=26,
              size=11 if gate == "g" else 13)  # fmt: skip
        p.arrow("W", gate, out=f"n{x - 240:+d}")
        p.note(x + 4, 53, rows(cell, gate), "l", 7.5)
    p.circle("keep", 105, 200, TIMES, "times")
    p.circle("new", 240, 145, TIMES, "times")
    p.circle("plus", 240, 200, PLUS, "plus")
    p.box("squash", 375, 160, "tanh", "op", op="tanh", w=40, h=24, size=11)
    p.circle("gated", 430, 122, TIMES, "times")
    p.box("c", 520, 200, "$c_t$", "h", op="state")
    p.box("h", 520, 122, "$h_t$", "h", op="state")
    p.arrow("h_prev", "W")
    p.arrow("x", "W")
    p.chain(["c_prev", "keep", "plus", "c"])
    p.arrow("f", "keep")
    p.arrow("i", "new", via=((190, 145),), out="n")
    p.arrow("g", "new", via=((290, 145),), out="n")
    p.arrow("new", "plus")
    p.arrow("plus", "squash", tap=(375, 200))
    p.arrow("squash", "gated", via=((430, 160),), out="e")
    p.arrow("o", "gated", via=((430, 84),), out="e")
    p.arrow("gated", "h")
    for gate, (x, y) in {"f": (112, 112), "i": (197, 112), "g": (297, 112), "o": (409, 92)}.items():
        p.note(x, y, f"${gate}_t$", "l", 12)
    p.arrow("c", "c_prev", "gradient", out="n", into="n", via=((520, 238), (0, 238)))
    p.note(
        260,
        252,
        r"$\partial c_t / \partial c_{t{-}1} = \mathrm{diag}(f_t)$, with $h_{t{-}1}$ held",
        size=12,
        kind="gradient",
    )
    p.note(105, 224, r"$f_t\,\odot$", size=11, kind="gradient")
    p.note(240, 224, r"$1\,\odot$", size=11, kind="gradient")
    p.note(260, -78, f"{sizes(cell)}      rows in the order {' '.join(cell.gates)}")
    p.path = ("c", "plus", "keep", "c_prev")
    return p


def _gru(cell: GRUCell, name: str) -> Picture:
    p = Picture(name, "One step of the GRU, and the gradient's direct path back: times z, no matrix")
    p.box("h_prev", 0, 240, "$h_{t{-}1}$", "h", op="input:h")
    p.box("x", 0, -22, "$x_t$", "x", op="input:x")
    p.box("Wx", 98, -22, r"$W_{xh}x_t + b_{xh}$", "weight", w=106, op="product:ih")
    p.box("Wh", 98, 22, r"$W_{hh}h_{t{-}1} + b_{hh}$", "weight", w=106, op="product:hh")
    p.arrow("x", "Wx")
    p.arrow("h_prev", "Wh", out="s", via=((0, 22),))
    p.box("z", 175, 90, r"$\sigma$", "op", op="sigmoid:z", w=40, h=26, size=13)
    p.box("h_n", 255, 90, "$h_n$", "weight", op="rows:n", w=40, h=26)
    p.box("r", 335, 90, r"$\sigma$", "op", op="sigmoid:r", w=40, h=26, size=13)
    p.box("x_n", 415, 90, "$x_n$", "weight", op="rows:n", w=40, h=26)
    p.box("n", 415, 150, "tanh", "op", op="tanh:n", w=40, h=26, size=11)
    _gru_rows(cell, p)
    p.circle("reset", 295, 130, TIMES, "times")
    p.circle("keep", 175, 240, TIMES, "times")
    p.circle("other", 240, 195, r"$1{-}$", "one-minus")
    p.circle("new", 415, 195, TIMES, "times")
    p.circle("plus", 415, 240, PLUS, "plus")
    p.box("h", 510, 240, "$h_t$", "h", op="state")
    p.chain(["h_prev", "keep", "plus", "h"])
    p.arrow("z", "keep")
    p.arrow("z", "other", tap=(175, 195))
    p.arrow("other", "new")
    p.arrow("h_n", "reset", out="n", via=((255, 130),))
    p.arrow("r", "reset", out="n", via=((335, 130),))
    p.arrow("reset", "n", out="n", via=((295, 158),), into="w+8")
    p.arrow("x_n", "n")
    p.arrow("n", "new")
    p.arrow("new", "plus")
    for gate, (x, y) in {"z": (182, 116), "r": (342, 114), "n": (422, 173)}.items():
        p.note(x, y, f"${gate}_t$", "l", 12)
    p.arrow("h", "h_prev", "gradient", out="n", into="n", via=((510, 278), (0, 278)))
    text = r"$\partial h_t / \partial h_{t{-}1} = \mathrm{diag}(z_t)$ + what comes through the gates"
    p.note(255, 292, text, size=12, kind="gradient")
    p.note(175, 264, r"$z_t\,\odot$", size=11, kind="gradient")
    p.note(415, 264, r"$1\,\odot$", size=11, kind="gradient")
    p.note(255, -60, f"{sizes(cell)}      rows in the order {' '.join(cell.gates)}")
    p.path = ("h", "plus", "keep", "h_prev")
    return p


def _gru_rows(cell: GRUCell, p: Picture) -> None:
    """Two lines along the bottom, one of each product, and what branches off them."""
    for product, y, taps in (
        ("Wh", 22, {"z": -8, "h_n": 0, "r": -8}),
        ("Wx", -22, {"z": 8, "r": 8, "x_n": 0}),
    ):
        for key, shift in taps.items():
            at = (p.nodes[key].x + shift, y)
            if key == list(taps)[-1]:  # the line itself ends in its last target
                p.arrow(product, key, out="e", via=(at,), into=f"s{shift:+}")
            else:
                p.arrow(product, key, tap=at, into=f"s{shift:+}")
    for key in ("z", "h_n", "r", "x_n"):
        p.note(p.nodes[key].x + (14 if key in "zr" else 6), 66, rows(cell, key[-1]), "l", 7.5)


# -- the named pictures: a character model's sizes, 65 characters and 128 units --------------------------------------


def rnn_cell() -> Picture:
    """The vanilla cell."""
    return inside(RNNCell(65, 128))


def lstm_cell() -> Picture:
    """The LSTM."""
    return inside(LSTMCell(65, 128))


def gru_cell() -> Picture:
    """The GRU."""
    return inside(GRUCell(65, 128))
