"""Pictures of unrolling: every one is there, is drawn the same way twice, and has nothing on top of anything else."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import unrolled
from unrolled.inspect import diagram, diagrams
from unrolled.inspect.diagrams import NAMES, draw
from unrolled.inspect.diagrams.ink import label_boxes, render
from unrolled.inspect.diagrams.picture import Edge, Node, Picture, Point
from unrolled.tasks.caption.config import CaptionConfig
from unrolled.tasks.caption.model import CaptionModel, Inputs
from unrolled.tasks.classify.config import ClassifyConfig
from unrolled.tasks.classify.model import Classifier
from unrolled.tasks.forecast.config import ForecastConfig
from unrolled.tasks.forecast.model import ForecastModel
from unrolled.tasks.language.config import LanguageConfig
from unrolled.tasks.language.model import LanguageModel
from unrolled.tasks.tag.config import TagConfig
from unrolled.tasks.tag.model import Tagger
from unrolled.tasks.translate.config import TranslateConfig
from unrolled.tasks.translate.model import Translator

DOCS = Path(__file__).parents[2] / "docs"
SOURCES = [f"{k}.png" for k in range(1, 16)] + ["RNNunfold.png", "BPTT.png", "BPTT2.png"]
"""The pictures of the two documents, by the names of their files there."""


def models() -> dict[str, torch.nn.Module]:
    tiny = {"hidden": 8}
    return {
        "language": LanguageModel(65, LanguageConfig(cell="gru", hidden=16, layers=3)),
        "one-hot": LanguageModel(65, LanguageConfig(cell="rnn-tanh", input="one-hot", **tiny)),
        "classify": Classifier(50, 18, ClassifyConfig(layers=2, **tiny), numbers=False),
        "classify-numbers": Classifier(4, 3, ClassifyConfig(bidirectional=False, **tiny), numbers=True),
        "classify-mean": Classifier(50, 18, ClassifyConfig(pool="mean", **tiny), numbers=False),
        "tag": Tagger(TagConfig(layers=2, **tiny), 17, words=100, letters=40),
        "tag-crf": Tagger(TagConfig(layers=1, crf=True, **tiny), 17, words=100),
        "translate": Translator(40, 30, TranslateConfig(layers=2, **tiny)),
        "translate-deep": Translator(40, 30, TranslateConfig(layers=3, **tiny)),
        "translate-plain": Translator(40, 30, TranslateConfig(attention="none", bidirectional=False, **tiny)),
        "caption": CaptionModel(Inputs(V=50), CaptionConfig(layers=2, **tiny)),
        "caption-h0": CaptionModel(Inputs(V=50), CaptionConfig(image_as="h0", layers=2, **tiny)),
        "caption-first": CaptionModel(Inputs(V=50), CaptionConfig(image_as="first", **tiny)),
        "caption-every": CaptionModel(Inputs(V=50), CaptionConfig(image_as="every", **tiny)),
        "forecast": ForecastModel(5, 1, ForecastConfig(**tiny)),
        "layer": torch.nn.LSTM(3, 8, num_layers=2, bidirectional=True, proj_size=4),
        "around": torch.nn.Sequential(torch.nn.Embedding(9, 5), unrolled.GRU(5, 7), torch.nn.Linear(7, 2)),
    }


ALL = {name: diagram(name).picture for name in NAMES} | {f"of {k}": diagram(m).picture for k, m in models().items()}


# -- the same bytes, the same list -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_same_picture_gives_the_same_bytes_and_is_the_committed_one(name: str) -> None:
    drawn = render(diagram(name).picture, "svg")
    if name in ("folded", "char-sampling", "lstm-cell", "truncated-bptt"):
        assert drawn == render(diagram(name).picture, "svg")
    committed = (DOCS / "diagrams" / f"{name}.svg").read_bytes()
    for what in (rb"<title>.*</title>", rb'id="(?:text|patch)_\d+"'):  # other fonts and versions may move a hair
        assert re.findall(what, drawn) == re.findall(what, committed)


@pytest.mark.parametrize("name", ["folded", "rnn-cell"])
def test_pdf_and_png_are_the_same_bytes_too(name: str) -> None:
    for format in ("pdf", "png"):
        assert render(diagram(name).picture, format) == render(diagram(name).picture, format)


def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    code = (
        "from unrolled.inspect.diagrams import draw; "
        f"draw('lstm-cell', r'{tmp_path}/a.svg'); draw('bptt', r'{tmp_path}/a.pdf')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONHASHSEED": "77", "PYTHONPATH": _path()})
    assert (tmp_path / "a.svg").read_bytes() == render(diagram("lstm-cell").picture, "svg")
    assert (tmp_path / "a.pdf").read_bytes() == render(diagram("bptt").picture, "pdf")


def _path() -> str:
    return str(Path(unrolled.__file__).parents[1])


def test_the_page_lists_every_picture_of_the_documents_and_of_the_package() -> None:
    page = (DOCS / "diagrams.md").read_text(encoding="utf-8")
    assert {p.stem for p in (DOCS / "diagrams").iterdir()} == set(NAMES)
    assert set(re.findall(r"\(diagrams/([a-z-]+)\.svg\)", page)) == set(NAMES)
    listed = re.findall(r"^\| `(\w+\.png)` \|", page, flags=re.MULTILINE)
    assert listed == SOURCES
    for row in re.findall(r"^\| `\w+\.png` \|.*\|$", page, flags=re.MULTILINE):
        assert set(re.findall(r"`([a-z-]+)`", row)) & set(NAMES), row


@pytest.mark.parametrize("name", NAMES)
def test_committed_pictures_are_small_and_self_contained(name: str) -> None:
    text = (DOCS / "diagrams" / f"{name}.svg").read_text(encoding="utf-8")
    assert len(text.encode()) < 60_000
    assert text.startswith("<svg")
    assert "<title>" in text
    assert not re.search(r"""(href|src)=["'](?!#)""", text)
    assert "<text" not in text  # letters are outlines: a slide needs no font
    assert "<image" not in text


