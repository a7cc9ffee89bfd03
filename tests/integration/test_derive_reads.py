"""What a round reads grows with what has changed, and not with the history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, Row, text

from bench.growth import daily_changes, derive_everything_marked, load_charging
from bench.signed import TENANT
from storage.database import create_database_engine
from storage.database_url import conninfo
from storage.state.marks import mark_all
from storage.write import write_changes

#: The histories of EVSEs, of which a list of EVSEs with times asks for an unknown part. Of other tables, which are joined
#: by their keys alone, as many rows as here are read faster as a whole than by an index.
HISTORIES = ["analytics.evse_state_interval", "analytics.energy_interval"]

#: How many times as many rows the planner is made to expect: it reads no large table as a whole if an index serves.
LARGER = 1_000

#: A table with fewer rows is not looked at.
MANY_ROWS = 1_000

#: The largest part of such a table that a few of its entities may ask for.
PART = 0.25

READ_ROWS = """
SELECT schemaname || '.' || relname AS name,
       seq_tup_read AS in_sequence,
       coalesce((SELECT sum(idx_tup_read) FROM pg_stat_user_indexes AS index WHERE index.relid = known.relid), 0)
           AS by_index,
       n_live_tup AS stored
  FROM pg_stat_user_tables AS known
 WHERE schemaname IN ('analytics', 'charging')
"""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=1)
    yield made
    made.dispose()


def read_rows(engine: Engine) -> dict[str, Row[Any]]:
    """How many rows of each table were read since ever, in sequence and by an index, and how many it has."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
    with engine.connect() as connection:
        return {row.name: row for row in connection.execute(text(READ_ROWS))}


def expect_large_tables(database_url: str) -> None:
    """Let the planner believe that each table has many more rows than it has."""
    with psycopg.connect(conninfo(database_url)) as connection:
        connection.execute(
            "UPDATE pg_class SET reltuples = reltuples * %s WHERE reltuples > 0"
            " AND relnamespace IN (CAST('analytics' AS regnamespace), CAST('charging' AS regnamespace))",
            [LARGER],
        )


def test_rounds_of_daily_changes_read_a_part_of_each_table_that_grows(database_url: str, engine: Engine) -> None:
    # Given the history of some EVSEs
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        parameters = load_charging(connection, 20, lambda _: None, sessions=250, samples=2, days=60)
        with engine.begin() as marking:
            mark_all(marking, TENANT)
        derive_everything_marked(engine)
        connection.execute("VACUUM ANALYZE")

    def change_daily(first: int) -> None:
        for number in range(first, first + 3):
            with engine.begin() as writing:
                write_changes(writing, TENANT, daily_changes(number, parameters, changed=3))
            derive_everything_marked(engine)

    # When a few of them change, then no history is read in sequence
    before = read_rows(engine)
    change_daily(0)
    after = read_rows(engine)
    assert [name for name in HISTORIES if after[name].in_sequence > before[name].in_sequence] == []
    # When tables are planned for as if there were years of many EVSEs, then only a part of each is read, in sequence or by an index
    expect_large_tables(database_url)
    engine.dispose()  # an open connection has its own idea of the sizes
    before = after
    change_daily(3)
    after = read_rows(engine)
    grown = {name for name, row in before.items() if row.stored >= MANY_ROWS}
    assert grown >= {"analytics.session", "analytics.evse_day", "charging.session", *HISTORIES}
    read = {
        name: after[name].in_sequence - before[name].in_sequence + after[name].by_index - before[name].by_index
        for name in grown
    }
    assert {name: rows for name, rows in read.items() if rows > PART * before[name].stored} == {}
