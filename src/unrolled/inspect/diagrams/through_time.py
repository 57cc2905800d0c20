"""Back-propagation through time, whole and truncated; the gradient's path through many steps; layers upon layers."""

from __future__ import annotations

from unrolled.inspect.diagrams.picture import Frame, Mark, Picture

STEP, ROW = 66.0, 56.0


def _columns(p: Picture, first: int, count: int, at: float, letter: str = "") -> list[str]:
    """x, h and y of ``count`` steps side by side; the keys of the states."""
    states = []
    for k in range(count):
        t, x = first + k, at + STEP * k
        for key, y in (("x", 0.0), ("h", ROW), ("y", 2 * ROW)):
            p.box(f"{key}{t}", x, y, f"${key}_{{{t}}}{letter}$", key, w=36)
        p.chain([f"x{t}", f"h{t}", f"y{t}"])
        states.append(f"h{t}")
    return states


def _loss(p: Picture, key: str, label: str, first: int, last: int) -> None:
    """A loss over the outputs ``first`` to ``last``, as wide as they are."""
    a, b = p.nodes[f"y{first}"].x, p.nodes[f"y{last}"].x
    p.box(key, (a + b) / 2, 3 * ROW, label, "loss", w=b - a + 36, h=26)
    for t in range(first, last + 1):
        p.arrow(f"y{t}", key, into=f"s{p.nodes[f'y{t}'].x - (a + b) / 2:+g}", out="n")


def _back(p: Picture, first: int, last: int, loss: str) -> None:
    """The gradient: from the loss down into every step and from each state to the one before."""
    for t in range(first, last + 1):
        shift = p.nodes[f"y{t}"].x - p.nodes[loss].x + 9
        p.arrow(loss, f"y{t}", "gradient", out=f"s{shift:+g}", into="n+9")
        p.arrow(f"y{t}", f"h{t}", "gradient", out="s+9", into="n+9")
        if t > first:
            p.arrow(f"h{t}", f"h{t - 1}", "gradient", out="w-8", into="e-8")


def bptt() -> Picture:
    """Forward through the entire sequence, then backward through the entire sequence."""
    p = Picture(
        "bptt", "Back-propagation through time: forward through the whole sequence, then backward through all of it"
    )
    p.box("h0", 0, ROW, "$h_0$", "h", w=36)
    states = _columns(p, 1, 6, STEP)
    for a, b in zip(["h0", *states], states, strict=False):
        p.arrow(a, b, out="e+6", into="w+6")
    _loss(p, "L", "loss", 1, 6)
    _back(p, 1, 6, "L")
    _legend(p, 0, -36)
    return p


def truncated_bptt() -> Picture:
    """Chunks: the state is carried across a cut, the gradient is not."""
    p = Picture(
        "truncated-bptt", "Truncated back-propagation: states are carried on for ever, gradients stop at the cuts"
    )
    p.box("h0", 0, ROW, "$h_0$", "h", w=36)
    before, at = "h0", STEP + 10
    for chunk in range(3):
        first = 3 * chunk + 1
        states = _columns(p, first, 3, at)
        for a, b in zip([before, *states], states, strict=False):
            p.arrow(a, b, out="e+6", into="w+6")
        _loss(p, f"L{chunk}", f"loss of chunk {chunk + 1}", first, first + 2)
        _back(p, first, first + 2, f"L{chunk}")
        p.frames.append(Frame(at - 27, -24, at + 2 * STEP + 27, 3 * ROW + 24))
        if chunk:  # nothing goes back over this line
            x = at - 41
            p.marks.append(Mark(((x, ROW - 20), (x, ROW - 1))))
        before, at = states[-1], at + 3 * STEP + 16
    _legend(p, 0, -50)
    p.marks.append(Mark(((350, -58), (350, -42))))
    p.note(358, -50, "the cut:  state = unrolled.detach(state)", "l", 10)
    return p


def _legend(p: Picture, x: float, y: float) -> None:
    p.word("from0", x, y, "", w=1, h=1)
    p.word("to0", x + 34, y, "", w=1, h=1)
    p.arrow("from0", "to0")
    p.note(x + 42, y, "forward", "l")
    p.word("from1", x + 150, y, "", w=1, h=1)
    p.word("to1", x + 116, y, "", w=1, h=1)
    p.arrow("from1", "to1", "gradient")
    p.note(x + 158, y, "backward: the gradient", "l", kind="gradient")


def rnn_gradient() -> Picture:
    """The vanilla cell over four steps: W_hh again and again."""
    p = Picture("rnn-gradient", "The gradient of a vanilla network: through W and tanh at every step back")
    p.box("h0", 0, 0, "$h_0$", "h", w=34)
    before = "h0"
    for t in (1, 2, 3, 4):
        x = 154.0 * (t - 1)
        p.box(f"x{t}", x + 52, -58, f"$x_{t}$", "x", w=34)
        p.box(f"W{t}", x + 52, 0, "$W$", "weight", w=32, h=28)
        p.box(f"phi{t}", x + 103, 0, "tanh", "op", w=38, h=24, size=10.5)
        p.box(f"h{t}", x + 154, 0, f"$h_{t}$", "h", w=34)
        p.chain([before, f"W{t}", f"phi{t}", f"h{t}"])
        p.arrow(f"x{t}", f"W{t}")
        _arch(p, f"h{t}", before, 50)
        p.note(x + 77, 35, rf"$W_{{hh}}^{{\top}}\,\mathrm{{diag}}(1 - h_{t}^2)$", size=10, kind="gradient")
        before = f"h{t}"
    p.box("L", 690, 0, "$L$", "loss", w=34)
    p.arrow("h4", "L")
    _arch(p, "L", "h4", 50)
    text = r"$\frac{\partial L}{\partial h_0} = \left(\prod_{t=1}^{4} W_{hh}^{\top}\,\mathrm{diag}(1 - h_t^2)\right)"
    p.note(345, 88, text + r"\frac{\partial L}{\partial h_4}$", size=14, kind="gradient")
    sigma = r"$\sigma_{\max}(W_{hh})"
    p.note(345, -92, f"{sigma} < 1$ suffices to vanish;  {sigma} > 1$ is necessary, not sufficient, to explode")
    return p


