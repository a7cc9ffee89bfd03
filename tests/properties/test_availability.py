"""Outages, days and months are those of a plain recomputation, minute by minute, whatever order the facts came in."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from analytics import master
from analytics.availability import derive as availability
from analytics.schema.derived import Derived
from analytics.schema.evse_state import STATES
from analytics.schema.sessions import charge_attempt, energy_interval, session
from analytics.scope import widen
from analytics.states import derive as evse_states
from analytics.states.stretches import Period
from analytics.writing import Work
from storage.operator_exclusions import NewExclusion, add_exclusion, withdraw_exclusion
from storage.state.changes import ChangeSet
from storage.state.fold import fact_from_read
from storage.state.marks import mark_all
from storage.write import write_changes

#: How many for each zone.
HISTORIES = 6
#: Making a failure smaller would take minutes.
PHASES = (Phase.explicit, Phase.generate)
EVSE, CHARGE_POINT, LOCATION = 902, 418, 7

#: Zones, each with a day at whose ends, or in which, its clocks change; those of Kathmandu never do.
ZONES = (
    ("Europe/Sofia", date(2025, 3, 30)),
    ("Europe/Sofia", date(2025, 10, 26)),
    ("America/St_Johns", date(2025, 3, 9)),
    ("America/St_Johns", date(2025, 11, 2)),
    ("Asia/Kathmandu", date(2025, 12, 31)),
    ("Pacific/Chatham", date(2025, 4, 6)),
    ("Pacific/Chatham", date(2025, 9, 28)),
    ("Atlantic/Azores", date(2025, 10, 26)),  # midnight occurs twice
    ("Africa/Cairo", date(2025, 4, 25)),  # midnight does not occur
)

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def hours(*intervals: tuple[str, str], days: tuple[str, ...] = _WEEKDAYS) -> dict[str, Any]:
    return {day: [{"start": start, "end": end} for start, end in intervals] for day in days}


HOURS: tuple[Any, ...] = (
    None,
    {},
    hours(("07:00", "22:00"), days=_WEEKDAYS[:5]) | {"saturday": [], "sunday": None},
    hours(("00:00", "24:00"), days=_WEEKDAYS[2:]),
    hours(("06:30", "12:00"), ("11:00", "18:15")),
    hours(("22:00", "06:00")),
    hours(("01:30", "00:00"), days=_WEEKDAYS[4:]),
    hours(("02:15", "03:45"), ("00:20", "00:40")),
    hours(("08:00", "08:00"), days=_WEEKDAYS[5:6]),
    hours(("7 am", "22:00")),
    {"monday": "closed"},
    ["monday"],
)

MINUTES = 6 * 1440


@dataclass
class History:
    """All that is known of one EVSE in the end; times are minutes after the beginning."""

    zone: str
    hours: Any
    start: datetime
    statuses: list[tuple[int, str, str, str]]
    gap: tuple[int, int] | None
    gone_at: int | None
    now: int
    periods: list[tuple[str, int, int, int | None, str, bool]] = field(default_factory=list)
    entries: list[tuple[str, int, int | None, bool]] = field(default_factory=list)
    sessions: list[tuple[int, int]] = field(default_factory=list)

    def at(self, minute: float) -> datetime:
        return self.start + timedelta(minutes=minute)


WORDS = {
    "evse": ("available", "charging", "suspendedEV", "preparing", "occupied", "faulted", "unavailable", "a new word"),
    "network": ("available", "temporarily_unavailable", "long_term_unavailable"),
}

MEANING = {
    "available": "available",
    "charging": "charging",
    "suspendedEV": "suspended",
    "preparing": "preparing",
    "occupied": "occupied",
    "faulted": "faulted",
    "unavailable": "unavailable",
}
ERRORS = {"faulted": ("GroundFailure", "NoError"), "unavailable": ("NoError", "OtherError")}

minute = st.integers(0, MINUTES)


@st.composite
def stories(draw: Any) -> History:
    statuses = draw(
        st.lists(
            st.sampled_from(sorted(WORDS)).flatmap(
                lambda source: st.tuples(minute, st.just(source), st.sampled_from(WORDS[source]), st.just(""))
            ),
            max_size=25,
            unique_by=lambda each: (each[0], each[1]),
        )
    )
    ends = st.one_of(st.none(), st.integers(0, MINUTES + 500))
    gap = draw(st.one_of(st.none(), st.tuples(minute, st.integers(1, 1500))))
    return History(
        "UTC",  # the test sets the zone and the beginning
        draw(st.sampled_from(HOURS)),
        datetime(2025, 1, 1, tzinfo=UTC),
        [(m, s, w, draw(st.sampled_from(ERRORS.get(w, ("NoError",))))) for m, s, w, _ in statuses],
        (gap[0], gap[0] + gap[1]) if gap else None,
        draw(st.one_of(st.none(), st.integers(1000, MINUTES + 2000))),
        MINUTES + draw(st.sampled_from((-2000, 10, 3000, 30 * 1440, 420 * 1440))),
        draw(
            st.lists(
                st.tuples(
                    st.sampled_from(("evse", "charge_point")),
                    st.integers(1, 3),
                    minute,
                    ends,
                    st.sampled_from(("exempt", "downtime", "another")),
                    st.booleans(),
                ),
                max_size=5,
                unique_by=lambda each: each[:2],
            )
        ),
        draw(
            st.lists(
                st.tuples(st.sampled_from(("evse", "charge_point", "location")), minute, ends, st.booleans()).filter(
                    lambda each: each[2] is None or each[1] < each[2]
                ),
                max_size=3,
            )
        ),
        sorted(draw(st.lists(st.tuples(minute, st.integers(1, 90_000)), max_size=6, unique_by=lambda each: each[0]))),
    )


# --- What is expected, from strings with one byte for each minute -----------------------------------------------------

BYTE = {state: index for index, state in enumerate(STATES, 1)}
DOWN = bytes(BYTE[state] for state in ("faulted", "unavailable", "offline"))
NOT_MEASURED = [BYTE[state] for state in ("offline", "occupied", "unknown")]


class Expected:
    """The rows that a story makes, computed minute by minute."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.zone = ZoneInfo(history.zone)
        self.origin = history.start - timedelta(days=3)
        last = max(history.now, MINUTES + 3000) + 1440
        self.size = last + 3 * 1440
        self._paint_states()
        self._paint_closed()
        self._find_outages()

    def index(self, moment: datetime) -> int:
        minutes, rest = divmod(moment - self.origin, timedelta(minutes=1))
        assert not rest
        return minutes

    def place(self, minutes: int) -> int:
        return minutes + 3 * 1440

    def moment(self, index: int) -> datetime:
        return self.origin + timedelta(minutes=index)

    def begins(self, day: date) -> int:
        return self.index(datetime.combine(day, time(), self.zone).astimezone(UTC))

    def local_day(self, index: int) -> date:
        return self.moment(index).astimezone(self.zone).date()

    def _paint_states(self) -> None:
        history, size = self.history, self.size
        words = {"evse": bytearray(size), "network": bytearray(size)}
        for at, source, word, _ in sorted(history.statuses):
            where = self.place(at)
            words[source][where:] = bytes([WORDS[source].index(word) + 1]) * (size - where)
        blind = bytearray(size)
        if history.gap:
            began, ended = map(self.place, history.gap)
            blind[began:ended] = b"\1" * (ended - began)
        first = min((self.place(at) for at, *_ in history.statuses), default=size)
        gone = size if history.gone_at is None else self.place(history.gone_at)
        self.is_gone = history.gone_at is not None
        if first >= gone:
            first = gone = size
        self.words, self.blind, self.end = words, blind, gone
        states, observed = bytearray(size), bytearray(size)
        edges = {self.place(at) for at, *_ in history.statuses} | {self.place(each) for each in history.gap or ()}
        inner = sorted({first, gone, *(edge for edge in edges if first < edge < gone)})
        for began, ended in pairwise(inner):
            state, is_observed = self._state(words["evse"][began], words["network"][began], blind[began])
            states[began:ended] = bytes([BYTE[state]]) * (ended - began)
            observed[began:ended] = bytes([is_observed]) * (ended - began)
        self.states, self.observed = bytes(states), bytes(observed)

    @staticmethod
    def _state(hardware: int, network: int, is_blind: int) -> tuple[str, bool]:
        """The state that words make, given by their places in the lists from 1 on, and whether it is observed."""
        if is_blind:
            return "unknown", False
        if network > 1:
            return "offline", True
        return MEANING.get(WORDS["evse"][hardware - 1], "unknown") if hardware else "unknown", network > 0

    def _paint_closed(self) -> None:
        closed = bytearray(self.size)
        opening = self._openings()
        if opening is not None:
            closed = bytearray(b"\1" * self.size)
            day = self.local_day(0) - timedelta(2)
            while day <= self.local_day(self.size - 1):
                for start, end in opening.get(_WEEKDAYS[day.weekday()]) or []:
                    next_day = timedelta(1) if end <= start else timedelta()
                    opens = datetime.combine(day, time(), self.zone) + start
                    closes = datetime.combine(day + next_day, time(), self.zone) + end
                    a, b = (min(max(self.index(each.astimezone(UTC)), 0), self.size) for each in (opens, closes))
                    if a < b:
                        closed[a:b] = bytes(b - a)
                day += timedelta(1)
        self.closed = bytes(closed)
        self.has_hours = opening is not None

    def _openings(self) -> dict[str, list[tuple[timedelta, timedelta]]] | None:
        history = self.history.hours
        if not isinstance(history, dict):
            return None
        found: dict[str, list[tuple[timedelta, timedelta]]] = {}
        for day, intervals in history.items():
            if not isinstance(intervals, list | None):
                return None
            for interval in intervals or []:
                parts = []
                for name in ("start", "end"):
                    if not re.fullmatch(r"\d\d:\d\d(:\d\d)?", interval[name]):
                        return None
                    numbers = [int(part) for part in interval[name].split(":")] + [0]
                    parts.append(timedelta(hours=numbers[0], minutes=numbers[1], seconds=numbers[2]))
                found.setdefault(day, []).append((parts[0], parts[1]))
        return found

    def _covering(self) -> Iterator[tuple[str, int, int, int | None]]:
        """What lets something out but for opening hours: source, id, beginning, end."""
        for subject, period_id, began, ended, kind, is_deleted in self.history.periods:
            if kind == "exempt" and not is_deleted:
                yield f"{subject}_exempt_period", period_id, self.place(began), self._place_of_end(ended)
        for number, (_, began, ended, is_withdrawn) in enumerate(self.history.entries):
            if not is_withdrawn:
                yield "operator", number, self.place(began), self._place_of_end(ended)

    def _place_of_end(self, ended: int | None) -> int | None:
        return None if ended is None else self.place(ended)

    def _find_outages(self) -> None:
        self.outages: list[dict[str, Any]] = []
        self.exclusions: list[tuple[Any, ...]] = []
        excluded = bytearray(self.size)
        over_until = self.begins(self.local_day(self.place(self.history.now)))
        for match in re.finditer(b"[" + re.escape(DOWN) + b"]+", self.states):
            began, ended = match.span()
            is_open = ended == self.size
            out = bytearray(self.size)
            for source, source_id, a, b in self._covering():
                until = self.size if b is None else min(b, self.size)
                x, y = max(a, began), min(until, ended)
                if x < y:
                    out[x:y] = b"\1" * (y - x)
                    lasts = is_open and b is None
                    self.exclusions.append((source, source_id, x, None if lasts else y, began))
            day = self.local_day(began)
            while self.has_hours and self.begins(day) < ended:
                a, b = max(self.begins(day), began), min(self.begins(day + timedelta(1)), ended)
                if is_open:
                    b = min(b, over_until)
                for hole in re.finditer(b"\1+", self.closed[a:b] if a < b else b""):
                    x, y = a + hole.start(), a + hole.end()
                    out[x:y] = b"\1" * (y - x)
                    self.exclusions.append(("opening_hours", 0, x, y, began))
                day += timedelta(1)
            excluded[began:ended] = out[began:ended]
            before = [number for number, (at, _) in enumerate(self.history.sessions) if self.place(at) < began]
            after = [number for number, (at, _) in enumerate(self.history.sessions) if self.place(at) >= ended]
            errors = [
                error
                for at, source, _, error in sorted(self.history.statuses)
                if source == "evse" and began <= self.place(at) < ended and error != "NoError"
            ]
            self.outages.append(
                {
                    "began": began,
                    "ended": None if is_open else ended,
                    "cause": self._cause(began, ended, is_open=is_open),
                    "error_code": errors[0] if errors else None,
                    "outage_s": None if is_open else 60 * (ended - began),
                    "excluded_s": None if is_open else 60 * sum(out[began:ended]),
                    "before": before[-1] + 1 if before else None,
                    "after": after[0] + 1 if after and not is_open else None,
                }
            )
        self.excluded = bytes(excluded)

    def _cause(self, began: int, ended: int, *, is_open: bool) -> str:
        counted = ended
        if is_open:  # the present stretch does not count
            edges = [self.place(at) for at, *_ in self.history.statuses] + [began]
            edges += [self.place(each) for each in self.history.gap or ()]
            counted = max(edge for edge in edges if began <= edge < ended and (edge == began or self._differs(edge)))
        states = self.states[began:counted] or self.states[began : began + 1]
        longest = max(map(states.count, set(states)))
        return next(STATES[state - 1] for state in states if states.count(state) == longest)

    def _differs(self, index: int) -> bool:
        layers = (self.words["evse"], self.words["network"], self.blind)
        return any(layer[index] != layer[index - 1] for layer in layers)

    def days(self) -> list[dict[str, Any]]:
        known = [index for index in range(len(STATES)) if STATES[index] != "unknown"]
        first = re.search(b"[" + re.escape(bytes(index + 1 for index in known)) + b"]", self.states)
        if first is None:
            return []
        day = self.local_day(first.start())
        last = self.local_day(self.place(self.history.now)) - timedelta(1)
        if self.is_gone:
            last = min(last, self.local_day(self.end - 1))
        found = []
        while day <= last:
            a, b = self.begins(day), self.begins(day + timedelta(1))
            states, closed = self.states[a:b], self.closed[a:b]
            seconds = {f"{state}_s": 60 * states.count(BYTE[state]) for state in STATES}
            seconds["unknown_s"] += 60 * states.count(0)
            pairs = list(zip(states, closed, strict=True)) if any(closed) else []
            started = [(self.place(at), energy) for at, energy in self.history.sessions if a <= self.place(at) < b]
            found.append(
                {
                    "day": day,
                    "began": a,
                    "ended": b,
                    "day_s": 60 * (b - a),
                    **seconds,
                    "observed_s": 60 * sum(self.observed[a:b]),
                    "closed_s": 60 * sum(closed),
                    "not_working_closed_s": 60
                    * sum(is_closed for state, is_closed in pairs if state in (BYTE["faulted"], BYTE["unavailable"])),
                    "unmeasured_closed_s": 60
                    * sum(is_closed for state, is_closed in pairs if not state or state in NOT_MEASURED),
                    "excluded_s": 60 * sum(self.excluded[a:b]),
                    "sessions": len(started),
                    "attempts": len(started),
                    "energy_wh": sum((Decimal(energy) / 1000 for _, energy in started), Decimal(0)),
                }
            )
            day += timedelta(1)
        return found

    def months(self) -> list[dict[str, Any]]:
        days = self.days()
        if not days:
            return []
        down = bytearray(self.size)
        for _, _, began, ended, kind, is_deleted in self.history.periods:
            a, b = self.place(began), self.size if ended is None else self.place(ended)
            if kind == "downtime" and not is_deleted and a < b:
                down[a:b] = b"\1" * (b - a)
        today = self.local_day(self.place(self.history.now))
        found = []
        month = days[0]["day"].replace(day=1)
        while month < today.replace(day=1):
            after = (month + timedelta(32)).replace(day=1)
            first = date(after.year - 1, after.month, 1)
            within = [each for each in days if first <= each["day"] < after]
            if within:
                outage = sum(each["faulted_s"] + each["unavailable_s"] + each["offline_s"] for each in within)
                excluded = sum(each["excluded_s"] for each in within)
                known = sum(each["day_s"] - each["unknown_s"] for each in within)
                whole = 60 * (self.begins(after) - self.begins(first))
                a, b = (max(self.begins(each), 0) for each in (first, after))
                found.append(
                    {
                        "month": month,
                        "days": sum(each["unknown_s"] < each["day_s"] for each in within),
                        "outage_s": outage,
                        "excluded_s": excluded,
                        "nevi_uptime_percent": percent(525_600 * 60 - outage + excluded, 525_600 * 60),
                        "known_s": known,
                        "up_share_percent": percent(known - outage, known) if known else None,
                        "coverage_percent": percent(known, whole),
                        "ampeco_downtime_s": 60 * sum(down[a:b]),
                        "meets_97": outage - excluded < 525_600 * 60 * 3 / 100,
                    }
                )
            month = after
        return found


