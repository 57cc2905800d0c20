"""The character model on "hello", in training and in sampling, with the numbers of a network that was really run."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from unrolled.inspect.diagrams.picture import Picture

VOCABULARY, TEXT = "helo", "hello"
STEP = 118.0
_UPDATES = {"begun": 12, "learnt": 45}


@functools.cache
def numbers(state: str) -> dict[str, list[list[float]]]:
    """One-hot inputs, states, scores and probabilities at every step of "hell", and the losses.

    A tanh network of 3 units in float64, with weights of no chance, after 12 or 45 updates (``begun``, ``learnt``) of
    plain gradient descent.
    """
    import torch

    from unrolled.layers import RNN

    ids = torch.tensor([VOCABULARY.index(c) for c in TEXT]).unsqueeze(1)
    rnn = RNN(4, 3, engine="reference").double()
    head = torch.nn.Linear(3, 4).double()
    weights = [*rnn.parameters(), *head.parameters()]
    with torch.no_grad():
        for k, w in enumerate(weights):
            w.copy_(0.6 * torch.sin(torch.arange(w.numel(), dtype=w.dtype) * 2.3 + k).reshape(w.shape))
    with torch.enable_grad():
        for _ in range(_UPDATES[state]):
            loss = torch.nn.functional.cross_entropy(head(rnn(ids[:-1])[0])[:, 0], ids[1:, 0])
            for w, g in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                w.data -= g
    with torch.no_grad():
        h = rnn(ids[:-1])[0][:, 0]
        scores = head(h)
        losses = torch.nn.functional.cross_entropy(scores, ids[1:, 0], reduction="none")
        one_hot = torch.nn.functional.one_hot(ids[:-1, 0], 4)
        return {"x": one_hot.tolist(), "h": h.tolist(), "y": scores.tolist(), "p": scores.softmax(-1).tolist(),
                "L": losses.unsqueeze(1).tolist()}  # fmt: skip


def _step(p: Picture, t: int, values: dict[str, list[list[float]]]) -> float:
    """Step t from its character up to its scores; where it stands."""
    x = STEP * t
    p.word(f"in{t}", x, -56, f'"{TEXT[t]}"', w=26, h=18, size=13)
    for key, y, kind, digits in (("x", 0, "x", 0), ("h", 104, "h", 1), ("y", 208, "y", 1)):
        _column(p, f"{key}{t}", x, y, values[key][t], kind, digits)
    return x


def training() -> Picture:
    """Each character is the input, the one after it the target."""
    p = Picture("char-training", 'The character model in training on "hello": each character predicts the next')
    values = numbers("begun")
    for t in range(4):
        x = _step(p, t, values)
        p.box(f"L{t}", x, 284, f"{values['L'][t][0]:.2f}", "loss", h=24, size=11)
        p.word(f"target{t}", x, 326, f'"{TEXT[t + 1]}"', w=26, h=18, size=13)
        p.chain([f"in{t}", f"x{t}", f"h{t}", f"y{t}", f"L{t}"])
        p.arrow(f"target{t}", f"L{t}")
    p.chain([f"h{t}" for t in range(4)])
    _weights(p)
    _rows(p, {-56: "input character", 0: "input layer\n(one-hot)", 104: "hidden layer\n$h_t$", 208: "scores\n$y_t$",
              284: r"loss  $-\ln p$" + "\n(nats)", 326: "target"})  # fmt: skip
    return p


def sampling() -> Picture:
    """At test time each sample is fed back as the next input."""
    p = Picture("char-sampling", "The character model in sampling: what it draws is fed back as the next input")
    values = numbers("learnt")
    for t in range(4):
        x = _step(p, t, values)
        _column(p, f"p{t}", x, 312, values["p"][t], "y", 2)
        p.word(f"out{t}", x, 380, f'"{TEXT[t + 1]}"', w=26, h=18, size=13)
        p.chain([f"in{t}", f"x{t}", f"h{t}", f"y{t}", f"p{t}", f"out{t}"])
        if t:
            back = x - STEP / 2
            p.arrow(f"out{t - 1}", f"in{t}", "feedback", via=((back, 380), (back, -56)), out="e", into="w")
    p.chain([f"h{t}" for t in range(4)])
    _rows(p, {-56: "input character", 0: "input layer\n(one-hot)", 104: "hidden layer\n$h_t$", 208: "scores\n$y_t$",
              312: "softmax", 380: "sample"})  # fmt: skip
    return p


def embedding() -> Picture:
    """A row of numbers of its own for each character, in place of the one-hot vector."""
    p = Picture("char-embedding", "An embedding layer between the one-hot input and the hidden layer")
    for t in range(4):
        x = STEP * t
        p.word(f"in{t}", x, -56, f'"{TEXT[t]}"', w=26, h=18, size=13)
        _column(p, f"x{t}", x, 0, [float(c == TEXT[t]) for c in VOCABULARY], "x", 0)
        p.box(f"e{t}", x, 88, f"$e_{{{t + 1}}}$", "embedding", w=44, h=30)
        p.box(f"h{t}", x, 158, f"$h_{{{t + 1}}}$", "h", w=44, h=30)
        p.box(f"y{t}", x, 228, f"$y_{{{t + 1}}}$", "y", w=44, h=30)
        p.word(f"out{t}", x, 280, f'"{TEXT[t + 1]}"', w=26, h=18, size=13)
        p.chain([f"in{t}", f"x{t}", f"e{t}", f"h{t}", f"y{t}", f"out{t}"])
        p.note(x + 6, 58, "$E$", "l")
        p.note(x + 6, 124, "$W_{xh}$", "l")
        p.note(x + 6, 194, "$W_{hy}$", "l")
    p.chain([f"h{t}" for t in range(4)])
    for t in range(3):
        p.note(STEP * (t + 0.5), 168, "$W_{hh}$")
    _rows(p, {-56: "input character", 0: "one-hot", 88: "embedding\n= one row of $E$", 158: "hidden layer",
              228: "scores", 280: "next character"})  # fmt: skip
    return p


def _column(p: Picture, key: str, x: float, y: float, values: Sequence[float], kind: str, digits: int) -> None:
    """A vector, one number a line."""
    text = "\n".join(f"{round(v, digits) + 0.0:.{digits}f}".replace("-", "\N{MINUS SIGN}") for v in values)
    p.box(key, x, y, text, kind, w=44, h=15 * len(values) + 8, size=10)


def _weights(p: Picture) -> None:
    for t in range(4):
        p.note(STEP * t + 6, 57, "$W_{xh}$", "l")
        p.note(STEP * t + 6, 155, "$W_{hy}$", "l")
        if t < 3:
            p.note(STEP * (t + 0.5), 114, "$W_{hh}$")


def _rows(p: Picture, rows: dict[int, str]) -> None:
    for y, text in rows.items():
        p.note(-44, y, text, "r")
