"""Pictures drawn: SVG, PDF and PNG out of the same ink, and the same bytes each time.

Letters are drawn as outlines in SVG: a slide shows them alike wherever it is opened, whatever fonts are there.
"""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

from unrolled.inspect.diagrams.picture import Edge, Mark, Node, Note, Picture, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "x": ("#e3f3e6", "#2e8b57"),
    "h": ("#dfeaf8", "#2a66ad"),
    "y": ("#fbe2df", "#c0392b"),
    "loss": ("#fff2cf", "#a87b00"),
    "weight": ("#eceff3", "#56606e"),
    "image": ("#f3e8dc", "#8a5a2b"),
    "embedding": ("#e2f4f4", "#16858a"),
    "op": ("#ffffff", "#333333"),
    "frame": ("#f7f7f9", "#d5d8de"),
    "data": ("none", "#222222"),
}
"""Fill and border: x green, h blue, y red."""
LINES: dict[str, dict[str, Any]] = {
    "flow": {"color": "#444444", "linewidth": 1.2},
    "gradient": {"color": "#8e24aa", "linewidth": 1.8, "linestyle": (0, (3.2, 1.8))},
    "shared": {"color": "#9aa3af", "linewidth": 0.9},
    "feedback": {"color": "#c0392b", "linewidth": 1.2, "linestyle": (0, (1.2, 1.2))},
    "cut": {"color": "#8e24aa", "linewidth": 2.2},
    "axis": {"color": "#888888", "linewidth": 1.0},
}
WORDS = {"note": "#444444", "gradient": "#8e24aa"} | {kind: edge for kind, (_, edge) in COLOURS.items()}
MARGIN, CORNER, HEAD, WING = 12.0, 6.0, 7.5, 2.9
FORMATS = ("svg", "pdf", "png")
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that it is there everywhere
    "mathtext.fontset": "stix",
    "svg.fonttype": "path",
    "svg.hashsalt": "unrolled",
    "pdf.fonttype": 3,
    "pdf.compression": 6,
    "text.usetex": False,
    "path.simplify": False,
    "savefig.facecolor": "white",  # readable on a dark page, too
}


def render(picture: Picture, format: str) -> bytes:
    """The picture as bytes of an SVG, PDF or PNG (144 dots an inch) file; the same picture gives the same bytes."""
    from matplotlib import rc_context

    if format not in FORMATS:
        raise ValueError(f"format={format!r}: not one of {', '.join(FORMATS)}")
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": None, "Title": picture.title},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None, "Title": picture.title},
        "png": {"Software": None, "Title": picture.title},
    }
    buffer = io.BytesIO()
    with rc_context(_STYLE):
        _figure(picture)[0].savefig(buffer, format=format, metadata=metadata[format], dpi=144)
    return _lean(buffer.getvalue()) if format == "svg" else buffer.getvalue()


def _lean(svg: bytes) -> bytes:
    """Coordinates to a hundredth of a point, without the preamble: half the bytes, and no difference to be seen."""

    def shorter(path: re.Match[str]) -> str:
        return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), path[0])

    text = svg.decode("utf-8")
    text = re.sub(r"\s*(<metadata>.*?</metadata>|<!--.*?-->)", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' d="[^"]*"|translate\([^)]*\)', shorter, text)
    return re.sub(r"\s*\n\s*", "\n", text).encode("utf-8")


def label_boxes(picture: Picture) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Of every label its text and where it lies (x0, y0, x1, y1), in points; tests look for collisions."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        figure, axes = _figure(picture)
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        inverse = axes.transData.inverted()
        found = []
        for text in axes.texts:
            extent = text.get_window_extent(renderer).transformed(inverse)
            found.append((text.get_text(), (extent.x0, extent.y0, extent.x1, extent.y1)))
    return found


def _figure(picture: Picture) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1, 1), dpi=72)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for frame in picture.frames:
        _shape(axes, (frame.x0 + frame.x1) / 2, (frame.y0 + frame.y1) / 2, frame.x1 - frame.x0, frame.y1 - frame.y0,
               frame.kind, False, 0)  # fmt: skip
    for edge in picture.edges:
        _arrow(axes, picture.line(edge), edge)
    for mark in picture.marks:
        _mark(axes, mark)
    for node in picture.nodes.values():
        _node(axes, node)
    for note in picture.notes:
        _note(axes, note)
    _fit(figure, axes, picture)
    return figure, axes


def _fit(figure: Figure, axes: Axes, picture: Picture) -> None:
    """One point of the data is one point on paper, with an even margin around everything."""
    xs, ys = _extent(picture)
    _scale(figure, axes, xs, ys)  # so words can be measured, which are as large as their font makes them
    renderer, inverse = figure.canvas.get_renderer(), axes.transData.inverted()  # type: ignore[attr-defined]
    boxes = [t.get_window_extent(renderer).transformed(inverse) for t in axes.texts]
    xs = (min([xs[0], *(b.x0 for b in boxes)]), max([xs[1], *(b.x1 for b in boxes)]))
    ys = (min([ys[0], *(b.y0 for b in boxes)]), max([ys[1], *(b.y1 for b in boxes)]))
    _scale(figure, axes, xs, ys)