def percent(part: int, whole: int) -> Decimal:
    return (Decimal(100) * part / whole).quantize(Decimal("0.001"), ROUND_HALF_UP)


# --- What is derived --------------------------------------------------------------------------------------------------


class Deriving:
    """Derives for one tenant at times that the test chooses."""

    def __init__(self, engine: Engine, tenant: str, gaps: list[Period]) -> None:
        self.engine, self.tenant, self.gaps, self.last = engine, tenant, gaps, 0

    def round(self, now: datetime, write_sessions: Callable[[Work], None] = lambda _: None) -> int:
        """Derive what is marked, and return how many rows changed."""
        with self.engine.begin() as connection:
            work = Work(connection, self.tenant, now, self.last)
            taken = text("DELETE FROM analytics.dirty WHERE tenant = :tenant RETURNING kind, entity_id, changed_since")
            for kind, entity_id, since in connection.execute(taken, {"tenant": self.tenant}):
                widen(work.marked.setdefault(kind, {}), entity_id, since)
            master.derive(work)
            evse_states.derive(work, self.gaps, None)
            write_sessions(work)
            availability.derive(work)
            changed, self.last = work.last - self.last, work.last
        return changed


def write_site(connection: Connection, tenant: str, zone: str, opening: Any, at: datetime) -> None:
    working_hours = {"isAlwaysOpen": opening is None, "hours": opening}
    values: dict[str, tuple[int, dict[str, Any]]] = {
        "location": (LOCATION, {"timezone": zone, "working_hours": working_hours, "raw": {}}),
        "charge_point": (CHARGE_POINT, {"location_id": LOCATION, "raw": {}}),
        "evse": (EVSE, {"charge_point_id": CHARGE_POINT, "raw": {}}),
    }
    facts = [
        fact_from_read(kind, entity_id, "master", at, columns, began_at=at)
        for kind, (entity_id, columns) in values.items()
    ]
    write_changes(connection, tenant, ChangeSet(facts=facts))


