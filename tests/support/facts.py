"""Short ways to say what a test's notifications say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

from ampeco.payloads import parse
from ampeco.redaction import clean
from storage.changes import ChangeSet
from storage.facts import changes_from_notification
from storage.write import write_changes

SAMPLES = Path(__file__).parent.parent / "samples"


def sample(name: str) -> dict[str, Any]:
    """A sample notification, by its file's name without ending."""
    body: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return body


def changes(*bodies: dict[str, Any], requested_by: UUID | None = None) -> ChangeSet:
    """What notifications say together."""
    found = ChangeSet()
    for body in bodies:
        cleaned = clean(body)
        notification_id = requested_by or uuid4()
        found.absorb(changes_from_notification(parse(cleaned), cleaned, notification_id), notification_id)
    return found


def apply(connection: Connection, *bodies: dict[str, Any], tenant: str = "t") -> ChangeSet:
    """Write what notifications say as one chunk does."""
    found = changes(*bodies)
    write_changes(connection, tenant, found)
    return found


OWN_TIMES = ("first_seen_at", "updated_at", "recorded_at", "learned_at", "notification_id")


def rows(connection: Connection, table: str, *, tenant: str = "t") -> list[dict[str, Any]]:
    """A table's rows without our own times: what must not depend on the order of arrival."""
    found = connection.execute(text(f"SELECT * FROM charging.{table} WHERE tenant = :tenant"), {"tenant": tenant})
    shown = [{name: value for name, value in row._mapping.items() if name not in OWN_TIMES} for row in found]
    return sorted(shown, key=str)


def row(connection: Connection, table: str, *, tenant: str = "t") -> dict[str, Any]:
    """The only row of a table."""
    (only,) = rows(connection, table, tenant=tenant)
    return only


def wanted(connection: Connection, *, tenant: str = "t") -> dict[tuple[str, int], str]:
    """The reads that are asked for, with their reasons."""
    found = connection.execute(
        text("SELECT kind, entity_id, reason FROM ingest.refresh_request WHERE tenant = :tenant"),
        {"tenant": tenant},
    )
    return {(entity, entity_id): reason for entity, entity_id, reason in found}