# -- geometry --------------------------------------------------------------------------------------------------------


def segments(line: list[Point]) -> Iterator[tuple[Point, Point]]:
    yield from itertools.pairwise(line)


def crosses(a: Point, b: Point, node: Node, margin: float) -> bool:
    """Whether the stretch from a to b enters the node's box, shrunk by ``margin``."""
    low, high = 0.0, 1.0
    for p, q, c, half in ((a[0], b[0], node.x, node.w / 2 - margin), (a[1], b[1], node.y, node.h / 2 - margin)):
        if half <= 0:
            return False
        if p == q:
            if abs(p - c) >= half:
                return False
            continue
        t0, t1 = sorted(((c - half - p) / (q - p), (c + half - p) / (q - p)))
        low, high = max(low, t0), min(high, t1)
    return low < high


@pytest.mark.parametrize("name", ALL)
def test_no_arrow_goes_through_a_box_or_falls_short_of_one(name: str) -> None:
    picture = ALL[name]
    for edge in picture.edges:
        line = picture.line(edge)
        for a, b in segments(line):
            for node in picture.nodes.values():
                assert not crosses(a, b, node, 1.0), (edge.source, edge.target, node.key)
        target = picture.nodes[edge.target]
        assert on_border(target, line[-1]), (edge.source, edge.target)
        if edge.tap is None:
            assert on_border(picture.nodes[edge.source], line[0]), (edge.source, edge.target)
        else:
            assert any(lies_on(edge.tap, picture.line(e)) for e in picture.edges if shares(e, edge)), edge
        drawn = sum(abs(a[0] - b[0]) + abs(a[1] - b[1]) for a, b in segments(line))
        assert drawn > 8, (edge.source, edge.target)  # room for the head


def shares(e: Edge, tapped: Edge) -> bool:
    return e is not tapped and tapped.source in (e.source, e.target)


