"""Ribbons: the states of an EVSE over time as a strip, whose states differ by height and pattern as well as colour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.console.rendering import duration
from storage.reports.evse_states import MAX_STRETCHES, Stretch

#: The width of a ribbon in its own units: a day has one unit for four minutes.
WIDTH = 360

DAY = timedelta(days=1)
WEEK = timedelta(days=7)

#: States that must be seen however short they are, in the order in which they are drawn over the others.
_GRAVE = {"offline": 1, "unavailable": 2, "faulted": 3}

#: The least width of one of those, in units.
_GRAVE_WIDTH = 1.5

#: The days of the week, from the first of January 1970 on.
_DAYS = ("Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a ribbon.

    Attributes:
        x, width: where it is, in units.
        state: the state of the EVSE.
        title: the state, and from when to when it lasted.
        is_present: whether the state lasts, so that the browser may draw on.
    """

    x: float
    width: float
    state: str
    title: str
    is_present: bool


@dataclass(frozen=True, slots=True)
class Ribbon:
    """The states of an EVSE over a time.

    Attributes:
        pieces: its parts, in the order in which they are drawn.
        summary: the same in words.
        seconds_per_unit: how long a unit of its width is.
    """

    pieces: Sequence[Piece]
    summary: str
    seconds_per_unit: float


def ribbon(stretches: Sequence[Stretch], until: datetime, span: timedelta) -> Ribbon:
    """Draw the states of an EVSE.

    Parameters:
        stretches: its states, the latest first.
        until: the end of the ribbon.
        span: how long it is.
    """
    end, length = until.timestamp(), span.total_seconds()
    parts = _parts(stretches, end - length, end)
    pieces = [piece for part in parts if (piece := _piece(part, end, length)) is not None]
    return Ribbon(
        sorted(pieces, key=lambda piece: _GRAVE.get(piece.state, 0)),
        _summary(parts, length, "not shown" if len(stretches) >= MAX_STRETCHES else "not known"),
        length / WIDTH,
    )


@dataclass(slots=True)
class _Part:
    """A time in one state, in seconds since 1970: a page has thousands, and reckons faster in numbers."""

    began: float
    ended: float
    state: str


def _parts(stretches: Sequence[Stretch], since: float, until: float) -> list[_Part]:
    """Return the stretches between two times in their order, with neighbours of one state as one."""
    parts: list[_Part] = []
    for each in reversed(stretches):
        began = max(each.began_at.timestamp(), since)
        ended = until if each.ended_at is None else min(each.ended_at.timestamp(), until)
        if parts and parts[-1].state == each.state and parts[-1].ended == began:
            parts[-1].ended = ended
        elif began < ended:
            parts.append(_Part(began, ended, each.state))
    return parts


def _piece(part: _Part, until: float, length: float) -> Piece | None:
    # Rounded to half a unit, so that a thousand changes within minutes are no thousand pieces.
    begin, end = (round((1 - (until - moment) / length) * WIDTH * 2) / 2 for moment in (part.began, part.ended))
    if part.state in _GRAVE:
        end = max(end, begin + _GRAVE_WIDTH)
    if end <= begin:
        return None
    with_day = length > DAY.total_seconds()
    times = f"{_clock(part.began, with_day)} to {_clock(part.ended, with_day)} UTC"
    title = f"{part.state}, {times}, {duration(part.ended - part.began)}"
    return Piece(begin, end - begin, part.state, title, is_present=part.ended == until)


def _clock(moment: float, with_day: bool) -> str:
    days, seconds = divmod(int(moment), 86_400)
    time = f"{seconds // 3600:02}:{seconds // 60 % 60:02}"
    return f"{_DAYS[days % 7]} {time}" if with_day else time


def _summary(parts: Sequence[_Part], length: float, rest: str) -> str:
    if not parts:
        return "nothing is known"
    lengths: dict[str, float] = defaultdict(float)
    for part in parts:
        lengths[part.state] += part.ended - part.began
    longest_first = sorted(lengths.items(), key=lambda known: known[1], reverse=True)
    texts = [f"{state} {duration(seconds)}" for state, seconds in longest_first]
    unseen = length - sum(lengths.values())
    return ", ".join([*texts, f"{rest} {duration(unseen)}"] if unseen >= 60 else texts)
