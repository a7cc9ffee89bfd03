"""Commit accepted notifications to the log, with one statement for all commit groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from sqlalchemy import Connection

from storage.clock import clock
from storage.documents import to_json
from storage.ids import made_at, uuid7

_MAX_BIGINT = 2**63 - 1

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
        signature_encoding: the form of the signature that matched, ``hex`` or ``base64``.
        notification_id: UUIDv7, made here.
        received_at: the time part of ``notification_id``, aware UTC, to the millisecond.
        is_timed: whether both are by Postgres's clock; otherwise they are by the wall clock, because Postgres's
            clock was not measured yet.
        notification_type: the type in the body; this and the following are search columns, None if not found.
        session_id: the id of the session that the body names.
        evse_id: the id of the EVSE that the body names.
        charge_point_id: the id of the charge point that the body names.
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
    if isinstance(value, int) and not isinstance(value, bool) and -_MAX_BIGINT <= value <= _MAX_BIGINT:
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
_COMMIT_GROUPS = b"""
WITH batches AS (
    INSERT INTO ingest.batch (tenant, batch_id, notifications, body_bytes, first_received_at, last_received_at)
    SELECT *
      FROM unnest(%b::text[], %b::uuid[], %b::int[], %b::bigint[], %b::timestamptz[], %b::timestamptz[])
        ON CONFLICT DO NOTHING
)
INSERT INTO ingest.notification (
       tenant, received_at, notification_id, batch_id, notification_type, session_id, evse_id,
       charge_point_id, token_id, signature_encoding, headers, body)
SELECT *
  FROM unnest(
       %b::text[], %b::timestamptz[], %b::uuid[], %b::uuid[], %b::text[], %b::bigint[], %b::bigint[],
       %b::bigint[], %b::text[], %b::text[], %b::text[]::jsonb[], %b::bytea[])
    ON CONFLICT DO NOTHING
"""


def commit_parameters(groups: Sequence[CommitGroup]) -> list[list[Any]]:
    """Return the parameters of the statement that commits groups: an array for each column."""
    rows = [(group.batch_id, entry) for group in groups for entry in group.entries]
    return [
        [group.tenant for group in groups],
        [group.batch_id for group in groups],
        [len(group.entries) for group in groups],
        [sum(len(entry.body) for entry in group.entries) for group in groups],
        [min(entry.received_at for entry in group.entries) for group in groups],
        [max(entry.received_at for entry in group.entries) for group in groups],
        [entry.tenant for _, entry in rows],
        [entry.received_at for _, entry in rows],
        [entry.notification_id for _, entry in rows],
        [batch_id for batch_id, _ in rows],
        [entry.notification_type for _, entry in rows],
        [entry.session_id for _, entry in rows],
        [entry.evse_id for _, entry in rows],
        [entry.charge_point_id for _, entry in rows],
        [entry.token_id for _, entry in rows],
        [entry.signature_encoding for _, entry in rows],
        [to_json(entry.headers) for _, entry in rows],
        [entry.body for _, entry in rows],
    ]


async def commit_groups(connection: AsyncConnection[Any], groups: Sequence[CommitGroup]) -> None:
    """Commit the entries and their batches with one statement, in one round trip.

    Parameters:
        connection: a connection in autocommit.
        groups: at most one group for each tenant.

    Raises:
        psycopg.Error: nothing was committed, unless the connection was lost before the answer arrived; the same
            groups may be committed again.
    """
    async with connection.cursor() as cursor:
        await cursor.execute(_COMMIT_GROUPS, commit_parameters(groups))


def prove_acceptable(connection: Connection) -> None:
    """Check that notifications can be committed: run the statement without any, to test the tables and privileges.

    Raises:
        sqlalchemy.exc.DBAPIError: notifications cannot be committed; the error contains the reason.
    """
    connection.exec_driver_sql(_COMMIT_GROUPS.decode(), tuple(commit_parameters([])))
