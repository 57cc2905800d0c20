"""A picture as data: boxes, arrows, words, all in points, y upwards. Drawing it is another module's work (``ink``)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable

Point = tuple[float, float]

BOX, HEIGHT = 42.0, 28.0
"""Width and height of an ordinary box."""
ROUND = 22.0
"""Diameter of a circle: an operation on elements."""


@dataclasses.dataclass(frozen=True)
class Node:
    """A box, a circle or a bare word.

    Attributes:
        kind: what it is, hence its colour: ``x``, ``h`` (any state), ``y``, ``loss``, ``weight``, ``op``, ``image``,
            ``embedding``, ``data`` (no box: its label stands alone, for characters and words).
        label: text, with mathematics between dollars, lines apart by a newline.
        op: in a cell's inside what it computes; see :mod:`unrolled.inspect.diagrams.insides`.
        size: of its label, in points.
    """

    key: str
    x: float
    y: float
    label: str
    kind: str
    w: float = BOX
    h: float = HEIGHT
    circle: bool = False
    op: str = ""
    size: float = 12.0

    def border(self, towards: Point) -> Point:
        """Where the line from the centre to ``towards`` leaves the shape."""
        dx, dy = towards[0] - self.x, towards[1] - self.y
        if dx == dy == 0:
            return self.x, self.y
        if self.circle:
            scale = (self.w / 2) / math.hypot(dx, dy)
        else:
            scale = min(self.w / 2 / abs(dx) if dx else math.inf, self.h / 2 / abs(dy) if dy else math.inf)
        return self.x + dx * scale, self.y + dy * scale

    def side(self, which: str) -> Point:
        """A point on its edge: ``n``, ``s``, ``e`` or ``w``, with a shift along that side: ``s-8``."""
        along = float(which[1:] or 0)
        if which[0] in "ns":
            return self.x + along, self.y + (self.h / 2 if which[0] == "n" else -self.h / 2)
        return self.x + (self.w / 2 if which[0] == "e" else -self.w / 2), self.y + along


@dataclasses.dataclass(frozen=True)
class Edge:
    """An arrow from one node to another.

    Attributes:
        kind: ``flow``, ``gradient`` (dashed, in its own colour), ``shared`` (thin: the same weights), ``feedback``.
        via: corners on the way.
        out, into: sides, as in :meth:`Node.side`; without one the line points to the node's centre.
        head: whether it ends in an arrow head.
        tap: where a branch leaves another arrow, a dot there; the arrow begins in it and not at the source.
    """

    source: str
    target: str
    kind: str = "flow"
    via: tuple[Point, ...] = ()
    out: str = ""
    into: str = ""
    head: bool = True
    tap: Point | None = None


@dataclasses.dataclass(frozen=True)
class Note:
    """Words without a box. ``align``: ``l``, ``c``, ``r``; ``kind``: a colour as for nodes, ``note``, ``gradient``."""

    x: float
    y: float
    text: str
    align: str = "c"
    size: float = 10.0
    kind: str = "note"


@dataclasses.dataclass(frozen=True)
class Frame:
    """A rounded region behind everything: a chunk, an encoder."""

    x0: float
    y0: float
    x1: float
    y1: float
    kind: str = "frame"


@dataclasses.dataclass(frozen=True)
class Mark:
    """A stroke without meaning for the flow: a cut, an axis (``axis``: with a head)."""

    points: tuple[Point, ...]
    kind: str = "cut"


@dataclasses.dataclass
class Picture:
    """A drawing.

    Attributes:
        name: of its file.
        title: one sentence on what it shows, for people who do not see it.
        path: in a cell's inside the nodes on the gradient's path, from the new state back to the old one.
    """

    name: str
    title: str
    nodes: dict[str, Node] = dataclasses.field(default_factory=dict)
    edges: list[Edge] = dataclasses.field(default_factory=list)
    notes: list[Note] = dataclasses.field(default_factory=list)
    frames: list[Frame] = dataclasses.field(default_factory=list)
    marks: list[Mark] = dataclasses.field(default_factory=list)
    path: tuple[str, ...] = ()

    def box(self, key: str, x: float, y: float, label: str, kind: str, **options: object) -> str:
        """Add a box and return its key."""
        if key in self.nodes:
            raise ValueError(f"{self.name}: two nodes are called {key}")
        self.nodes[key] = Node(key, x, y, label, kind, **options)  # type: ignore[arg-type]
        return key

    def circle(self, key: str, x: float, y: float, label: str, op: str = "") -> str:
        """Add an operation on elements."""
        return self.box(key, x, y, label, "op", w=ROUND, h=ROUND, circle=True, op=op)

    def word(self, key: str, x: float, y: float, label: str, **options: object) -> str:
        """Add a word that arrows may touch."""
        return self.box(key, x, y, label, "data", **options)

    def arrow(self, source: str, target: str, kind: str = "flow", **options: object) -> None:
        """Add an arrow."""
        for key in (source, target):
            if key not in self.nodes:
                raise ValueError(f"{self.name}: no node {key}")
        self.edges.append(Edge(source, target, kind, **options))  # type: ignore[arg-type]

    def chain(self, keys: Iterable[str], kind: str = "flow") -> None:
        """Arrows from each to the next."""
        for a, b in itertools.pairwise(keys):
            self.arrow(a, b, kind)

    def note(self, x: float, y: float, text: str, align: str = "c", size: float = 10.0, kind: str = "note") -> None:
        """Add words."""
        self.notes.append(Note(x, y, text, align, size, kind))

    def line(self, edge: Edge) -> list[Point]:
        """The corners of an arrow, from edge to edge of its nodes."""
        source, target = self.nodes[edge.source], self.nodes[edge.target]
        middle = list(edge.via)
        ends = target.side(edge.into) if edge.into else (target.x, target.y)
        first = middle[0] if middle else ends
        begin = edge.tap or (source.side(edge.out) if edge.out else source.border(first))
        last = middle[-1] if middle else (edge.tap or (source.side(edge.out) if edge.out else (source.x, source.y)))
        end = ends if edge.into else target.border(last)
        return [begin, *middle, end]
