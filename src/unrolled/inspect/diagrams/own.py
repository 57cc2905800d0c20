"""The picture of a model that somebody has: its layers, directions and sizes, read from the model itself."""

from __future__ import annotations

from typing import Any

from torch import nn

from unrolled.cells import Cell, GRUCell, LSTMCell, RNNCell
from unrolled.inspect.diagrams.grid import ROW, STEP, Grid
from unrolled.inspect.diagrams.insides import inside
from unrolled.inspect.diagrams.picture import Picture
from unrolled.tasks.caption.model import CaptionModel
from unrolled.tasks.classify.model import Classifier
from unrolled.tasks.forecast.model import ForecastModel
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.tag.model import Tagger
from unrolled.tasks.translate.model import Translator

TIMES = ("1", "2", "3", None, "T")


def picture(model: nn.Module) -> Picture:
    """The unrolled graph of ``model``.

    Raises:
        ValueError: a module that holds no recurrent layer, or several and is none of the package's own models.
    """
    p = Picture("model", f"{type(model).__name__}, unrolled over time")
    for kind, draw in _DRAWN.items():
        if isinstance(model, kind):
            draw(p, model)
            break
    else:
        _any(p, model)
    count = sum(w.numel() for w in model.parameters())
    xs = [n.x for n in p.nodes.values()]
    lowest = min(n.y for n in p.nodes.values())
    p.note((min(xs) + max(xs)) / 2, lowest - 44, f"{count:,} parameters")
    return p


def cell_picture(model: nn.Module) -> Picture:
    """The inside of the first recurrent layer's cell, with its sizes.

    Raises:
        ValueError: no recurrent layer, or a cell whose inside is not drawn.
    """
    layer: Any = next((m for m in model.modules() if isinstance(m, (nn.RNNBase, nn.RNNCellBase))), None)
    if layer is None:
        raise ValueError(f"{type(model).__name__} holds no recurrent layer: nothing to draw")
    options: dict[str, Any] = {"proj_size": getattr(layer, "proj_size", 0)}
    options["layer_norm"] = getattr(layer, "layer_norm", False)
    kind = _kind(layer)
    cell: Cell
    if kind == "LSTM":
        cell = LSTMCell(layer.input_size, layer.hidden_size, **options)
    elif kind == "GRU":
        after = getattr(layer, "reset_after", True)
        cell = GRUCell(layer.input_size, layer.hidden_size, reset_after=after, **options)
    else:
        cell = RNNCell(layer.input_size, layer.hidden_size, nonlinearity=layer.nonlinearity, **options)
    return inside(cell)


def _kind(layer: Any) -> str:
    name: str = getattr(layer, "mode", type(layer).__name__)
    return "RNN" if name.startswith("RNN") else "LSTM" if name.startswith("LSTM") else "GRU"


def _named(layer: Any) -> str:
    kind = _kind(layer)
    return f"{kind} ({layer.nonlinearity})" if kind == "RNN" else kind


def _layers(
    grid: Grid, layer: Any, letter: str = "h", *, first: int = 1, total: int | None = None, pairs: bool = True
) -> None:
    """A row for each layer of a recurrent module, two for both directions; the last one without pairs, if so asked."""
    total = layer.num_layers if total is None else total
    for k in range(first, first + layer.num_layers):
        size = f"$H = {layer.hidden_size}$" + (f", projected to {layer.proj_size}" if layer.proj_size else "")
        name = _named(layer) + (f", layer {k}" if total > 1 else "")
        number = str(k) if total > 1 else ""
        if layer.bidirectional:
            # no number here: it would stand in the arrow over the letter
            grid.both(f"{name}\n{size} each way", letter, pairs or k < layer.num_layers)
        else:
            grid.layer(f"{name}\n{size}", letter, number)