def write_period(connection: Connection, tenant: str, history: History, number: int, *, is_corrected: bool) -> None:
    """Write a downtime period as it was shown first, with another beginning and end, or as it is."""
    subject, period_id, began, ended, kind, is_deleted = history.periods[number]
    at = history.at(MINUTES + 1000 * is_corrected)
    values = {
        "charge_point_id": CHARGE_POINT,
        "started_at": history.at(began if is_corrected else began + 700),
        "ended_at": (None if ended is None else history.at(ended)) if is_corrected else None,
        "type": kind if is_corrected else "exempt",
        "raw": {},
    }
    if subject == "evse":
        values["evse_id"] = EVSE
    kind_of_period = f"{subject}_downtime_period"
    facts = [fact_from_read(kind_of_period, period_id, "master", at, values, began_at=at)]
    if is_deleted and is_corrected:
        gone = {"deleted_at": at}
        facts.append(fact_from_read(kind_of_period, period_id, "presence", at, gone, began_at=at, rank="0"))
    write_changes(connection, tenant, ChangeSet(facts=facts))


def steps(history: History, tenant: str, entered: dict[int, int]) -> list[Callable[[Connection], None]]:
    """The history in parts, each written by itself; the order is any."""
    found: list[Callable[[Connection], None]] = []

    def status(each: tuple[int, str, str, str]) -> Callable[[Connection], None]:
        at, source, word, error = each
        changes = ChangeSet()
        common = {"observed_at": history.at(at), "source": "notification"}
        if source == "evse":
            row = {"evse_id": EVSE, "hardware_status": word, "error_code": error, **common}
            changes.observe("evse_status_observation", row)
        else:
            row = {"charge_point_id": CHARGE_POINT, "network_status": word, **common}
            changes.observe("charge_point_network_observation", row)
        return lambda connection: void(write_changes(connection, tenant, changes))

    def entry(number: int) -> Callable[[Connection], None]:
        subject, began, ended, is_withdrawn = history.entries[number]
        ids = {"evse": EVSE, "charge_point": CHARGE_POINT, "location": LOCATION}

        def enter(connection: Connection) -> None:
            end = None if ended is None else history.at(ended)
            new = NewExclusion(subject, ids[subject], history.at(began), end, "vandalism", None, "me")  # type: ignore[arg-type]
            entered[number] = add_exclusion(connection, tenant, new)

        def withdraw(connection: Connection) -> None:
            if number not in entered:
                enter(connection)
            assert withdraw_exclusion(connection, tenant, entered[number], history.at(0))

        found.append(enter) if not is_withdrawn else None
        return withdraw if is_withdrawn else enter

    found += [status(each) for each in history.statuses]
    for number in range(len(history.periods)):
        for is_corrected in (False, True):
            found.append(
                lambda connection, number=number, is_corrected=is_corrected: write_period(  # type: ignore[misc]
                    connection, tenant, history, number, is_corrected=is_corrected
                )
            )
    for number in range(len(history.entries)):
        write = entry(number)
        if write not in found:
            found.append(write)
    for zone, opening, at in (("Asia/Tokyo", HOURS[2], 0), (history.zone, history.hours, 1)):
        found.append(
            lambda connection, zone=zone, opening=opening, at=at: write_site(  # type: ignore[misc]
                connection, tenant, zone, opening, history.at(at)
            )
        )
    if history.gone_at is not None:
        gone = {"deleted_at": history.at(history.gone_at)}
        fact = fact_from_read(
            "evse", EVSE, "presence", history.at(history.gone_at), gone, began_at=history.at(history.gone_at), rank="0"
        )
        found.append(lambda connection: void(write_changes(connection, tenant, ChangeSet(facts=[fact]))))
    return found


