"""Commit accepted notifications to the log, with one statement for each tenant, in one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from sqlalchemy import Connection

from ampeco.values import MAX_BIGINT
from storage.clock import clock
from storage.connection import one_transaction
from storage.documents import to_json
from storage.ids import made_at, uuid7

#: The longest notification type in the search columns, in characters; AMPECO's longest has 38.
_MAX_TYPE = 200


@dataclass(slots=True)
class Entry:
    """One verified notification, ready to be committed.

    Attributes:
        tenant: the tenant's name in ``tenants.toml``.
        body: the request body, byte for byte.
        headers: the delivery headers that AMPECO sent, without the signature.
        token_id: the id of the token that verified the signature.
        signature_encoding: the form of the signature that matched; see :attr:`ampeco.signature.Match.form`.
        notification_id: UUIDv7, made here.
        received_at: the time part of ``notification_id``, aware UTC, to the millisecond.
        is_timed: whether both are by Postgres's clock; otherwise they are by the wall clock, because Postgres's
            clock was not measured yet.
        notification_type: the type in the body; this and the following are search columns, None if not found.
        session_id: the id of the session that the body names.
        evse_id: the id of the EVSE that the body names.
        charge_point_id: the id of the charge point that the body names.
        traceparent: the W3C trace context of its request, None if that is not traced; it is not stored.
    """

    tenant: str
    body: bytes
    headers: dict[str, str]
    token_id: str
    signature_encoding: str
    notification_id: UUID = field(init=False)
    received_at: datetime = field(init=False)
    is_timed: bool = field(init=False)
    notification_type: str | None = field(init=False, default=None)
    session_id: int | None = field(init=False, default=None)
    evse_id: int | None = field(init=False, default=None)
    charge_point_id: int | None = field(init=False, default=None)
    traceparent: str | None = None

    def __post_init__(self) -> None:
        self.stamp()
        self._peek()

    def stamp(self) -> None:
        """Set a new id and time of receipt; do not call this once the entry may have been committed."""
        self.is_timed = clock.is_measured
        self.notification_id = uuid7()
        self.received_at = made_at(self.notification_id)

    def drop_search_columns(self) -> None:
        """Remove everything except the body that Postgres might refuse: search columns and headers."""
        self.notification_type = self.session_id = self.evse_id = self.charge_point_id = None
        self.headers = {}

    def _peek(self) -> None:
        """Fill the search columns from the body, as far as the body contains them."""
        try:
            body = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return
        if not isinstance(body, dict):
            return
        name = body.get("notification")
        if isinstance(name, str) and len(name) <= _MAX_TYPE and "\0" not in name:
            self.notification_type = name
        session = body.get("session")
        if isinstance(session, dict):
            self.session_id = _id(session.get("id"))
            body = session | body
        else:
            self.session_id = _id(body.get("sessionId"))
        self.evse_id = _id(body.get("evseId"))
        self.charge_point_id = _id(body.get("chargePointId"))


def _id(value: object) -> int | None:
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -MAX_BIGINT <= value <= MAX_BIGINT:
        return value
    return None


@dataclass(slots=True)
class CommitGroup:
    """Entries of one tenant that are committed together, and the id of their batch."""

    tenant: str
    entries: Sequence[Entry]
    batch_id: UUID = field(default_factory=uuid7)

    def stamp(self) -> None:
        """Set new ids and times of the batch and its entries, by the present time; see :meth:`Entry.stamp`."""
        for entry in self.entries:
            entry.stamp()
        self.batch_id = uuid7()


# Committing the same group twice adds nothing, so that a commit whose answer was lost
# can be repeated. Index: the primary keys.
_COMMIT_GROUP = b"""
WITH batches AS (
    INSERT INTO ingest.batch (tenant, batch_id, notifications, body_bytes, first_received_at, last_received_at)
    SELECT %(tenant)b::text, %(batch_id)b::uuid, %(notifications)b::int, %(body_bytes)b::bigint,
           %(first_received_at)b::timestamptz, %(last_received_at)b::timestamptz
     WHERE %(notifications)b::int > 0
        ON CONFLICT DO NOTHING
)
INSERT INTO ingest.notification (
       tenant, batch_id, received_at, notification_id, notification_type, session_id, evse_id,
       charge_point_id, token_id, signature_encoding, headers, body)
SELECT %(tenant)b::text, %(batch_id)b::uuid, entry.*
  FROM unnest(
       %(received_at)b::timestamptz[], %(notification_id)b::uuid[], %(notification_type)b::text[],
       %(session_id)b::bigint[], %(evse_id)b::bigint[], %(charge_point_id)b::bigint[], %(token_id)b::text[],
       %(signature_encoding)b::text[], %(headers)b::text[]::jsonb[], %(body)b::bytea[]) AS entry
    ON CONFLICT DO NOTHING
"""


def commit_parameters(group: CommitGroup) -> dict[str, Any]:
    """Return the parameters of the statement that commits a group: an array for each column of its entries."""
    entries = group.entries
    times = [entry.received_at for entry in entries]
    return {
        "tenant": group.tenant,
        "batch_id": group.batch_id,
        "notifications": len(entries),
        "body_bytes": sum(len(entry.body) for entry in entries),
        "first_received_at": min(times, default=None),
        "last_received_at": max(times, default=None),
        "received_at": times,
        "notification_id": [entry.notification_id for entry in entries],
        "notification_type": [entry.notification_type for entry in entries],
        "session_id": [entry.session_id for entry in entries],
        "evse_id": [entry.evse_id for entry in entries],
        "charge_point_id": [entry.charge_point_id for entry in entries],
        "token_id": [entry.token_id for entry in entries],
        "signature_encoding": [entry.signature_encoding for entry in entries],
        "headers": [to_json(entry.headers) for entry in entries],
        "body": [entry.body for entry in entries],
    }


async def commit_groups(
    connection: AsyncConnection[Any], groups: Sequence[CommitGroup], settings: Mapping[str, str] | None = None
) -> None:
    """Commit the entries and their batches in one transaction and one round trip.

    Parameters:
        connection: a connection in autocommit.
        groups: at most one group for each tenant.
        settings: of the transaction; see :func:`storage.connection.one_transaction`.

    Raises:
        psycopg.Error: nothing was committed, unless the connection was lost before the answer arrived; the same
            groups may be committed again.
    """
    async with one_transaction(connection, settings or {}, statements=len(groups)):
        for group in groups:
            await connection.execute(_COMMIT_GROUP, commit_parameters(group))


def prove_acceptable(connection: Connection) -> None:
    """Check that notifications can be committed: run the statement for none, to test the tables and privileges.

    Raises:
        sqlalchemy.exc.DBAPIError: notifications cannot be committed; the error contains the reason.
    """
    connection.exec_driver_sql(_COMMIT_GROUP.decode(), commit_parameters(CommitGroup("", [])))
