"""One self-contained HTML page out of sections, and the same numbers as JSON. Nothing is fetched when it is opened."""

from __future__ import annotations

import dataclasses
import html
import io
import math
import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Block:
    """One figure, table or view, with one sentence on how to read it.

    Attributes:
        html: the thing itself, markup.
        reading: the sentence, plain text.
    """

    html: str
    reading: str


@dataclasses.dataclass
class Section:
    """What one instrument says.

    Attributes:
        key: its name in the JSON and in the page's links: ``flow``, ``memory``.
        title: for people.
        verdict: the answer in one or a few plain sentences, first on the section.
        blocks: what shows it.
        numbers: the same as JSON values (NaN and infinities become null).
        script: JavaScript that the section's views need; it runs once, after the page is there.
    """

    key: str
    title: str
    verdict: list[str]
    blocks: list[Block]
    numbers: dict[str, Any]
    script: str = ""


def svg(figure: Figure) -> str:
    """A matplotlib figure as markup for the page: text stays text, and the same figure gives the same bytes."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "unrolled", "path.simplify": True}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})  # "tight" would draw it twice
    markup = re.sub(r"<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    return markup[markup.index("<svg") :]


def figure(width: float = 7.0, height: float = 3.4) -> Figure:
    """A fresh figure, in inches, that never touches pyplot's global state."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(made)
    return made


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A plain table; numbers stand right, to four significant digits."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"<td>{html.escape(str(value))}</td>"
    return f'<td class="n">{value:,}</td>' if isinstance(value, int) else f'<td class="n">{value:.4g}</td>'


def clean(value: Any) -> Any:
    """JSON values: arrays become lists, what JSON cannot say becomes null."""
    if hasattr(value, "tolist"):
        return clean(value.tolist())
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def render(title: str, lines: Sequence[str], rows: Sequence[Sequence[Section]]) -> str:
    """The page.

    Args:
        lines: what was inspected and how, one sentence a line, below the title.
        rows: the sections from top to bottom, those of one row side by side.
    """
    sections = [section for row in rows for section in row]
    links = "".join(f'<a href="#{s.key}">{html.escape(s.title)}</a>' for s in sections)
    body = "".join(f'<div class="row">{"".join(map(_section, row))}</div>' for row in rows)
    wide = "wide" if max(map(len, rows), default=1) > 1 else ""
    scripts = "".join(f"<script>(function(){{{s.script}}})();</script>" for s in sections if s.script)
    head = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_asset('page.css')}</style></head><body class='{wide}'>"
        f"<header><h1>{html.escape(title)}</h1>{head}<nav>{links}</nav></header><main>{body}</main>{scripts}</body></html>"
    )


def _section(section: Section) -> str:
    verdict = "".join(f'<p class="verdict">{html.escape(line)}</p>' for line in section.verdict)
    blocks = "".join(
        f"<figure>{block.html}<figcaption>{html.escape(block.reading)}</figcaption></figure>"
        for block in section.blocks
    )
    return f'<section id="{section.key}"><h2>{html.escape(section.title)}</h2>{verdict}{blocks}</section>'


def _asset(name: str) -> str:
    text = resources.files("unrolled.inspect").joinpath(name).read_text(encoding="utf-8")
    return re.sub(r"\s*\n\s*", "\n", text)
