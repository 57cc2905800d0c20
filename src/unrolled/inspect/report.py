"""All instruments over one subject: the page, the numbers, and what they say in words."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import unrolled
from unrolled.inspect.checks import check_finite
from unrolled.inspect.config import INSTRUMENTS, InspectConfig
from unrolled.inspect.page import Section, clean, render
from unrolled.inspect.subject import Subject
from unrolled.inspect.subjects.opening import Opened

HOME = {
    "flow": "sections_gradient:section_flow",
    "jacobian": "sections_jacobian:section_jacobian",
    "gates": "sections_gates:section_gates",
    "memory": "sections_memory:section_memory",
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
    for one in both:  # here, since not every instrument would notice
        check_finite(one.subject.model)
    wanted = {name: [one for one in both if name in config.instruments(one.subject.task)] for name in INSTRUMENTS}
    rows: list[list[Section]] = []
    for k, (name, subjects) in enumerate((name, subjects) for name, subjects in wanted.items() if subjects):
        if progress is not None:
            progress(INSTRUMENTS[name], k / sum(map(bool, wanted.values())))
        if name == "units":  # its views of two texts or models stand beside each other in one section
            rows.append([_units(config, *(one.subject for one in subjects))])
            continue
        row = [_section(name, one.subject, config) for one in subjects]
        for section, one in zip(row, subjects, strict=True):
            section.key += "" if one is opened else "-other"
            section.title += f": {one.subject.name}" if other is not None else ""
        rows.append(row)
    sections = [section for row in rows for section in row]
    lines = [f"{one.subject.name}, {one.subject.task}: {', '.join(one.notes)}." for one in both]
    title = "Inside " + " and ".join(one.subject.name for one in both)
    numbers = {"unrolled": unrolled.__version__, "subject": opened.subject.name, "task": opened.subject.task,
               "settings": dataclasses.asdict(config), **{s.key: s.numbers for s in sections}}  # fmt: skip
    return Report(render(title, lines, rows), clean(numbers), [(s.title, s.verdict) for s in sections])


def _section(name: str, subject: Subject, config: InspectConfig) -> Section:
    module, function = HOME[name].split(":")
    made: Section = getattr(importlib.import_module(f"unrolled.inspect.{module}"), function)(subject, config)
    return made


def _units(config: InspectConfig, subject: Subject, beside: Subject | None = None) -> Section:
    from unrolled.inspect.features import PATTERN, usual
    from unrolled.inspect.sections_units import section_units

    names = None if config.features is None else [n.strip() for n in config.features.split(",") if n.strip()]
    if config.pattern is not None:
        assert subject.text is not None
        names = [*(usual(subject.text.units) if names is None else names), PATTERN + config.pattern]
    return section_units(subject, names, beside=beside)
