"""What an experiment found: lines, tables, pictures and numbers, printed and written into a folder."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unrolled.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Watch(Protocol):
    """Who follows an experiment while it runs."""

    def note(self, line: str) -> None:
        """Something that is worth a line of its own."""

    def stage(self, what: str, share: float) -> None:
        """How far ``what`` has come, 0 to 1; the next call replaces it."""


class Silent:
    """Nobody follows."""

    def note(self, line: str) -> None:
        pass

    def stage(self, what: str, share: float) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows below a header, and one sentence that says how to read them."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    reading: str = ""

    def plain(self) -> str:
        """For a terminal: columns padded to their widest cell."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.header))]
        shown = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([self.title, *("  " + line for line in shown), *([self.reading] if self.reading else [])])

    def markdown(self) -> str:
        """For a page."""
        cells = [[cell.replace("|", "\\|") for cell in line] for line in (self.header, *self.rows)]
        rows = ["| " + " | ".join(line) + " |" for line in cells]
        rows.insert(1, "|" + "---|" * len(self.header))
        return "\n".join([f"**{self.title}**", "", *rows, "", self.reading]).rstrip()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure and the sentences that make it understood without the page around it."""

    name: str
    figure: Figure
    caption: str


@dataclasses.dataclass
class Report:
    """An experiment's result.

    Attributes:
        name: the experiment. settings: what it was run with, in words.
        verdicts: what was found, a sentence each.
        numbers: the same as JSON values, and more of them.
    """

    name: str
    settings: str
    tables: list[Table]
    pictures: list[Picture]
    verdicts: list[str]
    numbers: dict[str, Any]

    def plain(self) -> str:
        """For a terminal."""
        return "\n\n".join([self.settings, *(t.plain() for t in self.tables), "\n".join(self.verdicts)])

    def markdown(self) -> str:
        """For a page; pictures are named relative to it."""
        shown = [f"![{p.caption}]({p.name}.png)\n\n{p.caption}" for p in self.pictures]
        verdicts = "\n".join(f"- {line}" for line in self.verdicts)
        return (
            "\n\n".join([f"# {self.name}", self.settings, verdicts, *(t.markdown() for t in self.tables), *shown])
            + "\n"
        )

    def write(self, out: Path) -> list[Path]:
        """``results.json``, ``report.md``, and every picture as PNG and SVG; the same report gives the same bytes.

        Raises:
            UserError: the folder cannot be written.
        """
        from matplotlib import rc_context

        found = {
            "name": self.name,
            "settings": self.settings,
            "verdicts": self.verdicts,
            "numbers": clean(self.numbers),
        }
        files = [out / "results.json", out / "report.md"]
        try:
            files[0].write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            files[1].write_text(self.markdown(), encoding="utf-8")
            with rc_context({"svg.fonttype": "none", "svg.hashsalt": "unrolled"}):
                for picture in self.pictures:
                    picture.figure.draw_without_rendering()  # lays out once; each further time would move it a little
                    picture.figure.set_layout_engine("none")
                    for suffix in ("png", "svg"):
                        files.append(out / f"{picture.name}.{suffix}")
                        metadata = {"Software": None} if suffix == "png" else {"Date": None, "Creator": None}
                        picture.figure.savefig(files[-1], dpi=130, metadata=metadata)
        except OSError as error:
            raise UserError(f"--out {out}: {error.strerror or error}; choose a folder that can be written") from None
        return files


def folder(path: str | None, default: str) -> Path:
    """The folder of an experiment, made where it is not there.

    Raises:
        UserError: it cannot be made.
    """
    out = Path(path or default)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: {error.strerror or error}; choose a folder that can be written") from None
    return out


def clean(value: Any) -> Any:
    """JSON values: what JSON cannot say (NaN, infinities) becomes null."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float | None) -> str:
    """Three significant digits; a dash for what is missing or infinite."""
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:.1e}"


def listed(values: Sequence[object]) -> str:
    """``a, b and c``."""
    words = [str(v) for v in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