def _arch(p: Picture, later: str, earlier: str, y: float) -> None:
    """The gradient from a state to the one before it, over everything between them."""
    a, b = p.nodes[later].x - 6, p.nodes[earlier].x + 6
    p.arrow(later, earlier, "gradient", out="n-6", into="n+6", via=((a, y), (b, y)))


def lstm_gradient() -> Picture:
    """The LSTM over three steps: c back to c, times f."""
    p = Picture("lstm-gradient", "The gradient of an LSTM along c: times the forget gate at every step back, no matrix")
    p.box("c0", 0, 80, "$c_0$", "h", w=34)
    p.box("h0", 0, 0, "$h_0$", "h", w=34)
    for t in (1, 2, 3):
        x = 196.0 * (t - 1)
        _lstm_step(p, t, x)
        _arch(p, f"c{t}", f"c{t - 1}", 126)
        p.note(x + 56, 108, rf"$f_{t}\,\odot$", size=11, kind="gradient")
        p.note(x + 106, 108, r"$1\,\odot$", size=11, kind="gradient")
    text = r"$\partial c_3 / \partial c_0 = \mathrm{diag}(f_3 \odot f_2 \odot f_1)$ along $c$: no $W$ on the way"
    p.note(294, 148, text, size=12, kind="gradient")
    p.note(294, -98, "$f = 1$ and $i = 0$ keep $c$ as it is, over any number of steps")
    return p


def _lstm_step(p: Picture, t: int, x: float) -> None:
    p.box(f"x{t}", x + 90, -62, f"$x_{t}$", "x", w=34)
    p.box(f"W{t}", x + 90, 0, r"$W$:  $i\;f\;g\;o$", "weight", w=100, h=28, size=11)
    p.circle(f"keep{t}", x + 56, 80, r"$\times$")
    p.circle(f"plus{t}", x + 106, 80, "$+$")
    p.box(f"c{t}", x + 196, 80, f"$c_{t}$", "h", w=34)
    p.box(f"h{t}", x + 196, 0, f"$h_{t}$", "h", w=34)
    p.chain([f"c{t - 1}", f"keep{t}", f"plus{t}", f"c{t}"])
    p.arrow(f"h{t - 1}", f"W{t}")
    p.arrow(f"x{t}", f"W{t}")
    p.arrow(f"W{t}", f"keep{t}", out="n-34")
    p.arrow(f"W{t}", f"plus{t}", out="n+16")
    p.note(x + 62, 42, f"$f_{t}$", "l")
    p.note(x + 112, 42, rf"$i_{t} \odot g_{t}$", "l")
    p.arrow(f"W{t}", f"h{t}")
    p.note(x + 158, 10, f"$o_{t}$")
    p.arrow(f"c{t}", f"h{t}")
    p.note(x + 202, 40, "tanh", "l", 9)


def stacked() -> Picture:
    """Three layers over four steps."""
    p = Picture("stacked", "Layers upon layers: the state of one is the input of the next, at every step")
    for t in (1, 2, 3, 4):
        x = 84.0 * (t - 1)
        p.box(f"x{t}", x, 0, f"$x_{t}$", "x")
        for layer in (1, 2, 3):
            p.box(f"h{layer}{t}", x, 58.0 * layer, f"$h_{t}^{{({layer})}}$", "h")
            if t > 1:
                p.arrow(f"h{layer}{t - 1}", f"h{layer}{t}")
        p.box(f"y{t}", x, 232, f"$y_{t}$", "y")
        p.chain([f"x{t}", f"h1{t}", f"h2{t}", f"h3{t}", f"y{t}"])
    p.marks.append(Mark(((-52, 30), (-52, 202)), "axis"))
    p.note(-58, 116, "depth", "r")
    p.marks.append(Mark(((30, -36), (222, -36)), "axis"))
    p.note(126, -50, "time")
    p.note(300, 130, r"$h_t^{(l)} = \tanh W^{(l)}\left[h_t^{(l-1)};\;h_{t{-}1}^{(l)}\right]$", "l", 12)
    p.note(300, 102, r"$h_t^{(0)} = x_t$", "l", 12)
    return p


def bidirectional() -> Picture:
    """Two directions, side by side at every output."""
    p = Picture("bidirectional", "Both directions: each output sees what came before it and what comes after")
    for t in (1, 2, 3, 4):
        x = 96.0 * (t - 1)
        p.box(f"x{t}", x, 0, f"$x_{t}$", "x")
        p.box(f"f{t}", x - 14, 58, rf"$\overrightarrow{{h}}_{t}$", "h", w=36)
        p.box(f"b{t}", x + 14, 116, rf"$\overleftarrow{{h}}_{t}$", "h", w=36)
        p.box(f"y{t}", x, 174, f"$y_{t}$", "y")
        p.arrow(f"x{t}", f"f{t}", out="n-14", into="s")
        p.arrow(f"x{t}", f"b{t}", out="n+14", into="s")
        p.arrow(f"f{t}", f"y{t}", out="n", into="s-14")
        p.arrow(f"b{t}", f"y{t}", out="n", into="s+14")
        if t > 1:
            p.arrow(f"f{t - 1}", f"f{t}")
            p.arrow(f"b{t}", f"b{t - 1}")
    return p
