"""Derived states are those of a plain recomputation, whatever order and lateness the observations came in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from storage.state.changes import ChangeSet
from storage.state.fold import fact_from_read
from storage.state.marks import mark_all
from storage.write import write_changes
from tests.support.analytics import derive

START = datetime(2026, 3, 4, tzinfo=UTC)
HISTORIES = 40
EVSE, CHARGE_POINT = 902, 418

TABLES = {
    "evse": ("evse_status_observation", "evse_id", EVSE, "hardware_status"),
    "charge_point": ("charge_point_hardware_observation", "charge_point_id", CHARGE_POINT, "hardware_status"),
    "network": ("charge_point_network_observation", "charge_point_id", CHARGE_POINT, "network_status"),
}

WORDS = {
    "evse": ("available", "charging", "suspendedEV", "suspendedEVSE", "faulted", "unavailable", "a new word"),
    "charge_point": ("available", "unavailable", "faulted"),
    "network": ("available", "temporarily_unavailable", "long_term_unavailable"),
}


class Status(NamedTuple):
    """A status: the minute at which it began, what it is of, the word, and how we learned of it."""

    minute: int
    source: str
    word: str
    by: str


status = st.sampled_from(sorted(WORDS)).flatmap(
    lambda source: st.builds(
        Status,
        st.integers(0, 120),
        st.just(source),
        st.sampled_from(WORDS[source]),
        st.sampled_from(("notification", "status_log", "read")),
    )
)


def expected(history: list[Status], gaps: list[tuple[int, int]], gone_at: int | None) -> list[tuple[int, str, str]]:
    """The minute, the state and the coverage of each stretch, computed minute by minute."""
    if not history:
        return []
    rank = {"notification": 0, "status_log": 1, "read": 2}
    first = min(each.minute for each in history)
    found: list[tuple[Any, ...]] = []
    for minute in range(first, 400 if gone_at is None else gone_at):
        words: dict[str, Status] = {}
        for source in WORDS:
            known = [each for each in history if each.source == source and each.minute <= minute]
            if known:
                words[source] = max(known, key=lambda each: (each.minute, rank[each.by], each.word))
        is_blind = minute < gaps[0][1] or any(began <= minute < ended for began, ended in gaps)
        if is_blind:
            state, coverage = "unknown", "none"
        else:
            hardware, box, network = (words[name].word if name in words else None for name in sorted(WORDS, key=ORDER))
            if network not in (None, "available"):
                state = "offline"
            elif box in ("unavailable", "faulted") and hardware != "faulted":
                state = str(box)
            else:
                state = MEANING.get(hardware or "", "unknown")
            is_sure = "network" in words and all(each.by != "read" for each in words.values())
            coverage = "observed" if is_sure else "assumed"
        shown = tuple(words[name].word if name in words else None for name in WORDS)
        if not found or found[-1][1:] != (state, coverage, shown):
            found.append((minute, state, coverage, shown))
    return [(minute, state, coverage) for minute, state, coverage, _ in found]


ORDER = ["evse", "charge_point", "network"].index
MEANING = {
    "available": "available",
    "charging": "charging",
    "suspendedEV": "suspended",
    "suspendedEVSE": "suspended",
    "faulted": "faulted",
    "unavailable": "unavailable",
}


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def write(engine: Engine, tenant: str, history: list[Status]) -> None:
    """Write statuses in one transaction."""
    changes = ChangeSet()
    for each in history:
        table, key, entity_id, column = TABLES[each.source]
        changes.observe(table, {key: entity_id, column: each.word, "observed_at": at(each.minute), "source": each.by})
    with engine.begin() as connection:
        write_changes(connection, tenant, changes)


def derived(engine: Engine, tenant: str) -> list[Any]:
    statement = text(
        "SELECT extract(epoch FROM began_at - :start) / 60, state, coverage, change_number"
        " FROM analytics.evse_state_interval WHERE tenant = :tenant ORDER BY began_at"
    )
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(statement, {"tenant": tenant, "start": START})]


@settings(
    max_examples=HISTORIES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
@given(
    history=st.lists(status, max_size=14, unique_by=lambda each: (each.minute, each.source, each.word)),
    gap=st.one_of(st.none(), st.tuples(st.integers(5, 60), st.integers(1, 60))),
    gone_at=st.one_of(st.none(), st.integers(100, 150)),
    seed=st.integers(0, 10_000),
)
def test_any_order_of_the_observations_ends_in_the_states_of_a_plain_recomputation(
    engine: Engine, tenants: Iterator[int], history: list[Status], gap: Any, gone_at: int | None, seed: int
) -> None:
    tenant, chance = f"t{next(tenants)}", random.Random(seed)
    gaps = [(-10_000, -100), *([(gap[0], gap[0] + gap[1])] if gap else [])]
    # Given when receivers were alive, and an EVSE that is there, and perhaps goes
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM ingest.uptime"))
        periods = [(-100, gap[0]), (gap[0] + gap[1], 400)] if gap else [(-100, 400)]
        for began, ended in periods:
            connection.execute(text("INSERT INTO ingest.uptime VALUES (:a, :b)"), {"a": at(began), "b": at(ended)})
        connection.execute(
            text("UPDATE ingest.uptime SET last_beat_at = now() WHERE last_beat_at = :last"), {"last": at(400)}
        )
        values: dict[str, Any] = {"charge_point_id": CHARGE_POINT, "raw": {}}
        master = fact_from_read("evse", EVSE, "master", at(-50), values, began_at=at(-50))
        write_changes(connection, tenant, ChangeSet(facts=[master]))
    # When the observations come in any order, in any number of transactions, with derivations in between
    waiting = chance.sample(history, len(history))
    goes_after: int | None = chance.randrange(len(waiting) + 1)
    while waiting or goes_after is not None:
        size = chance.randint(1, 4)
        write(engine, tenant, waiting[:size])
        waiting = waiting[size:]
        if goes_after is not None and len(waiting) <= goes_after:
            goes_after = None
            if gone_at is not None:
                gone = {"deleted_at": at(gone_at)}
                fact = fact_from_read("evse", EVSE, "presence", at(gone_at), gone, began_at=at(gone_at), rank="0")
                with engine.begin() as connection:
                    write_changes(connection, tenant, ChangeSet(facts=[fact]))
        if chance.random() < 0.6:
            derive(engine, tenant)
    derive(engine, tenant)
    # Then the stretches are those of the plain recomputation
    rows = derived(engine, tenant)
    assert [(int(minute), state, coverage) for minute, state, coverage, _ in rows] == expected(history, gaps, gone_at)
    # And deriving everything again changes nothing
    with engine.begin() as connection:
        mark_all(connection, tenant)
    derive(engine, tenant)
    assert derived(engine, tenant) == rows
