"""In whatever order the facts of a site come, together or one by one, what is derived of them is the same.

A world is written at once and derived once; then in random orders, with rounds of deriving in between. All tables for
analysts must be equal, and deriving everything again must change nothing. ``make soak`` draws new worlds for
``SOAK_MINUTES``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, text

from storage.database import create_database_engine
from storage.schema.tables import metadata
from storage.schema_names import ANALYTICS, CHARGING
from storage.state.changes import ChangeSet
from storage.write import write_changes
from tests.support.analytics import DERIVED, at, changes_of_deriving_everything, content, derive, empty
from tests.support.worlds import World, together

#: Worlds of an ordinary run, chosen because some differ if a move marks one of both parents, and some if rows that move
#: are not noticed; they are to be chosen again when worlds change. And the orders in which each is written.
SEEDS = (0, 25, 39)
ORDERS = 2

#: The name of what deriving everything again changes, among the tables.
AGAIN = "derived again"

WRITTEN = [
    *(table.fullname for table in metadata.tables.values() if table.schema == CHARGING),
    *(f"{ANALYTICS}.{name}" for name in (*DERIVED, "feed", "removal", "dirty", "finding_due")),
]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=1)
    with made.begin() as connection:
        alive = text("INSERT INTO ingest.uptime VALUES (:since, now() + interval '1 day')")
        connection.execute(alive, {"since": at(0)})
    yield made
    made.dispose()


@pytest.fixture(autouse=True)
def _every_round_looks_for_what_time_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analytics.findings.due.INTERVAL", timedelta(0))


def shown(engine: Engine, parts: Iterable[ChangeSet], chance: Random | None = None) -> dict[str, list[dict[str, Any]]]:
    """Write parts into empty tables; return what is derived of them that must not depend on their order.

    Beside the tables, how much deriving everything again changes.
    """
    empty(engine, WRITTEN)
    for part in parts:
        with engine.begin() as connection:
            write_changes(connection, "t", part)
        if chance is not None and chance.random() < 0.6:
            derive(engine)
    derive(engine)
    tables = content(engine, *DERIVED)
    # Findings remain that were so for a while
    findings = [row | {"first_seen_at": None} for row in tables["finding"] if row["resolved_at"] is None]
    # A read settles what came before it and not what comes after, so the order may decide whether one is awaited
    sessions = [row | {"conflicting": None} for row in tables["session"]]
    again = [{"changes": changes_of_deriving_everything(engine)}]
    return tables | {"finding": findings, "session": sessions, AGAIN: again}


def compare_orders(engine: Engine, seed: int) -> None:
    """Compare a world in all orders; again, if an hour has ended, because a day may have begun somewhere."""
    while True:
        hour = datetime.now(UTC).hour
        world, chance = World(seed), Random(seed)
        expected = shown(engine, [together(world.parts)])
        others = [shown(engine, world.in_another_order(chance), chance) for _ in range(ORDERS)]
        if datetime.now(UTC).hour == hour:
            break
    assert expected[AGAIN] == [{"changes": 0}], f"world {seed}"
    for found in others:
        assert found == expected, f"world {seed}"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_facts_of_a_world_may_come_in_any_order(engine: Engine, seed: int) -> None:
    compare_orders(engine, seed)


def test_the_worlds_reach_every_table(engine: Engine) -> None:
    rows = [shown(engine, [together(World(seed).parts)]) for seed in SEEDS]
    assert {table for tables in rows for table in tables if tables[table]} == {*DERIVED, AGAIN}


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_new_worlds_may_as_well_for_as_long_as_is_asked(engine: Engine) -> None:
    minutes = float(os.environ.get("SOAK_MINUTES", "10"))
    began, seed, worlds = time.monotonic(), int(time.time()), 0
    print(f"the first world is {seed}")  # noqa: T201 - a world that differs is to be found again
    while time.monotonic() - began < minutes * 60:
        compare_orders(engine, seed + worlds)
        worlds += 1
        if worlds % 20 == 0:
            print(f"{time.monotonic() - began:5.0f} s: {worlds} worlds, each in {ORDERS + 1} orders, 0 differences")  # noqa: T201 - a run of an hour shows its progress
