"""Pictures of unrolling: the computational graph of each shape of sequence problem, the inside of each cell with its
gradient's path, and the graph of one's own model. SVG and PDF, the same bytes each time.

:data:`NAMES` are the lecture's pictures; ``python -m unrolled.inspect.diagrams FOLDER`` writes them all.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from unrolled.inspect.diagrams.picture import Picture

_MADE = {
    "folded": ("unrolling", "folded"),
    "unrolled": ("unrolling", "unrolled"),
    "one-to-many": ("unrolling", "one_to_many"),
    "many-to-one": ("unrolling", "many_to_one"),
    "many-to-many": ("unrolling", "many_to_many"),
    "encoder-decoder": ("unrolling", "encoder_decoder"),
    "stacked": ("through_time", "stacked"),
    "bidirectional": ("through_time", "bidirectional"),
    "char-training": ("characters", "training"),
    "char-sampling": ("characters", "sampling"),
    "char-embedding": ("characters", "embedding"),
    "caption": ("pictures_to_words", "training"),
    "caption-sampling": ("pictures_to_words", "sampling"),
    "bptt": ("through_time", "bptt"),
    "truncated-bptt": ("through_time", "truncated_bptt"),
    "rnn-cell": ("insides", "rnn_cell"),
    "rnn-gradient": ("through_time", "rnn_gradient"),
    "lstm-gates": ("gates", "lstm_gates"),
    "lstm-cell": ("insides", "lstm_cell"),
    "lstm-gradient": ("through_time", "lstm_gradient"),
    "gru-cell": ("insides", "gru_cell"),
}
NAMES = tuple(_MADE)
"""Every picture that has a name."""


class Diagram:
    """A picture, ready to be shown in a notebook or saved."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture

    def svg(self) -> str:
        """The picture as SVG, its letters as outlines."""
        return self._bytes("svg").decode("utf-8")

    _repr_svg_ = svg

    def save(self, path: str | Path) -> Path:
        """Write it as ``.svg``, ``.pdf`` or ``.png``, by the name's ending; a file that is there is replaced.

        Raises:
            ValueError: another ending. OSError: it cannot be written.
        """
        path = Path(path)
        ending = path.suffix.lower().removeprefix(".")
        if ending not in ("svg", "pdf", "png"):
            raise ValueError(f"{path}: a diagram is written as .svg, .pdf or .png")
        path.write_bytes(self._bytes(ending))
        return path

    def _bytes(self, format: str) -> bytes:
        from unrolled.inspect.diagrams.ink import render

        return render(self.picture, format)


def diagram(what: str | nn.Module, *, inside: bool = False) -> Diagram:
    """The picture of a model, or the one of a name.

    Args:
        what: a model of this package's tasks, a recurrent layer of ours or torch's, or a module with one such layer; or
            one of :data:`NAMES`.
        inside: of a model the inside of its (first) recurrent cell with its sizes, in place of the unrolled graph.
    Raises:
        ValueError: an unknown name; a module without a recurrent layer, or with several in unknown order; a cell whose
            inside is not drawn.
    """
    if isinstance(what, str):
        if what not in _MADE:
            raise ValueError(f"no diagram is called {what!r}: there are {', '.join(NAMES)}")
        module, function = _MADE[what]
        return Diagram(getattr(importlib.import_module(f"unrolled.inspect.diagrams.{module}"), function)())
    from unrolled.inspect.diagrams import own

    return Diagram(own.cell_picture(what) if inside else own.picture(what))


def draw(what: str | nn.Module, path: str | Path, **options: Any) -> Path:
    """:func:`diagram`, saved; returns the path."""
    return diagram(what, **options).save(path)


def draw_all(folder: str | Path, formats: tuple[str, ...] = ("svg",)) -> list[Path]:
    """Every named picture into ``folder``, which is made if it is not there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [draw(name, folder / f"{name}.{ending}") for name in NAMES for ending in formats]
