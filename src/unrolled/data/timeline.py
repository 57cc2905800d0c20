"""Times in a file's first column: read, put on a grid, and written again for the steps that follow."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import itertools
import re
from collections.abc import Sequence

from unrolled.errors import UserError

FREQUENCIES = ("auto", "rows", "minute", "hour", "day", "week", "month", "quarter", "year")
SECONDS = {"minute": 60, "hour": 3600, "day": 86400, "week": 604800}
MONTHS = {"month": 1, "quarter": 3, "year": 12}
SEASONS = {"minute": 1440, "hour": 24, "day": 7, "week": 52, "month": 12, "quarter": 4}
"""The season that goes with a frequency: a day of minutes or hours, a week of days, a year of the others."""

EPOCH = datetime.datetime(1970, 1, 1)
_MONTH = re.compile(r"(\d{4})-?[mM]?(\d{2})$|(\d{4})[-/](\d{1,2})$")
_QUARTER = re.compile(r"(\d{4})-?[qQ]([1-4])$")
_DATE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})$")


@dataclasses.dataclass(frozen=True)
class Moment:
    """A time as it was read: a number, or a date with the style in which it was written.

    Attributes:
        number: the number itself; of a date the seconds since 1970.
        style: "number", "month" (1958-03), "quarter" (1958Q1), "date" or "datetime".
        at: the date, None for a number.
    """

    number: float
    style: str
    at: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True)
class Grid:
    """Steps of equal length, by their numbers.

    Attributes:
        unit: "row" (no times), "number", "month" (``every`` months) or "second" (``every`` seconds).
        every: the length of a step.
        offset: where in a step the times lie: seconds, a number, or of months the day (31: their last day).
        style: how a time is written.
        name: the frequency in words.
        phase: of months: by how many the steps begin after January of the year 0.
    """

    unit: str
    every: float
    offset: float
    style: str
    name: str
    phase: int = 0

    def index(self, moment: Moment) -> int:
        """The number of the step that a time falls into."""
        if self.unit == "month":
            assert moment.at is not None
            return (moment.at.year * 12 + moment.at.month - 1 - self.phase) // int(self.every)
        return int((moment.number - self.offset) // self.every if self.unit == "second" else
                   round((moment.number - self.offset) / self.every))  # fmt: skip

    def label(self, index: int) -> str:
        """The time of a step, written as the file writes its times; of a "row" grid the step's number from 1."""
        if self.unit == "row":
            return str(index + 1)
        if self.unit == "number":
            return f"{index * self.every + self.offset:.10g}"
        if self.unit == "month":
            year, month = divmod(index * int(self.every) + self.phase, 12)
            return self._write(_day(year, month + 1, int(self.offset)))
        return self._write(EPOCH + datetime.timedelta(seconds=index * self.every + self.offset))

    def _write(self, at: datetime.datetime) -> str:
        if self.style == "month":
            return f"{at:%Y-%m}"
        if self.style == "quarter":
            return f"{at.year}Q{(at.month + 2) // 3}"
        return at.date().isoformat() if self.style == "date" else at.isoformat(sep=" ")

    @property
    def season(self) -> int | None:
        """The number of steps after which this frequency is known to repeat; None where nothing is known."""
        return SEASONS.get(self.name)


ROWS = Grid("row", 1, 0, "number", "rows")


def parse_time(text: str, format: str | None, where: str) -> Moment:
    """Read a time: a number, ``2001-02-03`` (also with a time of day), ``2001-02``, ``2001Q1``; or by ``format``.

    Args:
        format: as ``datetime.strptime`` takes it; None for those above.
        where: file and line, for the message.
    Raises:
        UserError: it is none of them.
    """
    text = text.strip()
    if format is not None:
        try:
            return _moment(datetime.datetime.strptime(text, format))
        except ValueError:
            raise UserError(f"{where}: the time {text!r} does not fit --time-format {format}") from None
    try:
        return Moment(float(text), "number")
    except ValueError:
        pass
    try:
        if found := _QUARTER.match(text):
            return _moment(datetime.datetime(int(found[1]), 3 * int(found[2]) - 2, 1), "quarter")
        if found := _MONTH.match(text):
            return _moment(datetime.datetime(int(found[1] or found[3]), int(found[2] or found[4]), 1), "month")
        if found := _DATE.match(text):
            return _moment(datetime.datetime(int(found[1]), int(found[2]), int(found[3])), "date")
        if len(text) < 10:
            raise ValueError
        return _moment(datetime.datetime.fromisoformat(text.replace("Z", "+00:00").replace("/", "-")))
    except ValueError:
        raise UserError(
            f"{where}: the time {text!r} is neither a number nor a date like 2001-02-03; say how it is written with "
            "--time-format, for example %d/%m/%Y"
        ) from None


