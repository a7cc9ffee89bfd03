"""The publication of the contract: every table is in it, and a subscriber gets each row, change and removal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, make_url, text

import migrations
from analytics import contract
from storage.database import create_database_engine
from tests.support.databases import database_user, named
from tests.support.servers import DATABASE, PostgresServer, own_postgres
from tests.support.service import eventually

PUBLICATION = "ampeco_analytics"
SUBSCRIBER = "subscriber"


def test_every_table_of_the_contract_is_published_and_no_other(connection: Connection) -> None:
    statement = text("SELECT tablename FROM pg_publication_tables WHERE pubname = :name AND schemaname = 'analytics'")
    published = set(connection.execute(statement, {"name": PUBLICATION}).scalars())
    assert published == {table.name for table in contract.tables()}, (
        "A migration that makes or drops a table of the contract must also run"
        f" `ALTER PUBLICATION {PUBLICATION} ADD TABLE …` or `DROP TABLE …`."
    )
    through_root = text("SELECT pubviaroot FROM pg_publication WHERE pubname = :name")
    assert connection.execute(through_root, {"name": PUBLICATION}).scalar_one()


def test_an_owner_who_is_no_superuser_makes_it(empty_database_url: str) -> None:
    administrator = create_database_engine(empty_database_url, application_name="tests", pool_size=1)
    with database_user(administrator, "publisher") as url:
        name, database = make_url(url).username, make_url(url).database
        with administrator.begin() as connection:
            connection.execute(text(f"GRANT CREATE ON DATABASE {database} TO {name}"))
        owner = create_database_engine(url, application_name="tests", pool_size=1)
        migrations.upgrade(owner)
        with owner.connect() as connection:
            assert connection.execute(text("SELECT pubname FROM pg_publication")).scalars().all() == [PUBLICATION]
        owner.dispose()
    administrator.dispose()


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server with logical replication and two migrated databases."""
    with own_postgres() as server:
        server.stop()
        server.settings["wal_level"] = "logical"
        server.start()
        with server.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {SUBSCRIBER}")
        for database in (DATABASE, SUBSCRIBER):
            engine = create_database_engine(named(server.url, database), application_name="tests", pool_size=1)
            migrations.upgrade(engine)
            engine.dispose()
        yield server


def test_a_subscriber_gets_rows_updates_and_removals(server: PostgresServer) -> None:
    with server.connect() as publisher, server.connect(SUBSCRIBER) as subscriber:
        # Given a row before the subscription, and tables of the subscriber without rows
        insert = (
            "INSERT INTO analytics.evse_state_interval (tenant, evse_id, began_at, ended_at, state, coverage,"
            " change_number, changed_at) VALUES ('t', %s, '2026-03-04', 'infinity', 'available', 'observed', %s, now())"
        )
        publisher.execute(insert, (902, 1))
        subscriber.execute("TRUNCATE analytics.contract")
        # Within one server, the slot must be made before the subscription
        publisher.execute("SELECT pg_create_logical_replication_slot('analysts', 'pgoutput')")
        subscriber.execute(
            f"CREATE SUBSCRIPTION analysts CONNECTION 'host={server.directory} user=postgres dbname={DATABASE}'"
            f" PUBLICATION {PUBLICATION} WITH (create_slot = false, slot_name = 'analysts')"
        )

        def arrived(*rows: tuple[object, ...]) -> None:
            query = "SELECT evse_id, state, change_number FROM analytics.evse_state_interval ORDER BY evse_id"
            eventually(lambda: subscriber.execute(query).fetchall() == list(rows), seconds=60)

        arrived((902, "available", 1))
        eventually(lambda: subscriber.execute("SELECT major FROM analytics.contract").fetchall() == [(1,)], seconds=60)
        # When rows are added, changed and removed, then the subscriber's follow
        publisher.execute(insert, (903, 2))
        arrived((902, "available", 1), (903, "available", 2))
        publisher.execute(
            "UPDATE analytics.evse_state_interval SET state = 'faulted', change_number = 3 WHERE evse_id = 902"
        )
        arrived((902, "faulted", 3), (903, "available", 2))
        publisher.execute("DELETE FROM analytics.evse_state_interval WHERE evse_id = 903")
        publisher.execute("INSERT INTO analytics.removal VALUES ('t', 4, 'evse_state_interval', '{}', now())")
        arrived((902, "faulted", 3))
        # And computed columns are computed there
        publisher.execute(
            "INSERT INTO analytics.energy_interval (tenant, session_id, began_at, duration_s, energy_wh, estimated_wh,"
            " method, anomalies, change_number, changed_at) VALUES ('t', 1, now(), 900, 1500, 0, 'register', 0, 5, now())"
        )
        energy = "SELECT energy_kwh FROM analytics.energy_interval"
        eventually(lambda: [float(str(row[0])) for row in subscriber.execute(energy)] == [1.5], seconds=60)
        # What is no part of the contract stays
        publisher.execute("INSERT INTO analytics.dirty (tenant, kind, entity_id) VALUES ('t', 'evse', 902)")
        publisher.execute("INSERT INTO analytics.removal VALUES ('t', 6, 'evse_state_interval', '{}', now())")
        removals = "SELECT count(*) FROM analytics.removal"
        eventually(lambda: subscriber.execute(removals).fetchone() == (2,), seconds=60)
        assert subscriber.execute("SELECT count(*) FROM analytics.dirty").fetchone() == (0,)
        subscriber.execute("DROP SUBSCRIPTION analysts")
        assert publisher.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)


