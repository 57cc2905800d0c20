"""All instruments over one subject: the page, the numbers, and what they say in words."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import unrolled
from unrolled.inspect.config import INSTRUMENTS, InspectConfig
from unrolled.inspect.page import Section, clean, render
from unrolled.inspect.subjects.opening import Opened

HOME = {
    "flow": "sections_gradient:section_flow",
    "jacobian": "sections_gradient:section_jacobian",
    "gates": "sections_gates:section_gates",
    "memory": "sections_memory:section_memory",
    "units": "sections_units:section_units",
    "weights": "sections_weights:section_weights",
}
"""Where each instrument's section is made: ``section(subject, config) -> Section``."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        page: HTML. numbers: JSON values. verdicts: title and sentences of each section.
    """

    page: str
    numbers: dict[str, Any]
    verdicts: list[tuple[str, list[str]]]


def report(
    opened: Opened, config: InspectConfig, *, other: Opened | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Report:  # fmt: skip
    """Every instrument that was asked for.

    Args:
        other: a second subject, whose sections stand beside the first's.
        progress: called with an instrument's name and the share of the work that is done.
    Raises:
        UserError: an instrument that does not fit the task; weights that are not numbers, by tensor.
    """
    both = [opened, *([other] if other is not None else [])]
    wanted = {name: [one for one in both if name in config.instruments(one.subject.task)] for name in INSTRUMENTS}
    rows: list[list[Section]] = []
    for k, (name, subjects) in enumerate((name, subjects) for name, subjects in wanted.items() if subjects):
        row = []
        for one in subjects:
            if progress is not None:
                progress(INSTRUMENTS[name], k / sum(map(bool, wanted.values())))
            section = make(name)(one.subject, config)
            section.key += "" if one is opened else "-other"
            section.title += f": {one.subject.name}" if other is not None else ""
            row.append(section)
        rows.append(row)
    sections = [section for row in rows for section in row]
    lines = [f"{one.subject.name}, {one.subject.task}: {', '.join(one.notes)}." for one in both]
    title = "Inside " + " and ".join(one.subject.name for one in both)
    numbers = {"unrolled": unrolled.__version__, "subject": opened.subject.name, "task": opened.subject.task,
               "settings": dataclasses.asdict(config), **{s.key: s.numbers for s in sections}}  # fmt: skip
    return Report(render(title, lines, rows), clean(numbers), [(s.title, s.verdict) for s in sections])


def make(name: str) -> Callable[..., Section]:
    """What makes an instrument's section."""
    module, function = HOME[name].split(":")
    found: Callable[..., Section] = getattr(importlib.import_module(f"unrolled.inspect.{module}"), function)
    return found
