"""Strips of days: of each day a column that is as high as its outages, what is let out of them, and what is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from storage.reports.uptime_months import DayShare

#: The parts of a column from its foot up, by the class of their colour.
PARTS = ("outage", "excluded", "up", "unknown")

COLUMN, GAP, HEIGHT = 10, 2, 24

#: An outage of a minute should still be seen.
MIN_HEIGHT = 3


@dataclass(frozen=True, slots=True)
class Strip:
    """A strip of days as SVG.

    Attributes:
        width: its width; its height is ``HEIGHT``.
        paths: of each part its class and the outline of its columns.
        summary: what it shows in words.
    """

    width: int
    paths: Sequence[tuple[str, str]]
    summary: str


def strip(days: Sequence[date], shares: Iterable[DayShare], until_day: date | None) -> Strip:
    """Draw the days of an EVSE.

    Parameters:
        shares: what is derived of them; a day without one is unknown.
        until_day: the first day that is not over; None: there are no local days.
    """
    known = {share.day: share for share in shares}
    outlines: dict[str, list[str]] = {part: [] for part in PARTS}
    over = [day for day in days if until_day is not None and day < until_day]
    for number, day in enumerate(over):
        foot = float(HEIGHT)
        for part, height in _heights(known.get(day) or DayShare(day, 1, 0, 0, 1)).items():
            if height:
                foot -= height
                outlines[part].append(f"M{number * COLUMN} {foot:g}h{COLUMN - GAP}v{height:g}h{GAP - COLUMN}z")
    paths = [(part, "".join(outline)) for part, outline in outlines.items() if outline]
    return Strip(len(days) * COLUMN - GAP, paths, _summary([known.get(day) for day in over]))


def _heights(share: DayShare) -> dict[str, float]:
    """Return the heights of the parts of a column; the last that is large enough gives way to those too low to see."""
    seconds = {
        "outage": share.outage_s - share.excluded_s,
        "excluded": share.excluded_s,
        "up": share.day_s - share.outage_s - share.unknown_s,
        "unknown": share.unknown_s,
    }
    heights = {
        part: max(round(HEIGHT * length / share.day_s, 1), MIN_HEIGHT) if length > 0 else 0.0
        for part, length in seconds.items()
    }
    largest = max(heights, key=lambda part: heights[part])
    heights[largest] = round(heights[largest] + HEIGHT - sum(heights.values()), 1)
    return heights


def _summary(shares: Sequence[DayShare | None]) -> str:
    down = sum(share is not None and share.outage_s > share.excluded_s for share in shares)
    unknown = sum(share is None or share.unknown_s > 0 for share in shares)
    return f"{len(shares)} days are over: {down} with outages that count, {unknown} unknown in part or whole"
