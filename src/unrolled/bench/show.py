"""Rows on the terminal: a table where a person watches, plain lines where none does, one JSON line at the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from unrolled.bench.figures import Figure, Row

_STYLES = {"ok": "green", "BELOW": "bold red", "ABOVE": "bold red"}


def show(title: str, rows: Iterable[Row]) -> list[Row]:
    """Print rows as they come; they are returned as a list."""
    return _table(title, rows) if sys.stdout.isatty() else _lines(title, rows)


def dump(benchmark: str, facts: dict[str, Any], rows: Iterable[Row]) -> None:
    """The one JSON line."""
    print(json.dumps({"benchmark": benchmark, **facts, "rows": [row.to_dict() for row in rows]}), flush=True)


def failed(rows: Iterable[Row]) -> bool:
    """Whether a result was wrong."""
    return any(row.refused for row in rows)


def _lines(title: str, rows: Iterable[Row]) -> list[Row]:
    shown: list[Row] = []
    for row in rows:
        if not shown:
            print(f"== {title}", flush=True)
        shown.append(row)
        words = [f"{name} {figure}{_held(figure)}" for name, figure in row.figures.items()]
        print("  ".join([f"{row.name:<34}", *words, *_remarks(row)]), flush=True)
    return shown


def _held(figure: Figure) -> str:
    return f" [{figure.bar}: {figure.verdict}]" if figure.bar is not None else ""


def _remarks(row: Row) -> list[str]:
    found = [row.note] if row.note else []
    found += [f"skipped: {row.skipped}"] if row.skipped else []
    return [*found, f"REFUSED, no speed for a wrong result: {row.refused}"] if row.refused else found


def _table(title: str, rows: Iterable[Row]) -> list[Row]:
    from rich.console import Console
    from rich.live import Live
    from rich.markup import escape
    from rich.table import Table

    shown: list[Row] = []

    def table() -> Table:
        columns = list(dict.fromkeys(name for row in shown for name in row.figures))
        made = Table("case", *columns, "", title=title, title_justify="left", title_style="bold")
        for row in shown:
            cells = []
            for name in columns:
                figure = row.figures.get(name)
                style = _STYLES.get(figure.verdict, "") if figure else ""
                text = escape(f"{figure}{_held(figure)}") if figure else ""
                cells.append(f"[{style}]{text}[/]" if style else text)
            made.add_row(escape(row.name), *cells, escape("; ".join(_remarks(row))))
        return made

    with Live(table(), console=Console(), refresh_per_second=4, vertical_overflow="visible") as live:
        for row in rows:
            shown.append(row)
            live.update(table())
    return shown
