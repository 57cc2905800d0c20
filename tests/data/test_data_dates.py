"""Made-up dates: every way is unambiguous, years are split, the same seed gives the same dates."""

from __future__ import annotations

import datetime
import itertools

import pytest

from unrolled.data.dates import FIRST, HELD_WAYS, LAST, WAYS, make_dates, split_years, write_date


def test_dates_as_people_write_them() -> None:
    day = datetime.date(1903, 2, 1)
    assert write_date(day, WAYS[0]) == "February 1, 1903"
    assert write_date(day, "{weekday} the {day}{th} of {mon} {year}, {mm} {m} {dd}") == (
        "Sunday the 1st of Feb 1903, 02 2 01"
    )
    ends = [write_date(datetime.date(2000, 1, k), "{day}{th}") for k in (2, 3, 4, 11, 12, 13, 21, 22, 23, 31)]
    assert ends == ["2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "31st"]


def test_no_text_means_two_dates() -> None:
    days = [datetime.date(year, 1, 1) + datetime.timedelta(k) for year in (1999, 2011, 2012) for k in range(365)]
    meant: dict[str, datetime.date] = {}
    for day, way in itertools.product(days, (*WAYS, *HELD_WAYS)):
        for text in (t := write_date(day, way), t.lower(), t.upper()):
            assert meant.setdefault(text, day) == day
    assert not set(WAYS) & set(HELD_WAYS)
    assert len(set(WAYS)) == len(WAYS)


def test_made_dates_are_right_and_the_same_for_a_seed() -> None:
    made = make_dates(500, 3, range(1990, 2000))
    again = make_dates(500, 3, range(1990, 2000))
    assert (made.sources, made.targets, made.ways) == (again.sources, again.targets, again.ways)
    assert make_dates(500, 4, range(1990, 2000)).sources != made.sources
    for source, target, way in zip(made.sources, made.targets, made.ways, strict=True):
        day = datetime.date.fromisoformat(target)
        assert 1990 <= day.year < 2000
        assert source.lower() == write_date(day, WAYS[way]).lower()
    assert len(set(made.ways)) == len(WAYS)


@pytest.mark.parametrize("seed", [0, 1])
def test_years_are_in_one_part_each(seed: int) -> None:
    parts = split_years(seed)
    assert sorted(itertools.chain(*parts.values())) == list(range(FIRST, LAST + 1))
    assert {name: len(years) for name, years in parts.items()} == {"train": 480, "dev": 60, "test": 60}
