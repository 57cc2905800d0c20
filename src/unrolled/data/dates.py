"""Dates written in many ways, and in the one way of ISO 8601: pairs made up, without a file.

Every way is unambiguous: where the month is a number, the order of the fields is given away by the year standing first
(``2004/7/3``), or by a full stop after the day, as it is written in German and Slavic (``3.7.2004``).
"""

from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Sequence

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
FIRST, LAST = 1600, 2199
"""The years that are written."""

WAYS = (
    "{month} {day}, {year}", "{month} {day} {year}", "{day} {month} {year}", "{day}{th} {month} {year}",
    "{month} {day}{th}, {year}", "the {day}{th} of {month}, {year}", "the {day}{th} of {month} {year}",
    "{weekday}, {month} {day}, {year}", "{weekday}, {day} {month} {year}", "{weekday} the {day}{th} of {month} {year}",
    "{mon} {day}, {year}", "{mon}. {day}, {year}", "{day} {mon} {year}", "{day}-{mon}-{year}", "{dd}-{mon}-{year}",
    "{wd}, {day} {mon} {year}", "{wd} {mon} {day} {year}", "{wd}, {mon} {day}{th}, {year}",
    "{year}/{mm}/{dd}", "{year}/{m}/{day}", "{year}.{mm}.{dd}", "{year} {mm} {dd}", "{year}{mm}{dd}",
    "{day}.{m}.{year}", "{dd}.{mm}.{year}", "{day}. {m}. {year}",
    "{year} {month} {day}", "{year}, {month} {day}{th}", "{year}-{mon}-{dd}", "{mon} {dd}, {year}",
)  # fmt: skip
HELD_WAYS = (
    "{year} {mon} {day}", "{weekday}, the {day}{th} of {month}, {year}", "{mon}-{dd}-{year}", "{day} {month}, {year}",
    "{wd}, {month} {day}, {year}",
)  # fmt: skip
"""Ways that are never learnt from: what a model makes of a way it has not met."""


@dataclasses.dataclass(frozen=True)
class Dates:
    """Pairs of dates, n of them: ``sources`` as written, ``targets`` as ``YYYY-MM-DD``, and which way each was written,
    a number into :data:`WAYS` (or into :data:`HELD_WAYS`)."""

    sources: list[str]
    targets: list[str]
    ways: list[int]


def write_date(day: datetime.date, way: str) -> str:
    """A date as ``way`` has it."""
    month, weekday = MONTHS[day.month - 1], DAYS[day.weekday()]
    teens = 10 <= day.day % 100 <= 20
    th = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return way.format(
        year=day.year, month=month, mon=month[:3], m=day.month, mm=f"{day.month:02d}", day=day.day,
        dd=f"{day.day:02d}", th=th, weekday=weekday, wd=weekday[:3],
    )  # fmt: skip


def make_dates(n: int, seed: int, years: Sequence[int], ways: Sequence[str] = WAYS) -> Dates:
    """``n`` dates of these years, each drawn with its way and its case: as it stands, small, or capital letters."""
    rng = random.Random(seed)
    sources, targets, numbers = [], [], []
    for _ in range(n):
        year, way = years[rng.randrange(len(years))], rng.randrange(len(ways))
        first = datetime.date(year, 1, 1).toordinal()
        day = datetime.date.fromordinal(first + rng.randrange(datetime.date(year, 12, 31).toordinal() - first + 1))
        text, case = write_date(day, ways[way]), rng.random()
        sources.append(text.lower() if case < 0.2 else text.upper() if case < 0.3 else text)
        targets.append(day.isoformat())
        numbers.append(way)
    return Dates(sources, targets, numbers)


def split_years(seed: int) -> dict[str, list[int]]:
    """The years of each part: of every ten one is held out for the test and one for the dev part, drawn by ``seed``."""
    rng = random.Random(seed)
    parts: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    for first in range(FIRST, LAST + 1, 10):
        test, dev = rng.sample(range(10), 2)
        for k in range(10):
            parts["test" if k == test else "dev" if k == dev else "train"].append(first + k)
    return parts
