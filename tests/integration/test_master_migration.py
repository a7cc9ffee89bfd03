"""Migration 0033 makes observations of the revisions that a database in use holds, and gives revisions back."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

import migrations
from storage.database import create_database_engine
from storage.state.changes import ChangeSet
from storage.write import write_changes
from tests.support.analytics import at, fact

SETTLED, PROVISIONAL = "1" + "0" * 20 + ":" + "a" * 16, "000:" + "b" * 16

REVISIONS = """
SELECT kind, entity_id, column_group, fact_at, changed_from, changed_to, source, notification_id
  FROM charging.master_revision
 ORDER BY kind, entity_id, column_group, fact_at, fact_version
"""


def revise(
    connection: Connection,
    key: tuple[str, int, str],
    minute: int,
    changed_from: str,
    changed_to: str,
    *,
    version: str = SETTLED,
    notification_id: str | None = None,
) -> None:
    """Store a revision as the release before did."""
    connection.execute(
        text("""
            INSERT INTO charging.master_revision (
                   tenant, kind, entity_id, column_group, fact_at, fact_version, changed_from, changed_to, source,
                   notification_id)
            VALUES ('t', :kind, :entity_id, :column_group, :at, :version, CAST(:changed_from AS jsonb),
                   CAST(:changed_to AS jsonb), :source, :notification_id)
            """),
        {
            **dict(zip(("kind", "entity_id", "column_group"), key, strict=True)),
            "at": at(minute),
            "version": version,
            "changed_from": changed_from,
            "changed_to": changed_to,
            "source": "read" if version == SETTLED else "notification",
            "notification_id": notification_id,
        },
    )


@pytest.fixture
def engine(empty_database_url: str) -> Any:
    """A database of the release before, with entities that changed."""
    engine = create_database_engine(empty_database_url, application_name="tests", pool_size=1)
    migrations.upgrade(engine, "0032")
    evse, boot, location = ("evse", 7, "master"), ("charge_point", 8, "boot"), ("location", 9, "master")
    notification_id = "0199a000-0000-7000-8000-000000000001"
    with engine.begin() as connection:
        present = {"at0": at(0), "at5": at(5), "at9": at(9), "settled": SETTLED, "provisional": PROVISIONAL}
        for statement in (
            "INSERT INTO charging.evse (tenant, evse_id, label, status, max_power_w, master_at, master_version)"
            " VALUES ('t', 7, 'C', 'enabled', 50.5, :at9, :settled), ('t', 70, 'never changed', 'new', 1, :at0, :settled)",
            "INSERT INTO charging.charge_point (tenant, charge_point_id, firmware_version, boot_at, boot_version)"
            " VALUES ('t', 8, '2', :at5, :settled)",
            "INSERT INTO charging.location (tenant, location_id, name, status, master_at, master_version)"
            " VALUES ('t', 9, 'provisional', NULL, :at9, :provisional)",
            "INSERT INTO charging.resource (tenant, kind, resource_id, raw, master_at, master_version)"
            """ VALUES ('t', 'parking_space', 6, '{"status": "enabled", "label": "P"}', :at0, :settled)""",
        ):
            used = {name: value for name, value in present.items() if f":{name}" in statement}
            connection.execute(text(statement.replace('": ', '"\\: ')), used)
        revise(connection, evse, 3, '{"label": "A"}', '{"label": "B"}')
        revise(connection, evse, 5, '{"label": "B", "max_power_w": 50}', '{"label": "C", "max_power_w": 50.5}')
        revise(connection, boot, 2, "{}", "{}", notification_id=notification_id)
        revise(connection, boot, 5, '{"firmware_version": "1"}', '{"firmware_version": "2"}')
        # A notification lacks the status until a read follows, twice; of the second one, the read is missing yet
        notified = {"version": PROVISIONAL, "notification_id": notification_id}
        revise(
            connection, location, 3, '{"name": "old", "status": "on"}', '{"name": "new", "status": null}', **notified
        )
        revise(connection, location, 4, '{"name": "old"}', '{"name": "new"}')
        revise(
            connection,
            location,
            9,
            '{"name": "new", "status": "on"}',
            '{"name": "provisional", "status": null}',
            **notified,
        )
    yield engine
    engine.dispose()


def rows(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def test_what_entities_were_is_kept_and_given_back(engine: Engine) -> None:
    before = rows(engine, REVISIONS)
    migrations.upgrade(engine)
    assert rows(engine, REVISIONS) == before
    assert rows(
        engine,
        "SELECT kind, tracked ->> 'label', tracked ->> 'status', tracked -> 'max_power_w' FROM charging.master_observation"
        " WHERE kind IN ('evse', 'parking_space') ORDER BY kind, entity_id, fact_at",
    ) == [
        ("evse", "A", "enabled", 50),
        ("evse", "B", "enabled", 50),
        ("evse", "C", "enabled", 50.5),
        # The present row shows a later time of change than its last revision
        ("evse", "C", "enabled", 50.5),
        ("evse", "never changed", "new", 1),
        ("parking_space", None, "enabled", None),
    ]
    # What follows is compared with what was kept
    with engine.begin() as connection:
        write_changes(
            connection, "t", ChangeSet(facts=[fact("evse", 7, 11, label="D", status="enabled", max_power_w=50.5)])
        )
    added = [row for row in rows(engine, REVISIONS) if row not in before]
    assert [row[4:6] for row in added] == [({"label": "C"}, {"label": "D"})]
    migrations.downgrade(engine, "0032")
    assert rows(engine, REVISIONS) == sorted([*before, *added], key=lambda row: row[:4])
