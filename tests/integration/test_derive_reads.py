"""What a round reads grows with what has changed, and not with the history."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Engine, text

from bench.growth import daily_changes, derive_everything_marked, load_charging
from bench.signed import TENANT
from storage.database import create_database_engine
from storage.database_url import conninfo
from storage.state.marks import mark_all
from storage.write import write_changes

#: The tables with the histories of EVSEs. Of others, which are joined by their keys alone, these many rows are read
#: faster as a whole than by an index.
HISTORIES = ["evse_state_interval", "energy_interval"]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=1)
    yield made
    made.dispose()


def read_in_sequence(engine: Engine) -> dict[str, int]:
    """How many rows were read of each history by reading it from its beginning, since ever."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT relname, seq_tup_read FROM pg_stat_user_tables"
                " WHERE schemaname = 'analytics' AND relname = ANY(:names)"
            ),
            {"names": HISTORIES},
        )
        return {row.relname: row.seq_tup_read for row in found}


def test_a_round_of_daily_changes_reads_no_history_as_a_whole(database_url: str, engine: Engine) -> None:
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        parameters = load_charging(connection, 20, lambda _: None, sessions=250, samples=2, days=60)
        with engine.begin() as marking:
            mark_all(marking, TENANT)
        derive_everything_marked(engine)
        connection.execute("VACUUM ANALYZE")
    before = read_in_sequence(engine)
    assert before.keys() == set(HISTORIES)
    for number in range(3):
        with engine.begin() as writing:
            write_changes(writing, TENANT, daily_changes(number, parameters, changed=3))
        derive_everything_marked(engine)
    assert read_in_sequence(engine) == before