def _moment(at: datetime.datetime, style: str | None = None) -> Moment:
    if at.tzinfo is not None:
        at = at.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    if style is None:
        style = "date" if at.time() == datetime.time() else "datetime"
    return Moment((at - EPOCH).total_seconds(), style, at)


def find_grid(runs: Sequence[Sequence[Moment]], frequency: str, where: Sequence[Sequence[str]]) -> Grid:
    """The grid on which the times of all series lie.

    Args:
        runs: the times of each series, ascending.
        frequency: one of :data:`FREQUENCIES`. "auto" takes the commonest distance, of which every other must be a
            multiple; a named one is the width of a step, into which several rows may fall.
        where: file and line of each time, for messages.
    Raises:
        UserError: times that are irregular, or of which some are numbers and some dates; too few of them to tell.
    """
    flat = [moment for run in runs for moment in run]
    numbers = sum(m.at is None for m in flat)
    if numbers and numbers < len(flat):
        raise UserError(f"{where[0][0]}: some times are numbers and some are dates; correct the time column")
    styles = collections.Counter(m.style for m in flat)
    style = "datetime" if "datetime" in styles else styles.most_common(1)[0][0]
    if frequency == "rows":
        return ROWS
    if frequency != "auto":
        if numbers:
            raise UserError(f"--frequency {frequency}: the times are numbers, not dates; leave the flag out")
        if frequency in MONTHS:
            kept = style if style in ("month", "quarter") else "date"
            return Grid("month", MONTHS[frequency], 1, kept, frequency)
        offset = -3 * 86400.0 if frequency == "week" else 0.0  # weeks begin on Monday; 1970 began on a Thursday
        return Grid("second", SECONDS[frequency], offset, "date" if frequency in ("day", "week") else "datetime",
                    frequency)  # fmt: skip
    return _by_months(runs, style) or _by_distance(runs, style, where)


def _by_months(runs: Sequence[Sequence[Moment]], style: str) -> Grid | None:
    """A grid of months where all dates are the same day of theirs, or all the last one."""
    dates = [[m.at for m in run if m.at is not None] for run in runs]
    flat = [at for run in dates for at in run]
    if not flat or any(at.time() != datetime.time() for at in flat):
        return None
    ends = all(at == _day(at.year, at.month, 31) for at in flat)
    if not ends and len({at.day for at in flat}) > 1:
        return None
    indices = [[at.year * 12 + at.month - 1 for at in run] for run in dates]
    steps = collections.Counter(b - a for run in indices for a, b in itertools.pairwise(run))
    if not steps or min(steps) < 1:
        return None
    every = min(steps)
    phase = indices[0][0] % every
    if any(k % every != phase for run in indices for k in run):
        every, phase = 1, 0
    name = {1: "month", 3: "quarter", 12: "year"}.get(every, f"{every} months")
    return Grid("month", every, 31 if ends else flat[0].day, style, name, phase)


def _by_distance(runs: Sequence[Sequence[Moment]], style: str, where: Sequence[Sequence[str]]) -> Grid:
    gaps = collections.Counter(round(b.number - a.number, 9) for run in runs for a, b in itertools.pairwise(run))
    if not gaps:
        raise UserError(f"{where[0][0]}: one row; a series needs more to tell its frequency")
    every = max(gaps, key=lambda gap: (gaps[gap], -gap))
    if every <= 0:
        raise UserError(f"{where[0][0]}: the same time again and again; name the column of the series with --series")
    unit = "number" if style == "number" else "second"
    first = runs[0][0].number
    for run, places in zip(runs, where, strict=True):
        for moment, place in zip(run, places, strict=True):
            steps = (moment.number - first) / every
            if abs(steps - round(steps)) > 1e-3:
                raise UserError(
                    f"{place}: the times are irregular: most are {_length(every, unit)} apart, and this one lies off "
                    "that; average over equal steps with --frequency week (or another), or take each row as a step "
                    "with --frequency rows"
                )
    return Grid(unit, every, first % every, style, _length(every, unit))


def _length(every: float, unit: str) -> str:
    if unit == "number":
        return f"{every:g}"
    for name, seconds in reversed(SECONDS.items()):
        if every % seconds == 0:
            return name if every == seconds else f"{every / seconds:g} {name}s"
    return f"{every:g} seconds"


def _day(year: int, month: int, day: int) -> datetime.datetime:
    """A day of a month, its last one where it is shorter."""
    after = datetime.datetime(year + month // 12, month % 12 + 1, 1)
    return datetime.datetime(year, month, min(day, (after - datetime.timedelta(days=1)).day))