def test_a_subscriber_gets_meter_values_through_their_table_and_keeps_dropped_months(server: PostgresServer) -> None:
    with server.connect() as publisher, server.connect(SUBSCRIBER) as subscriber:
        # Given a publication as the documentation shows it
        publisher.execute(
            "CREATE PUBLICATION samples FOR TABLE charging.meter_value"
            " WITH (publish = 'insert', publish_via_partition_root = true)"
        )
        publisher.execute("SELECT pg_create_logical_replication_slot('samples', 'pgoutput')")
        subscriber.execute(
            f"CREATE SUBSCRIPTION samples CONNECTION 'host={server.directory} user=postgres dbname={DATABASE}'"
            " PUBLICATION samples WITH (create_slot = false, slot_name = 'samples')"
        )
        insert = (
            "INSERT INTO charging.meter_value (tenant, session_id, measured_at, measurand, ordinal, value)"
            " VALUES ('t', %s, %s, 'Voltage', 0, 230)"
        )
        counted = "SELECT session_id FROM charging.meter_value ORDER BY session_id"

        def arrived(*sessions: int) -> None:
            eventually(lambda: [row[0] for row in subscriber.execute(counted)] == list(sessions), seconds=60)

        # When samples of several partitions arrive, one of them in a month that the publisher makes afterwards
        publisher.execute(insert, (1, "1970-01-01 00:00+00"))
        publisher.execute(insert, (2, "2099-01-01 00:00+00"))
        arrived(1, 2)
        publisher.execute(
            "INSERT INTO charging.meter_value SELECT 't', 3, now() + interval '62 days', 'Voltage', 0, 230"
        )
        publisher.execute("SELECT ingest.make_meter_partitions(3)")
        publisher.execute(insert, (4, datetime.now(UTC)))
        # Then the subscriber has each once, and keeps those of a partition that is dropped
        arrived(1, 2, 3, 4)
        publisher.execute(
            "DO $$ BEGIN EXECUTE (SELECT 'DROP TABLE charging.' || relname FROM pg_class"
            " WHERE relname ~ '^meter_value_before_[0-9]{6}$'); END $$"
        )
        publisher.execute(insert, (5, datetime.now(UTC)))
        arrived(1, 2, 3, 4, 5)
        subscriber.execute("DROP SUBSCRIPTION samples")
