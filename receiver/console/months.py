"""Months, as pages show them and as addresses name them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

#: Years of which anything may be known; others are slips of the pen.
_YEARS = range(2000, 3000)


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month, written ``2026-03``."""

    first_day: date

    @classmethod
    def of(cls, day: date) -> Month:
        """Return the month of a day."""
        return cls(day.replace(day=1))

    @classmethod
    def parse(cls, value: str | None) -> Month | None:
        """Return the month that a text names; None if it names none."""
        found = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", value or "")
        if found is None or int(found[1]) not in _YEARS:
            return None
        return cls(date(int(found[1]), int(found[2]), 1))

    def __str__(self) -> str:
        return f"{self.first_day:%Y-%m}"

    @property
    def name(self) -> str:
        """The month in words."""
        return f"{self.first_day:%B %Y}"

    @property
    def next(self) -> Month:
        """The month after it."""
        return Month.of(self.first_day + timedelta(days=31))

    @property
    def previous(self) -> Month:
        """The month before it."""
        return Month.of(self.first_day - timedelta(days=1))

    @property
    def first_of_twelve(self) -> date:
        """The first day of the twelve months that end with it."""
        following = self.next.first_day
        return following.replace(year=following.year - 1)

    @property
    def days(self) -> list[date]:
        """Its days, in order."""
        count = (self.next.first_day - self.first_day).days
        return [self.first_day + timedelta(days=number) for number in range(count)]
