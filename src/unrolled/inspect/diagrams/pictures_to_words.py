"""Captions: a picture goes in once, words come out, in training and in sampling."""

from __future__ import annotations

from unrolled.inspect.diagrams.picture import Picture

STEP, ROW = 84.0, 62.0
WORDS = ("straw", "hat")


def training() -> Picture:
    """The network sees the picture in its first step and, at every step, the right word before."""
    p = Picture("caption", "Image captioning: a convolutional network sees, a recurrent network writes")
    _frame(p, ("<start>", *WORDS))
    for t, word in enumerate((*WORDS, "<end>")):
        p.box(f"L{t}", STEP * t, 3 * ROW - 4, f"$L_{t}$", "loss", h=24)
        p.arrow(f"y{t}", f"L{t}")
        p.word(f"target{t}", STEP * t, 3 * ROW + 38, word, w=44, h=16, size=11)
        p.arrow(f"target{t}", f"L{t}")
    p.note(-52, 3 * ROW + 38, "target", "r")
    return p


def sampling() -> Picture:
    """At test time each word is fed back, until the end is drawn."""
    p = Picture("caption-sampling", "Image captioning at test time: each sampled word is the next input, up to <end>")
    _frame(p, ("<start>", "straw", "hat"))
    for t, word in enumerate(("straw", "hat", "<end>")):
        p.word(f"out{t}", STEP * t, 3 * ROW - 4, word, w=44, h=16, size=11)
        p.arrow(f"y{t}", f"out{t}")
        if t:
            back = STEP * (t - 0.5)
            p.arrow(f"out{t - 1}", f"in{t}", "feedback", out="e", into="w", via=((back, 3 * ROW - 4), (back, -40)))
    p.note(-52, 3 * ROW - 4, "sample", "r")
    p.note(2 * STEP + 34, 3 * ROW - 4, "the end", "l")
    return p


def _frame(p: Picture, words: tuple[str, ...]) -> None:
    p.box("image", -236, ROW, "image", "image", w=54, h=46, size=11)
    p.box("cnn", -158, ROW, "CNN", "image", w=46, h=60, size=11)
    p.box("v", -96, ROW, "$v$", "image", w=32)
    p.chain(["image", "cnn", "v"])
    for t, word in enumerate(words):
        x = STEP * t
        p.word(f"in{t}", x, -40, word, w=46, h=16, size=11)
        for key, y in (("x", 0.0), ("h", ROW), ("y", 2 * ROW)):
            p.box(f"{key}{t}", x, y, f"${key}_{t}$", key)
        p.chain([f"in{t}", f"x{t}", f"h{t}", f"y{t}"])
        if t:
            p.arrow(f"h{t - 1}", f"h{t}")
    p.arrow("v", "h0")
    p.note(-50, ROW + 11, "$W_{ih}$")
    p.note(
        STEP, -78, r"$h_0 = \tanh(W_{xh}x_0 + W_{ih}v)$,   then   $h_t = \tanh(W_{xh}x_t + W_{hh}h_{t{-}1})$", size=11
    )
    p.note(-52, -40, "word", "r")