def _inputs(grid: Grid, layer: Any, embedding: nn.Embedding | None, what: str, letter: str = "x") -> None:
    """The input, one-hot, embedded, or numbers."""
    if embedding is None:
        grid.boxes(letter, "x", f"{what}\n$I = {layer.input_size}$")
        return
    count, size = embedding.weight.shape
    grid.boxes(letter, "x", f"{what}\n1 of {count}")
    grid.boxes("e", "embedding", f"embedding\n{size} numbers")


def _language(p: Picture, model: LanguageModel) -> None:
    grid = Grid(p, "", 0, TIMES)
    what = "unit, one-hot" if model.embedding is None else "unit"
    _inputs(grid, model.rnn, model.embedding, what)
    _layers(grid, model.rnn)
    tied = ", tied" if model.config.tied else ""
    grid.boxes("y", "y", f"scores of the next unit\n$V = {model.V}${tied}")


def _classifier(p: Picture, model: Classifier) -> None:
    grid = Grid(p, "", 0, TIMES)
    _inputs(grid, model.rnn, model.embedding, "input" if model.embedding is None else "unit")
    pool = model.config.pool
    _layers(grid, model.rnn, pairs=pool != "last")
    if pool == "last" and model.rnn.bidirectional:
        grid.both_ends("pool", "the last state of each direction")
    elif pool != "last":
        words = {"concat": "last, mean and maximum over $t$",
                 "attention": "weighted mean over $t$ (attention)", "max": "maximum over $t$"}  # fmt: skip
        grid.bar("pool", words.get(pool, f"{pool} over $t$"))
    grid.last("y", "y", f"scores\n$K = {model.head.out_features}$")


def _tagger(p: Picture, model: Tagger) -> None:
    grid = Grid(p, "", 0, TIMES)
    parts = [f"words {model.word.embedding_dim}"] if model.word is not None else []
    parts += [f"letters {2 * model.config.letter_hidden}"] if model.letter is not None else []
    grid.boxes("x", "x", "unit" if parts else f"input\n$I = {model.rnn.input_size}$")
    if parts:
        grid.boxes("e", "embedding", "embedding\n" + " + ".join(parts))
    _layers(grid, model.rnn)
    grid.boxes("y", "y", f"scores\n$K = {model.outputs}$")
    if model.crf is not None:
        grid.bar("crf", "CRF: the best path over all tags", kind="y")


def _forecaster(p: Picture, model: ForecastModel) -> None:
    grid = Grid(p, "", 0, TIMES)
    _inputs(grid, model.rnn, None, "values and calendar")
    _layers(grid, model.rnn)
    grid.boxes("y", "y", f"distribution of the next\n{model.targets} $\\times$ {model.config.outputs} numbers")


def _translator(p: Picture, model: Translator) -> None:
    encoder = Grid(p, "e", 0, TIMES)
    shared = model.target_embedding if model.source_embedding is None else model.source_embedding
    _inputs(encoder, model.encoder, shared, "source unit")
    _layers(encoder, model.encoder)
    start = encoder.real[-1][1] + 1.9 * STEP
    decoder = Grid(p, "d", start, TIMES, side="r")
    _inputs(decoder, model.decoder, model.target_embedding, "target unit before", "z")
    decoder.y = max(decoder.y, encoder.y - model.decoder.num_layers * ROW)
    _layers(decoder, model.decoder, "s")
    level = max(encoder.y, decoder.y)
    _hand_over(p, encoder, decoder, model.encoder.bidirectional)
    if model.attention is not None:
        decoder.y = level
        for t, _ in encoder.real:
            decoder.tops["e" + t] = encoder.tops[t]
        _wide_bar(p, encoder, decoder, f"attention ({model.config.attention})")
        decoder.boxes(r"\tilde{s}", "h", f"{model.config.hidden} numbers")
    decoder.boxes("y", "y", f"scores of the next unit\n$V = {model.targets + 1}$")