def void(_: object) -> None:
    """Return nothing."""


def sessions_of(
    history: History, moved: int, tables: tuple[Derived, ...] = (session, charge_attempt, energy_interval)
) -> Callable[[Work], None]:
    """Write the rows of sessions, attempts and energy as the stages before do; first moved by some minutes."""

    def write(work: Work) -> None:
        rows: dict[Any, list[dict[str, Any]]] = {session: [], charge_attempt: [], energy_interval: []}
        for number, (at, energy) in enumerate(history.sessions, 1):
            began = history.at(at + moved)
            empty = {
                derived: dict.fromkeys((*derived.key, *derived.columns))
                for derived in (session, charge_attempt, energy_interval)
            }
            common = {"session_id": number, "evse_id": EVSE}
            flags = dict.fromkeys(("is_final", "is_roaming", "provisional", "conflicting"), False)
            rows[session].append(
                empty[session] | common | flags | {"started_at": began, "outcome": "charged", "status": "finished"}
            )
            rows[charge_attempt].append(
                empty[charge_attempt]
                | common
                | {"source": "session", "source_id": number, "attempted_at": began, "outcome": "charged"}
            )
            rows[energy_interval].append(
                empty[energy_interval]
                | common
                | {"began_at": began, "duration_s": 900, "energy_wh": Decimal(energy) / 1000, "estimated_wh": 0}
                | {"method": "linear", "anomalies": 0}
            )
        scope = dict.fromkeys(range(1, len(history.sessions) + 1))
        for derived in tables:
            work.write_rows(derived, scope, rows[derived])

    return write