def lies_on(point: Point, line: list[Point]) -> bool:
    for a, b in segments(line):
        along = abs((b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0]))
        inside = min(a[0], b[0]) <= point[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= point[1] <= max(a[1], b[1])
        if along < 1e-6 and inside:
            return True
    return False


def on_border(node: Node, point: Point) -> bool:
    dx, dy = abs(point[0] - node.x), abs(point[1] - node.y)
    if node.circle:
        return abs((dx * dx + dy * dy) ** 0.5 - node.w / 2) < 1e-6
    near = abs(dx - node.w / 2) < 1e-6 or abs(dy - node.h / 2) < 1e-6
    return near and dx < node.w / 2 + 1e-6 and dy < node.h / 2 + 1e-6


Box = tuple[float, float, float, float]


def overlap(a: Box, b: Box, slack: float = 0.5) -> bool:
    return a[0] < b[2] - slack and b[0] < a[2] - slack and a[1] < b[3] - slack and b[1] < a[3] - slack


def box_of(node: Node) -> Box:
    return node.x - node.w / 2, node.y - node.h / 2, node.x + node.w / 2, node.y + node.h / 2


@pytest.mark.parametrize("name", ALL)
def test_no_label_lies_on_another_nor_sticks_out_of_its_box(name: str) -> None:
    picture = ALL[name]
    labels = label_boxes(picture)
    for (s, a), (t, b) in itertools.combinations(labels, 2):
        assert not overlap(a, b), (s, t)
    named = [n for n in picture.nodes.values() if n.label]
    for node, (text, box) in zip(named, labels, strict=False):  # nodes are drawn first
        assert node.label == text
        x0, y0, x1, y1 = box_of(node)
        if node.kind != "data":
            assert x0 - 0.5 < box[0], text
            assert box[2] < x1 + 0.5, text
            assert y0 - 0.5 < box[1], text
            assert box[3] < y1 + 0.5, text
    for text, box in labels[len(named) :]:
        for node in picture.nodes.values():
            if node.kind != "data":
                assert not overlap(box, box_of(node)), (text, node.key)
        for edge in picture.edges:
            for a, b in segments(picture.line(edge)):
                w, h = box[2] - box[0], box[3] - box[1]
                word = Node("", (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, "", "data", w=w, h=h)
                assert not crosses(a, b, word, 1.0), (text, edge.source, edge.target)


@pytest.mark.parametrize("name", ALL)
def test_no_two_boxes_overlap(name: str) -> None:
    for a, b in itertools.combinations([n for n in ALL[name].nodes.values() if n.kind != "data"], 2):
        assert not overlap(box_of(a), box_of(b), 0.0), (a.key, b.key)


# -- one's own model -------------------------------------------------------------------------------------------------


def words(picture: Picture) -> str:
    return "\n".join(n.text for n in picture.notes)


def count(picture: Picture, kind: str) -> int:
    return sum(n.kind == kind for n in picture.nodes.values())


def test_a_models_picture_has_its_layers_directions_and_sizes() -> None:
    p = ALL["of language"]
    assert "GRU, layer 3\n$H = 16$" in words(p)
    assert "$V = 65$" in words(p)
    assert "unit\n1 of 65" in words(p)
    assert count(p, "h") == 3 * 4
    assert count(p, "y") == 4
    total = sum(w.numel() for w in models()["language"].parameters())
    assert f"{total:,} parameters" in words(p)
    p = ALL["of one-hot"]
    assert "RNN (tanh)\n$H = 8$" in words(p)
    assert "one-hot\n$I = 65$" in words(p)
    assert count(p, "embedding") == 0
    p = ALL["of layer"]
    assert "LSTM, layer 2\n$H = 8$, projected to 4 each way" in words(p)
    assert count(p, "h") == 2 * 3 * 4  # there, back, both
    assert count(p, "y") == 0
    p = ALL["of around"]
    assert "input\n1 of 9" in words(p)
    assert "output\n2 numbers" in words(p)
    assert count(ALL["of classify"], "y") == 1
    assert "attention" in ALL["of translate"].nodes
    assert "attention" not in ALL["of translate-plain"].nodes


def test_the_inside_of_ones_own_cell() -> None:
    for model in (unrolled.LSTM(3, 7), torch.nn.LSTM(3, 7, 2), unrolled.LSTMCell(3, 7)):
        p = diagram(model, inside=True).picture
        assert r"$W_{xh}$: $28 \times 3$" in words(p)
        assert "7:14" in words(p)  # the rows of f
    assert diagram(unrolled.RNN(3, 7, nonlinearity="relu"), inside=True).picture.nodes["phi"].label == "relu"


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("elman", "no diagram is called 'elman': there are folded, unrolled,"),
        (torch.nn.Linear(2, 3), "Linear holds 0 recurrent layers"),
        (torch.nn.ModuleList([torch.nn.GRU(2, 3), torch.nn.GRU(3, 3)]), r"holds 2 recurrent layers \(0, 1\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(what: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        diagram(what)  # type: ignore[arg-type]


def test_insides_that_cannot_be_drawn_are_refused() -> None:
    for layer, said in (
        (torch.nn.LSTM(3, 7, proj_size=2), "a projection"),
        (unrolled.GRU(3, 7, layer_norm=True), "layer_norm"),
        (unrolled.GRU(3, 7, reset_after=False), "reset_after=False"),
        (torch.nn.Linear(2, 2), "holds no recurrent layer"),
    ):
        with pytest.raises(ValueError, match=said):
            diagram(layer, inside=True)


def test_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert draw("folded", tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert draw(unrolled.GRU(2, 3), tmp_path / "a.pdf").read_bytes()[:5] == b"%PDF-"
    with pytest.raises(ValueError, match=r"written as \.svg, \.pdf or \.png"):
        draw("folded", tmp_path / "a.txt")
    with pytest.raises(ValueError, match="not one of svg, pdf, png"):
        render(diagram("folded").picture, "gif")
    assert diagram("folded")._repr_svg_().startswith("<svg")
    monkeypatch.setattr(diagrams, "NAMES", ("folded", "unrolled"))
    assert [p.name for p in diagrams.draw_all(tmp_path / "all")] == ["folded.svg", "unrolled.svg"]
    assert diagram is unrolled.inspect.diagram
