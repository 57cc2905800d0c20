"""The computational graph of a vanilla network over time, with its one set of weights: the lecture's own form."""

from __future__ import annotations

from collections.abc import Sequence

from unrolled.inspect.diagrams.picture import Mark, Picture

STEP, ROW = 104.0, 62.0
"""Points from one step to the next, and from one row to the next."""
LAST = "T"


def _name(letter: str, t: int | str) -> str:
    return f"${letter}_{{{t}}}$"


def folded() -> Picture:
    """The loop, and the same network unfolded (the notebook's first picture)."""
    p = Picture("folded", "A recurrent network with its loop, and the same network unfolded over three steps")
    for key, y in (("x", 0), ("h", 70), ("y", 140)):
        p.box(key, 0, y, f"${key}$", key)
    p.chain(["x", "h", "y"])
    p.arrow("h", "h", out="e+8", into="e-8", via=((62, 78), (62, 62)))
    p.note(7, 35, "$W_{xh}$", "l")
    p.note(7, 119, "$W_{hy}$", "l")
    p.note(44, 90, "$W_{hh}$")
    p.note(132, 86, "unfold")
    p.marks.append(Mark(((110, 70), (154, 70)), "axis"))
    for k, t in enumerate(("t{-}1", "t", "t{+}1")):
        at = 246 + k * 96
        for key, y in (("x", 0), ("h", 70), ("y", 140)):
            p.box(f"{key}{k}", at, y, _name(key, t), key)
        p.chain([f"x{k}", f"h{k}", f"y{k}"])
        p.note(at + 7, 35, "$W_{xh}$", "l")
        p.note(at + 7, 105, "$W_{hy}$", "l")
        p.note(at + 48, 80, "$W_{hh}$")
    p.word("before", 184, 70, r"$\cdots$", w=22)
    p.word("after", 504, 70, r"$\cdots$", w=22)
    p.chain(["before", "h0", "h1", "h2", "after"])
    return p


def unrolled() -> Picture:
    """f_W at every step, the same W (the lecture's first picture)."""
    p = Picture("unrolled", "The computational graph over time: one function, one set of weights, at every step")
    _graph(p, inputs=(1, 2, 3), outputs=())
    return p


def many_to_many() -> Picture:
    """An output and a loss at every step; the loss is their sum."""
    p = Picture("many-to-many", "Many to many: an output and its loss at every step, and the sum of the losses")
    _graph(p, inputs=(1, 2, 3), outputs=(1, 2, 3, LAST), losses=True)
    return p


def many_to_one() -> Picture:
    """One output, from the last state."""
    p = Picture("many-to-one", "Many to one: the sequence is read, and one output follows from the last state")
    _graph(p, inputs=(1, 2, 3), outputs=(LAST,))
    return p


def one_to_many() -> Picture:
    """One input, an output at every step."""
    p = Picture("one-to-many", "One to many: one input at the first step, an output at every step")
    _graph(p, inputs=("",), outputs=(1, 2, 3, LAST))
    return p


def _graph(p: Picture, inputs: Sequence[int | str], outputs: Sequence[int | str], losses: bool = False) -> None:
    """h_0, f_W, h_1, f_W, ..., h_T over W; inputs below, outputs and losses above."""
    p.box("h0", 0, 0, "$h_0$", "h")
    p.box("W", 0, -2 * ROW, "$W$", "weight")
    before = "h0"
    for k, t in enumerate((1, 2, 3)):
        at = STEP * k + 62
        p.box(f"f{t}", at, 0, "$f_W$", "op", w=34, h=34)
        p.box(f"h{t}", at + 52, 0, _name("h", t), "h", w=36)
        p.chain([before, f"f{t}", f"h{t}"])
        before = f"h{t}"
        p.arrow("W", f"f{t}", "shared", out="e", via=((at - 22, -2 * ROW), (at - 22, -32)), into="s-10")
        if k < len(inputs):
            label = _name("x", inputs[k]) if inputs[k] else "$x$"
            p.box(f"x{t}", at, -ROW - 6, label, "x", w=30)
            p.arrow(f"x{t}", f"f{t}")
    p.word("dots", 3 * STEP + 52, 0, r"$\cdots$", w=22)
    p.box("hT", 3 * STEP + 120, 0, "$h_T$", "h", w=36)
    p.chain(["h3", "dots", "hT"])
    for s in outputs:
        at = p.nodes[f"h{s}"].x
        p.box(f"y{s}", at, ROW, _name("y", s) if len(outputs) > 1 else "$y$", "y", w=36)
        p.arrow(f"h{s}", f"y{s}")
        if losses:
            p.box(f"L{s}", at, 2 * ROW, _name("L", s), "loss", w=36)
            p.arrow(f"y{s}", f"L{s}")
    if losses:
        p.box("L", p.nodes["h2"].x + STEP / 2, 3 * ROW + 6, r"$L = \sum_t L_t$", "loss", w=92, h=30)
        for s in outputs:
            p.arrow(f"L{s}", "L")


def encoder_decoder() -> Picture:
    """Many to one, then one to many: two sets of weights."""
    p = Picture("encoder-decoder", "Sequence to sequence: an encoder's last state is the decoder's first input")
    _half(p, "h", 0, 1, True)
    _half(p, "s", 3 * STEP + 14, 2, False)
    p.arrow("h3", "sf1")
    p.note(1.5 * STEP - 30, ROW + 34, "encoder: many to one", size=11)
    p.note(4.5 * STEP + 4, ROW + 34, "decoder: one to many", size=11)
    return p


def _half(p: Picture, letter: str, at: float, number: int, encoder: bool) -> None:
    weight = f"W{number}"
    p.box(weight, at + (0 if encoder else 8), -2 * ROW, f"$W_{number}$", "weight")
    if encoder:
        p.box("h0", at, 0, "$h_0$", "h", w=36)
    before = "h0" if encoder else ""
    for t in (1, 2, 3):
        x = at + STEP * (t - 1) + 62
        f = f"{letter}f{t}" if not encoder else f"f{t}"
        p.box(f, x, 0, f"$f_{{W_{number}}}$", "op", w=34, h=34)
        p.box(f"{letter}{t}", x + 52, 0, _name(letter, t), "h", w=36)
        p.arrow(f, f"{letter}{t}")
        if before:
            p.arrow(before, f)
        before = f"{letter}{t}"
        p.arrow(weight, f, "shared", out="e", via=((x - 22, -2 * ROW), (x - 22, -32)), into="s-10")
        if encoder:
            p.box(f"x{t}", x, -ROW - 6, _name("x", t), "x", w=30)
            p.arrow(f"x{t}", f)
        else:
            p.box(f"y{t}", x + 52, ROW, _name("y", t), "y", w=36)
            p.arrow(f"s{t}", f"y{t}")
