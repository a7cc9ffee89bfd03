"""Migration 0015 keeps what a database in use holds, under the new names, and gives it back under the old ones."""

from __future__ import annotations

from sqlalchemy import Connection, text

import migrations
from storage.database import create_database_engine


def values(connection: Connection, *statements: str) -> list[list[object]]:
    return [list(connection.execute(text(statement)).scalars()) for statement in statements]


def test_rows_of_a_database_in_use_get_the_new_names_and_the_old_ones_back(empty_database_url: str) -> None:
    engine = create_database_engine(empty_database_url, application_name="tests", pool_size=1)
    # Given rows of the release before
    migrations.upgrade(engine, "0014")
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO ingest.refresh_request (tenant, entity, entity_id, reason)
                VALUES ('t', 'evse', 1, 'contested'), ('t', 'evse', 2, 'changed');
                INSERT INTO ingest.api_usage (tenant, hour_at, reason, calls)
                VALUES ('t', now(), 'guardian', 1), ('t', now(), 'person', 2), ('t', now(), 'refresh', 3);
                INSERT INTO ingest.resend (tenant, resend_id, callback_url, reason, state)
                VALUES ('t', gen_random_uuid(), 'https://example.test', 'person', 'waiting');
                INSERT INTO charging.evse (tenant, evse_id, master_contested) VALUES ('t', 1, true);
                INSERT INTO ingest.total (tenant, settled) VALUES ('t', 7);
            """)
        )
    # When it is migrated, then each is there by its new name
    migrations.upgrade(engine)
    with engine.begin() as connection:
        assert values(
            connection,
            "SELECT reason FROM ingest.refresh_request WHERE kind = 'evse' ORDER BY entity_id",
            "SELECT reason FROM ingest.api_usage ORDER BY calls",
            "SELECT reason FROM ingest.resend",
            "SELECT evse_id FROM charging.evse WHERE master_conflicting",
            "SELECT closed FROM ingest.total",
        ) == [["conflicting", "changed"], ["subscription_monitor", "manual", "refresh"], ["manual"], [1], [7]]
    # And when it goes back, by its old one
    migrations.downgrade(engine, "0014")
    with engine.begin() as connection:
        assert values(
            connection,
            "SELECT reason FROM ingest.refresh_request WHERE entity = 'evse' ORDER BY entity_id",
            "SELECT reason FROM ingest.api_usage ORDER BY calls",
            "SELECT reason FROM ingest.resend",
            "SELECT evse_id FROM charging.evse WHERE master_contested",
            "SELECT settled FROM ingest.total",
        ) == [["contested", "changed"], ["guardian", "person", "refresh"], ["person"], [1], [7]]
    engine.dispose()