def shown(engine: Engine, tenant: str, table: str, order: str) -> list[dict[str, Any]]:
    columns = "*" if table not in ("outage", "exclusion") else "*, nullif(ended_at, 'infinity') AS ended_at"
    statement = text(f"SELECT {columns} FROM analytics.{table} WHERE tenant = :tenant ORDER BY {order}")
    with engine.connect() as connection:
        if table in ("outage", "exclusion"):
            names = connection.execute(
                text("SELECT column_name FROM information_schema.columns WHERE table_name = :name"), {"name": table}
            ).scalars()
            listed = ", ".join("nullif(ended_at, 'infinity') AS ended_at" if n == "ended_at" else n for n in names)
            statement = text(f"SELECT {listed} FROM analytics.{table} WHERE tenant = :tenant ORDER BY {order}")
        return [dict(row) for row in connection.execute(statement, {"tenant": tenant}).mappings()]


def compare(engine: Engine, tenant: str, history: History, entered: dict[int, int]) -> None:
    expected = Expected(history)

    def place(moment: datetime | None) -> int | None:
        return None if moment is None else expected.index(moment)

    outages = [
        {
            "began": place(row["began_at"]),
            "ended": place(row["ended_at"]),
            "before": row["session_before_id"],
            "after": row["session_after_id"],
            **{name: row[name] for name in ("cause", "error_code", "outage_s", "excluded_s")},
        }
        for row in shown(engine, tenant, "outage", "began_at")
    ]
    assert outages == expected.outages
    numbers = {exclusion_id: number for number, exclusion_id in entered.items()}
    exclusions = {
        (
            row["source"],
            numbers[row["source_id"]] if row["source"] == "operator" else row["source_id"],
            place(row["began_at"]),
            place(row["ended_at"]),
            place(row["outage_began_at"]),
        )
        for row in shown(engine, tenant, "exclusion", "began_at")
    }
    assert exclusions == set(expected.exclusions)
    for table, those in (("evse_day", expected.days()), ("evse_uptime_month", expected.months())):
        rows = shown(engine, tenant, table, "day" if table == "evse_day" else "month")
        assert len(rows) == len(those), table
        for row, one in zip(rows, those, strict=True):
            if table == "evse_day":
                row |= {"began": place(row["began_at"]), "ended": place(row["ended_at"])}
                assert row["timezone"] == history.zone
            assert {name: row[name] for name in one} == one
            assert (row["charge_point_id"], row["location_id"]) == (CHARGE_POINT, LOCATION)


