"""Attempts and visits are those of a plain recomputation, in whatever order authorizations and sessions changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from storage.schema.entities import MIRRORS
from storage.state.changes import ChangeSet
from storage.state.fold import Fact, fact_from_read
from storage.state.marks import mark_all
from storage.write import write_changes
from tests.support.analytics import derive

START = datetime(2026, 3, 4, tzinfo=UTC)
HISTORIES = 60
LOCATIONS = {41: 1, 42: 2}
ENTITIES = st.integers(1, 4)
MAYBE = st.integers(0, 120) | st.none()


class Authorization(NamedTuple):
    """What a read at some minute shows of an authorization."""

    entity_id: int
    minute: int
    status: str | None
    user_id: int | None
    charge_point_id: int | None
    created: int | None
    session_ids: tuple[int, ...] | None


class Session(NamedTuple):
    """What a read at some minute shows of a session."""

    entity_id: int
    minute: int
    status: str | None
    started: int | None
    stopped: int | None
    energy_wh: int | None
    stop_reason: str | None
    user_id: int | None
    charge_point_id: int | None
    authorization_id: int | None


Shown = Authorization | Session

charge_points = st.sampled_from([None, *LOCATIONS, 43])
users = st.sampled_from([None, 0, -3, 5, 6])
authorizations = st.builds(
    Authorization,
    ENTITIES,
    st.integers(0, 200),
    st.sampled_from(["accepted", "rejected", "pending", "a new word", None]),
    users,
    charge_points,
    MAYBE,
    st.none() | st.lists(ENTITIES, max_size=3).map(tuple),
)
sessions = st.builds(
    Session,
    ENTITIES,
    st.integers(0, 200),
    st.sampled_from(["pending", "active", "finished", "finished", "failed", "expired", "unknown", "a new word", None]),
    MAYBE,
    MAYBE,
    st.sampled_from([None, -5, 0, 700, 10**15]),
    st.sampled_from([None, "evdisconnected", "powerloss", "other"]),
    users,
    charge_points,
    ENTITIES | st.none(),
)


class Attempt(NamedTuple):
    """An attempt as the documentation defines it; times are minutes."""

    source: str
    source_id: int
    attempted: Any
    location_id: int | None
    session_id: int | None
    user_id: int | None
    outcome: str | None
    ended: Any
    is_success: bool | None
    is_csr_success: bool | None


def newest(history: list[Shown], kind: type) -> dict[int, Any]:
    """The last read of each entity."""
    found: dict[int, Any] = {}
    for shown in sorted((each for each in history if isinstance(each, kind)), key=lambda each: each.minute):
        found[shown.entity_id] = shown
    return found


def outcome_of(session: Session) -> str:
    if session.status in ("pending", "failed", "expired"):
        return session.status
    if session.stopped is None and session.status != "finished":
        return "running" if session.status in ("active", "unknown") else "unknown"
    if session.energy_wh is None or session.energy_wh >= 10**11:
        return "unknown"
    return "charged" if session.energy_wh > 0 else "empty"


def driver(*users: int | None) -> int | None:
    return next((user for user in users if user is not None and user > 0), None)


def result_of(session: Session) -> tuple[str, int | None, bool | None, bool | None]:
    """The outcome, the end, and both successes of a session."""
    outcome = outcome_of(session)
    if outcome in ("pending", "running", "unknown"):
        return outcome, session.stopped, None, None
    ended = session.started if session.stopped is None else session.stopped
    delivered = session.energy_wh is not None and 0 < session.energy_wh < 10**11
    return outcome, ended, delivered, outcome == "charged" and session.stop_reason != "powerloss"


def expected_attempts(history: list[Shown]) -> list[Attempt]:
    known: dict[int, Authorization] = newest(history, Authorization)
    charged: dict[int, Session] = newest(history, Session)
    attempts, allowed = [], set()
    for request in known.values():
        linked = [
            session
            for session in charged.values()
            if session.entity_id in (request.session_ids or ()) or session.authorization_id == request.entity_id
        ]
        allowed |= {session.entity_id for session in linked}
        if not linked:
            decided = False if request.status in ("accepted", "rejected") else None
            place = LOCATIONS.get(request.charge_point_id or 0)
            attempts.append(
                Attempt(
                    *("authorization", request.entity_id, request.created, place, None, driver(request.user_id)),
                    *(None, request.created, decided, decided),
                )
            )
            continue
        first = min(linked, key=lambda each: (each.started is None, each.started or 0, each.entity_id))
        attempted = first.started if request.created is None else request.created
        # Where the driver asked is what counts, unless AMPECO shows nothing of it.
        place = LOCATIONS.get(request.charge_point_id or 0) or LOCATIONS.get(first.charge_point_id or 0)
        attempts.append(
            Attempt(
                *("authorization", request.entity_id, attempted, place, first.entity_id),
                *(driver(request.user_id, first.user_id), *result_of(first)),
            )
        )
    for session in charged.values():
        if session.entity_id not in allowed:
            place = LOCATIONS.get(session.charge_point_id or 0)
            attempts.append(
                Attempt(
                    *("session", session.entity_id, session.started, place, session.entity_id),
                    *(driver(session.user_id), *result_of(session)),
                )
            )
    return sorted(attempts, key=lambda each: (each.source, each.source_id))


def expected_visits(attempts: list[Attempt]) -> list[tuple[Any, ...]]:
    """Location, driver, begin, end, attempts, successes and the first success of each visit."""
    visits: list[list[Attempt]] = []
    placed = [each for each in attempts if None not in (each.attempted, each.location_id, each.user_id)]
    for each in sorted(placed, key=lambda each: (each.location_id, each.user_id, each.attempted, *each[:2])):
        before = visits[-1][-1] if visits else None
        if before is not None and (before.location_id, before.user_id) == (each.location_id, each.user_id):
            ended = before.attempted if before.ended is None else max(before.ended, before.attempted)
            if each.attempted <= ended + 15:
                visits[-1].append(each)
                continue
        visits.append([each])
    return sorted(
        (
            *(visit[0].location_id, visit[0].user_id, visit[0].attempted),
            None if any(each.ended is None for each in visit) else max(each.ended for each in visit),
            *(len(visit), sum(each.is_success is True for each in visit), visit[0].is_success),
        )
        for visit in visits
    )


def at(minute: int | None) -> datetime | None:
    return None if minute is None else START + timedelta(minutes=minute)


def facts_of(shown: Shown) -> list[Fact]:
    if isinstance(shown, Authorization):
        ids = None if shown.session_ids is None else list(shown.session_ids)
        values: dict[str, Any] = {name: getattr(shown, name) for name in ("status", "user_id", "charge_point_id")}
        values |= {"session_ids": ids, "created_at": at(shown.created)}
        return [fact("authorization", shown.entity_id, "master", shown.minute, values)]
    names = ("status", "energy_wh", "stop_reason", "charge_point_id")
    state = {name: getattr(shown, name) for name in names}
    state |= {"started_at": at(shown.started), "stopped_at": at(shown.stopped)}
    detail = {name: getattr(shown, name) for name in ("user_id", "authorization_id")}
    return [
        fact("session", shown.entity_id, group, shown.minute, values)
        for group, values in (("state", state), ("detail", detail))
    ]


def fact(kind: str, entity_id: int, group: str, minute: int, values: dict[str, Any]) -> Fact:
    columns = dict.fromkeys(MIRRORS[kind].group(group).columns) | {"raw": {}} | values
    columns = {name: value for name, value in columns.items() if name in MIRRORS[kind].group(group).columns}
    moment = START + timedelta(minutes=minute)
    return fact_from_read(kind, entity_id, group, moment, columns, began_at=moment)


def write(engine: Engine, tenant: str, facts: list[Fact]) -> None:
    with engine.begin() as connection:
        write_changes(connection, tenant, ChangeSet(facts=facts))


_MINUTES = "CAST(extract(epoch FROM {} - :start) / 60 AS int)"

_ATTEMPTS = text(f"""
SELECT source, source_id, {_MINUTES.format("attempted_at")}, location_id, session_id, driver_key, outcome,
       {_MINUTES.format("ended_at")}, is_success, is_csr_success
  FROM analytics.charge_attempt
 WHERE tenant = :tenant
 ORDER BY source, source_id