def _scale(figure: Figure, axes: Axes, xs: tuple[float, float], ys: tuple[float, float]) -> None:
    x0, x1, y0, y1 = xs[0] - MARGIN, xs[1] + MARGIN, ys[0] - MARGIN, ys[1] + MARGIN
    figure.set_size_inches((x1 - x0) / 72, (y1 - y0) / 72)
    axes.set_xlim(x0, x1)
    axes.set_ylim(y0, y1)


def _extent(picture: Picture) -> tuple[tuple[float, float], tuple[float, float]]:
    points: list[Point] = []
    for n in picture.nodes.values():
        if n.kind != "data":
            points += [(n.x - n.w / 2, n.y - n.h / 2), (n.x + n.w / 2, n.y + n.h / 2)]
    points += [p for e in picture.edges for p in picture.line(e)] + [p for m in picture.marks for p in m.points]
    points += [p for f in picture.frames for p in ((f.x0, f.y0), (f.x1, f.y1))]
    return (min(p[0] for p in points), max(p[0] for p in points)), (
        min(p[1] for p in points),
        max(p[1] for p in points),
    )


def _shape(axes: Axes, x: float, y: float, w: float, h: float, kind: str, circle: bool, zorder: float) -> None:
    from matplotlib.patches import Ellipse, FancyBboxPatch

    fill, edge = COLOURS[kind]
    style: dict[str, Any] = {"facecolor": fill, "edgecolor": edge, "linewidth": 1.2, "zorder": zorder, "clip_on": False}
    if circle:
        axes.add_patch(Ellipse((x, y), w, h, **style))
    else:
        corner = min(5.0, h / 4)
        box = f"round,pad=0,rounding_size={corner}"
        axes.add_patch(FancyBboxPatch((x - w / 2, y - h / 2), w, h, boxstyle=box, **style))


def _node(axes: Axes, node: Node) -> None:
    if node.kind != "data":
        _shape(axes, node.x, node.y, node.w, node.h, node.kind, node.circle, 4)
    if node.label:
        axes.text(node.x, node.y, node.label, ha="center", va="center", fontsize=node.size, color="#1c1c1c", zorder=5,
                  linespacing=1.15)  # fmt: skip


def _note(axes: Axes, note: Note) -> None:
    align = {"l": "left", "c": "center", "r": "right"}[note.align]
    axes.text(note.x, note.y, note.text, ha=align, va="center", fontsize=note.size, color=WORDS[note.kind], zorder=6,
              linespacing=1.3)  # fmt: skip


def _arrow(axes: Axes, line: list[Point], edge: Edge) -> None:
    _stroke(axes, line, LINES[edge.kind], edge.head, zorder=3 if edge.kind == "gradient" else 2)
    if edge.tap is not None:
        from matplotlib.patches import Circle

        axes.add_patch(Circle(edge.tap, 2.4, color=LINES[edge.kind]["color"], linewidth=0, zorder=3, clip_on=False))


def _mark(axes: Axes, mark: Mark) -> None:
    _stroke(axes, list(mark.points), LINES[mark.kind], mark.kind == "axis", zorder=3)


def _stroke(axes: Axes, line: list[Point], style: dict[str, Any], head: bool, zorder: float) -> None:
    """A line with rounded corners; its head is a triangle whose tip touches the target."""
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path

    tip, before = line[-1], line[-2]
    length = math.dist(tip, before)
    ux, uy = (tip[0] - before[0]) / length, (tip[1] - before[1]) / length
    points = list(line)
    if head:
        base = (tip[0] - ux * HEAD, tip[1] - uy * HEAD)
        wings = [(base[0] - uy * w, base[1] + ux * w) for w in (WING, -WING)]
        axes.add_patch(Polygon([tip, *wings], closed=True, facecolor=style["color"], linewidth=0, zorder=zorder,
                             clip_on=False))  # fmt: skip
        points[-1] = (tip[0] - ux * HEAD * 0.8, tip[1] - uy * HEAD * 0.8)
    corners, codes = [points[0]], [Path.MOVETO]
    for a, b, c in zip(points, points[1:], points[2:], strict=False):
        corners += [_towards(b, a), b, _towards(b, c)]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    corners.append(points[-1])
    codes.append(Path.LINETO)
    axes.add_patch(PathPatch(Path(corners, codes), fill=False, capstyle="butt", zorder=zorder, clip_on=False, **style))


def _towards(a: Point, b: Point) -> Point:
    """From ``a`` towards ``b``, as far as a corner is round."""
    length = math.dist(a, b)
    share = min(CORNER, length / 2) / length
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share