@settings(
    max_examples=HISTORIES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=PHASES,
)
@given(history=stories(), hour=st.integers(0, 23), seed=st.integers(0, 10_000))
@pytest.mark.parametrize(("zone", "changes_on"), ZONES)
def test_any_order_of_the_facts_ends_in_the_rows_of_a_plain_recomputation(
    engine: Engine, tenants: Iterator[int], zone: str, changes_on: date, history: History, hour: int, seed: int
) -> None:
    history.zone = zone
    history.start = datetime.combine(changes_on - timedelta(3), time(hour), ZoneInfo(zone)).astimezone(UTC)
    tenant, chance = f"t{next(tenants)}", random.Random(seed)
    gaps = (
        [Period(history.at(began), history.at(ended)) for began, ended in [history.gap] if history.gap]
        if history.gap
        else []
    )
    deriving = Deriving(engine, tenant, gaps)
    entered: dict[int, int] = {}
    # When the facts come in any order, and are derived in between while days go by
    waiting = steps(history, tenant, entered)
    chance.shuffle(waiting)
    rounds = chance.randint(1, 5)
    nows = sorted(chance.randint(0, history.now) for _ in range(rounds))
    sessions_come_in, sessions_move_in = sorted(chance.randrange(rounds) for _ in range(2))
    for number, now in enumerate(nows):
        with engine.begin() as connection:
            for step in waiting[number::rounds]:
                step(connection)
        moved = chance.choice((-2000, 2000)) if number == sessions_come_in else 0
        is_written = number in (sessions_come_in, sessions_move_in)
        deriving.round(history.at(now), sessions_of(history, moved) if is_written else lambda _: None)
    deriving.round(history.at(history.now), sessions_of(history, chance.choice((-2000, 0, 2000))))
    deriving.round(history.at(history.now), sessions_of(history, 0))
    # Then the rows are those of the plain recomputation
    compare(engine, tenant, history, entered)
    # And deriving everything again changes nothing
    with engine.begin() as connection:
        mark_all(connection, tenant)
    assert deriving.round(history.at(history.now)) == 0


