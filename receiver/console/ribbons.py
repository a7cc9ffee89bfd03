"""Ribbons: the states of an EVSE over time as a strip, whose states differ by height and pattern as well as colour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.console.rendering import duration
from storage.reports.evse_states import MAX_STRETCHES, Stretch

#: The width of a ribbon in its own units: a day has one unit for four minutes.
WIDTH = 360

DAY = timedelta(days=1)
WEEK = timedelta(days=7)

#: States that must be seen however short they are, the gravest last.
_GRAVE = ("offline", "unavailable", "faulted")

#: The least width of one of those, in units.
_GRAVE_WIDTH = 1.5


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
    since = until - span
    shown = [
        (max(each.began_at, since), min(each.ended_at or until, until), each.state)
        for each in _joined(stretches)
        if each.began_at < until and (each.ended_at is None or each.ended_at > since)
    ]
    lengths: dict[str, timedelta] = defaultdict(timedelta)
    for began_at, ended_at, state in shown:
        lengths[state] += ended_at - began_at
    pieces = [piece for part in shown if (piece := _piece(*part, since, span)) is not None]
    grave = {state: rank for rank, state in enumerate(_GRAVE, start=1)}
    return Ribbon(
        sorted(pieces, key=lambda piece: grave.get(piece.state, 0)),
        _summary(lengths, span, "not shown" if len(stretches) >= MAX_STRETCHES else "not known"),
        span.total_seconds() / WIDTH,
    )


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Return stretches in the order of time, with neighbours of one state as one."""
    joined: list[Stretch] = []
    for each in reversed(stretches):
        if joined and joined[-1].state == each.state and joined[-1].ended_at == each.began_at:
            joined[-1] = Stretch(joined[-1].began_at, each.ended_at, each.state)
        else:
            joined.append(each)
    return joined


def _piece(began_at: datetime, ended_at: datetime, state: str, since: datetime, span: timedelta) -> Piece | None:
    # Rounded to half a unit, so that a thousand changes within minutes are no thousand pieces.
    begin, end = (round((moment - since) / span * WIDTH * 2) / 2 for moment in (began_at, ended_at))
    if state in _GRAVE:
        end = max(end, begin + _GRAVE_WIDTH)
    if end <= begin:
        return None
    form = "%H:%M" if span <= DAY else "%a %H:%M"
    title = f"{state}, {began_at:{form}} to {ended_at:{form}} UTC, {duration(ended_at - began_at)}"
    return Piece(begin, end - begin, state, title, is_present=ended_at == since + span)


def _summary(lengths: Mapping[str, timedelta], span: timedelta, rest: str) -> str:
    if not lengths:
        return "nothing is known"
    parts = sorted(lengths.items(), key=lambda part: part[1], reverse=True)
    unseen = span - sum(lengths.values(), timedelta())
    texts = [f"{state} {duration(length)}" for state, length in parts]
    return ", ".join([*texts, f"{rest} {duration(unseen)}"] if unseen >= timedelta(minutes=1) else texts)
