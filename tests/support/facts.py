"""Shortcuts for the changes of a test's notifications, and for the rows that they lead to."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, text

import ampeco
from ampeco.notifications.parsing import parse
from ampeco.privacy.redaction import clean
from storage.state.changes import ChangeSet
from storage.state.notifications import changes_from_notification
from storage.write import write_changes

SAMPLES = Path(ampeco.__file__).parent / "samples"


def sample(name: str) -> dict[str, Any]:
    """Return a sample notification, by its file's name without the extension."""
    body: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return body


def recent(name: str) -> dict[str, Any]:
    """Return a sample hint of a change of this moment, which no stored read shows."""
    return sample(name) | {"lastUpdatedAt": datetime.now(UTC).isoformat()}


def changes(*bodies: dict[str, Any], requested_by: UUID | None = None) -> ChangeSet:
    """Return the change set of notifications together."""
    change_set = ChangeSet()
    for body in bodies:
        cleaned = clean(body)
        notification_id = requested_by or uuid4()
        change_set.absorb(changes_from_notification(parse(cleaned), cleaned, notification_id), notification_id)
    return change_set


def apply(connection: Connection, *bodies: dict[str, Any], tenant: str = "t") -> ChangeSet:
    """Write the changes of notifications as one chunk; return the change set."""
    change_set = changes(*bodies)
    write_changes(connection, tenant, change_set)
    return change_set


OWN_TIMES = ("first_seen_at", "updated_at", "recorded_at", "learned_at", "notification_id")


def rows(connection: Connection, table: str, *, tenant: str = "t") -> list[dict[str, Any]]:
    """Return a table's rows without our own times: what must not depend on the order of arrival."""
    stored = connection.execute(text(f"SELECT * FROM charging.{table} WHERE tenant = :tenant"), {"tenant": tenant})
    compared = [{name: value for name, value in row._mapping.items() if name not in OWN_TIMES} for row in stored]
    return sorted(compared, key=str)


def row(connection: Connection, table: str, *, tenant: str = "t") -> dict[str, Any]:
    """Return the only row of a table."""
    (only,) = rows(connection, table, tenant=tenant)
    return only


def wanted(connection: Connection, *, tenant: str = "t") -> dict[tuple[str, int], str]:
    """Return the refresh requests with their reasons, by kind and id."""
    requests = connection.execute(
        text("SELECT kind, entity_id, reason FROM ingest.refresh_request WHERE tenant = :tenant"),
        {"tenant": tenant},
    )
    return {(kind, entity_id): reason for kind, entity_id, reason in requests}


SESSION_BEGAN = datetime(2026, 3, 4, 8, tzinfo=UTC)


def finished_session(minute: int, **changes: Any) -> dict[str, Any]:
    """Return the notification of a finished session, some minutes after it had stopped."""
    body = sample("SessionUpdateNotification.finished")
    body["session"] |= {"lastUpdatedAt": (SESSION_BEGAN + timedelta(minutes=minute)).isoformat(), **changes}
    return body