def written_and_derived(engine: Engine, tenant: str, history: History, *nows: int) -> Deriving:
    """Write the whole history, and derive at these minutes."""
    deriving = Deriving(engine, tenant, [])
    with engine.begin() as connection:
        for step in steps(history, tenant, {}):
            step(connection)
    for now in nows:
        deriving.round(history.at(now))
    return deriving


@pytest.mark.parametrize(
    ("table", "counted"),
    [(session, "sessions"), (charge_attempt, "attempts"), (energy_interval, "CAST(energy_wh > 0 AS integer)")],
    ids=["session", "attempt", "energy"],
)
def test_a_start_that_is_corrected_leaves_the_day_to_which_it_belonged(
    engine: Engine, tenants: Iterator[int], table: Derived, counted: str
) -> None:
    tenant = f"t{next(tenants)}"
    start = datetime(2025, 12, 30, 22, tzinfo=UTC)
    history = History("Europe/Sofia", None, start, [(0, "evse", "available", "NoError")], None, None, 6 * 1440)
    history.sessions = [(4 * 1440 + 60, 5_000)]
    deriving = written_and_derived(engine, tenant, history)
    statement = text(f"SELECT {counted} FROM analytics.evse_day WHERE tenant = :tenant ORDER BY day")
    for moved, days in ((-2 * 1440, [0, 0, 1, 0, 0, 0]), (0, [0, 0, 0, 0, 1, 0])):
        deriving.round(history.at(history.now), sessions_of(history, moved, (table,)))
        with engine.connect() as connection:
            assert connection.execute(statement, {"tenant": tenant}).scalars().all() == days


def test_months_of_an_evse_that_is_gone_end_one_after_the_other_without_any_change(
    engine: Engine, tenants: Iterator[int]
) -> None:
    tenant = f"t{next(tenants)}"
    start = datetime(2025, 1, 19, 22, tzinfo=UTC)
    history = History("Europe/Sofia", None, start, [(0, "evse", "available", "NoError")], None, 1440, 0)
    deriving = written_and_derived(engine, tenant, history, 1000)
    for days, months in ((5, 0), (20, 1), (60, 2), (300, 10), (700, 12), (701, 12)):
        deriving.round(history.at(days * 1440))
        assert len(shown(engine, tenant, "evse_uptime_month", "month")) == months