def _hand_over(p: Picture, encoder: Grid, decoder: Grid, both: bool) -> None:
    """The encoder's last states are the decoder's first ones, layer by layer."""
    if not both:
        for last, first in zip(encoder.layers, decoder.layers, strict=True):
            p.arrow(last[-1], first[0])
        return
    x = (encoder.real[-1][1] + decoder.real[0][1]) / 2
    y = p.nodes[decoder.layers[0][0]].y
    p.box("state", x, y, r"$\overrightarrow{h}_T,\;\overleftarrow{h}_1$", "h", w=56)
    for row in encoder.layers:  # past the other direction's box
        last_y = p.nodes[row[-1]].y
        p.arrow(row[-1], "state", out="e", via=((x, last_y),), into="s" if last_y < y else "n")
    for row in decoder.layers:
        p.arrow("state", row[0])


def _wide_bar(p: Picture, left: Grid, right: Grid, text: str) -> None:
    """A bar over both sides, fed by all columns, feeding those of the right one."""
    right.y += ROW
    a, b = left.real[0][1] - 21, right.real[-1][1] + 21
    middle = (a + b) / 2
    key = p.box("attention", middle, right.y, text, "op", w=b - a, h=26, size=11)
    for grid in (left, right):
        for t, x in grid.real:
            p.arrow(grid.tops[t][0], key, out="n", into=f"s{x - middle:+g}")
    for t, x in right.real:
        right.tops[t] = (key, f"n{x - middle:+g}")


def _caption(p: Picture, model: CaptionModel) -> None:
    c = model.config
    grid = Grid(p, "", 0, TIMES, side="r")
    _inputs(grid, model.rnn, model.embedding, "word before")
    below = grid.y
    total = c.layers
    _layers(grid, model.rnn, total=total)
    p.box("image", -238, below + ROW, "image", "image", w=54, h=44, size=11)
    p.box("cnn", -164, below + ROW, "features" if model.encoder is None else "CNN", "image", w=60, h=54, size=11)
    p.box("v", -94, below + ROW, "$v$", "image", w=34)
    p.chain(["image", "cnn", "v"])
    p.note(-94, below + ROW - 26, f"${c.memory}$")
    if model.begin is not None:
        p.arrow("v", grid.layers[0][0])
    if model.first is not None:
        p.arrow("v", "e1")
    if c.image_as == "every":
        p.note(-94, below + ROW - 42, "beside every word")
        p.arrow("v", "e1")
    if model.attention is not None:
        grid.bar("attention", f"attention ({c.attention})", x0=-115)
        bar = p.nodes["attention"]
        p.arrow("v", "attention", out="n", into=f"s{-94 - bar.x:+g}")
    if model.upper is not None:
        _layers(grid, model.upper, first=model.rnn.num_layers + 1, total=total)
    grid.boxes("y", "y", f"scores of the next word\n$V = {model.V}$")


def _any(p: Picture, model: nn.Module) -> None:
    """A layer alone, or a module around one: an embedding before it and a linear map behind, where their sizes fit."""
    found = [(name or type(m).__name__, m) for name, m in model.named_modules() if isinstance(m, nn.RNNBase)]
    if len(found) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise ValueError(
            f"{type(model).__name__} holds {len(found)} recurrent layers ({names}): a diagram needs a model of this "
            "package's tasks, or a module with one recurrent layer"
        )
    layer: Any = found[0][1]
    width = (layer.proj_size or layer.hidden_size) * (2 if layer.bidirectional else 1)
    modules = list(model.modules())
    fits = [m for m in modules if isinstance(m, nn.Embedding) and m.embedding_dim == layer.input_size]
    heads = [m for m in modules if isinstance(m, nn.Linear) and m.in_features == width]
    grid = Grid(p, "", 0, TIMES)
    _inputs(grid, layer, fits[0] if fits else None, "input")
    _layers(grid, layer)
    if heads:
        grid.boxes("y", "y", f"output\n{heads[-1].out_features} numbers")


_DRAWN: dict[type[nn.Module], Any] = {
    LanguageModel: _language,
    Classifier: _classifier,
    Tagger: _tagger,
    ForecastModel: _forecaster,
    Translator: _translator,
    CaptionModel: _caption,
}