""")

_VISITS = text(f"""
SELECT location_id, driver_key, {_MINUTES.format("began_at")}, {_MINUTES.format("ended_at")}, attempts, succeeded,
       first_attempt_succeeded
  FROM analytics.visit
 WHERE tenant = :tenant
""")

_KEY = text(
    "SELECT left(encode(sha256(secret || int8send(:user_id)), 'hex'), 32) FROM ingest.driver_secret WHERE tenant = :tenant"
)


def derived(engine: Engine, tenant: str) -> tuple[list[Any], list[Any]]:
    """The attempts and the visits, with users in place of their keys."""
    with engine.connect() as connection:
        keys = {
            connection.execute(_KEY, {"tenant": tenant, "user_id": user_id}).scalar(): user_id for user_id in (5, 6)
        } | {None: None}
        rows = connection.execute(_ATTEMPTS, {"tenant": tenant, "start": START}).all()
        attempts = [Attempt._make((*row[:5], keys[row[5]], *row[6:])) for row in rows]
        visits = connection.execute(_VISITS, {"tenant": tenant, "start": START}).all()
        return attempts, sorted((row[0], keys[row[1]], *row[2:]) for row in visits)


def last_number(engine: Engine, tenant: str) -> Any:
    statement = text("SELECT last_change_number FROM analytics.feed WHERE tenant = :tenant")
    with engine.connect() as connection:
        return connection.execute(statement, {"tenant": tenant}).scalar_one()


@settings(
    max_examples=HISTORIES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(
    history=st.lists(
        authorizations | sessions, max_size=14, unique_by=lambda each: (type(each), each.entity_id, each.minute)
    ),
    seed=st.integers(0, 10_000),
)
def test_any_order_of_changes_ends_in_the_attempts_of_a_plain_recomputation(
    engine: Engine, tenants: Iterator[int], history: list[Shown], seed: int
) -> None:
    tenant, chance = f"t{next(tenants)}", random.Random(seed)
    # When reads are written in any order, those of the charge points among them, with derivations in between
    steps = [facts_of(shown) for shown in history]
    steps += [
        [fact("charge_point", charge_point_id, "master", 0, {"location_id": location_id})]
        for charge_point_id, location_id in LOCATIONS.items()
    ]
    chance.shuffle(steps)
    while steps:
        size = chance.randint(1, 4)
        write(engine, tenant, [each for step in steps[:size] for each in step])
        steps = steps[size:]
        if chance.random() < 0.6:
            derive(engine, tenant)
    derive(engine, tenant)
    # Then attempts and visits are those of the plain recomputation
    attempts = expected_attempts(history)
    assert derived(engine, tenant) == (attempts, expected_visits(attempts))
    # And deriving everything again changes nothing
    before = last_number(engine, tenant)
    with engine.begin() as connection:
        mark_all(connection, tenant)
    derive(engine, tenant)
    assert last_number(engine, tenant) == before
