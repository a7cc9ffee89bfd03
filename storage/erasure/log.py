"""Erase a person: add them to the suppression list, then remove them from the log, one chunk per transaction.

The log comes first, and the state and its history last (:mod:`storage.erasure.state`): the state contains the
person's identities, so it must stay intact until the log is done.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from ampeco.privacy import people
from ampeco.privacy.body_redaction import redact_secrets
from storage.documents import to_json
from storage.erasure.person import Person
from storage.erasure.suppression import identity_digest, key_of
from storage.ids import uuid7
from storage.inbox.retention import keep_days
from storage.inbox.rewrite import rewrite
from storage.log.scope import Position

#: The longest wait for running writers, in seconds: new writers wait behind us for as long.
LOCK_SECONDS = 5

_KEY_BYTES = 32


def owns_the_tables(connection: Connection) -> bool:
    """Return whether the database user owns the log and the history, and so may change them."""
    statement = text("""
        SELECT bool_and(pg_has_role(current_user, relowner, 'USAGE'))
          FROM pg_class
         WHERE oid IN ('ingest.notification'::regclass, 'charging.session'::regclass, 'charging.notice'::regclass)
    """)
    return bool(connection.execute(statement).scalar_one())


@dataclass(frozen=True, slots=True)
class Erasure:
    """An unfinished erasure.

    Attributes:
        erasure_id: UUIDv7.
        reached: the last notification of the log from which the person is removed; None before the first.
    """

    erasure_id: UUID
    reached: Position | None


def is_listed(connection: Connection, tenant: str, user_id: int) -> bool:
    """Return whether a user is on the suppression list."""
    key = key_of(connection, tenant)
    if key is None:
        return False
    statement = text("SELECT EXISTS (SELECT FROM ingest.suppression WHERE tenant = :tenant AND digest = :digest)")
    parameters = {"tenant": tenant, "digest": identity_digest(key, people.user(user_id))}
    return bool(connection.execute(statement, parameters).scalar_one())


def await_writers(connection: Connection) -> None:
    """Wait until all transactions that have read the suppression list end; later ones wait for this transaction.

    Raises:
        sqlalchemy.exc.DBAPIError: they did not end within ``LOCK_SECONDS``.
    """
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
    connection.execute(text("LOCK TABLE ingest.suppression_key IN ACCESS EXCLUSIVE MODE"))


def begin(connection: Connection, tenant: str, person: Person, requested_by: str) -> Erasure:
    """Add the person to the suppression list, after all transactions that do not see the new entries have ended.

    Continue an unfinished erasure of the same person. If more identities of the person are known now, start
    again from the beginning of the log.

    Parameters:
        person: the person, with all identities that are known.
        requested_by: the database user and login of the requester, for the record.
    """
    await_writers(connection)
    connection.execute(
        text("INSERT INTO ingest.suppression_key (tenant, key) VALUES (:tenant, :key) ON CONFLICT DO NOTHING"),
        {"tenant": tenant, "key": secrets.token_bytes(_KEY_BYTES)},
    )
    key = key_of(connection, tenant)
    assert key is not None
    subject = identity_digest(key, people.user(person.user_id))
    row = connection.execute(
        _BEGIN, {"tenant": tenant, "erasure_id": uuid7(), "subject": subject, "requested_by": requested_by}
    ).one()
    added = connection.execute(
        _ADD,
        {
            "tenant": tenant,
            "erasure_id": row.erasure_id,
            "digests": [identity_digest(key, identity) for identity in person.identities],
        },
    ).rowcount
    if row.reached_at is None or added:
        return Erasure(row.erasure_id, None)
    return Erasure(row.erasure_id, Position(row.reached_at, row.reached_id))


# Index: erasure_open_idx.
_BEGIN = text("""
INSERT INTO ingest.erasure AS known (tenant, erasure_id, subject, requested_by)
VALUES (:tenant, :erasure_id, :subject, :requested_by)
    ON CONFLICT (tenant, subject) WHERE finished_at IS NULL DO UPDATE SET
       requested_by = excluded.requested_by
RETURNING erasure_id, reached_at, reached_id
""")

_ADD = text("""
INSERT INTO ingest.suppression (tenant, digest, erasure_id)
SELECT :tenant, digest, :erasure_id
  FROM unnest(CAST(:digests AS bytea[])) AS added (digest)
    ON CONFLICT DO NOTHING
""")


# Index: the primary key of the log. Postgres knows the length of a body without reading it.
_NEXT = text("""
WITH listed AS (
    SELECT received_at, notification_id, octet_length(body) AS bytes
      FROM ingest.notification
     WHERE tenant = :tenant
       AND received_at >= :received_at
       AND received_at < :until
       AND (received_at, notification_id) > (:received_at, :notification_id)
     ORDER BY received_at, notification_id
     LIMIT :limit
), sized AS (
    SELECT *, sum(bytes) OVER (ORDER BY received_at, notification_id) - bytes AS bytes_before FROM listed
)
SELECT received_at, notification_id, count(*) OVER () AS notifications
  FROM sized
 WHERE bytes_before < :max_bytes
 ORDER BY received_at DESC, notification_id DESC
 LIMIT 1
""")

# Index: the same. Postgres searches each body without regard to the case of ASCII letters. As it may not be text, every
# other byte is escaped. FOR UPDATE is added to keep other processes from changing a body between this statement and the
# one that rewrites it.
_NAMING = """
SELECT received_at, notification_id, body
  FROM ingest.notification
 WHERE tenant = :tenant
   AND received_at BETWEEN :received_at AND :last_received_at
   AND (received_at, notification_id) > (:received_at, :notification_id)
   AND (received_at, notification_id) <= (:last_received_at, :last_notification_id)
   AND EXISTS (
       SELECT FROM (SELECT lower(encode(body, 'escape') COLLATE "C") AS shown OFFSET 0) AS searched
         JOIN unnest(CAST(:needles AS bytea[])) AS needle
           ON strpos(searched.shown, lower(encode(needle, 'escape') COLLATE "C")) > 0)
 ORDER BY received_at, notification_id
"""

# Index: primary key. An error may quote a name from the body.
_OUTCOMES = text("""
UPDATE ingest.outcome
   SET error = NULL
 WHERE tenant = :tenant
   AND notification_id = ANY(:notification_ids)
   AND error ~* :pattern
""")

# Index: primary key.
_LOCK_ROWS = text("SELECT changed FROM ingest.erasure WHERE tenant = :tenant AND erasure_id = :erasure_id FOR UPDATE")

_COUNT = text("""
UPDATE ingest.erasure
   SET changed = CAST(:changed AS jsonb),
       reached_at = coalesce(CAST(:reached_at AS timestamptz), reached_at),
       reached_id = coalesce(CAST(:reached_id AS uuid), reached_id)
 WHERE tenant = :tenant
   AND erasure_id = :erasure_id
""")

_FINISH = text("UPDATE ingest.erasure SET finished_at = now() WHERE tenant = :tenant AND erasure_id = :erasure_id")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the log.

    Attributes:
        last: its last notification.
        notifications: how many notifications it contains.
        naming: how many of them name the person.
    """

    last: Position
    notifications: int
    naming: int


def next_chunk(
    connection: Connection,
    tenant: str,
    person: Person,
    after: Position,
    until: datetime,
    *,
    limit: int,
    max_bytes: int,
    erasure_id: UUID | None = None,
) -> Chunk | None:
    """Remove the person from the next notifications of the log, or only count those that name the person.

    Parameters:
        after: the last notification of the previous chunk.
        until: the end of the log to go through. Workers remove the person from notifications that were received
            then or later, because the suppression list contains the person.
        limit: the most notifications of a chunk.
        max_bytes: the chunk ends once bodies of this many bytes are in it.
        erasure_id: the erasure that removes the person; None to count only.

    Returns:
        None at the end of the log.
    """
    if erasure_id is not None:
        keep_days(connection)
    place = {"tenant": tenant, "received_at": after.received_at, "notification_id": after.notification_id}
    end = connection.execute(_NEXT, place | {"until": until, "limit": limit, "max_bytes": max_bytes}).first()
    if end is None:
        return None
    last = Position(end.received_at, end.notification_id)
    rows = connection.execute(
        text(_NAMING if erasure_id is None else f"{_NAMING}   FOR UPDATE"),
        place
        | {
            "needles": person.needles,
            "last_received_at": last.received_at,
            "last_notification_id": last.notification_id,
        },
    )
    cleared = [
        (received_at, notification_id, body, person.without_person(body)) for received_at, notification_id, body in rows
    ]
    # No code reads the secrets in a body, so they are redacted at the same time. A worker that redacts a body which it
    # has read before leaves the body that this statement writes (see `rewrite`).
    changed = [
        (received_at, notification_id, redact_secrets(cleaned))
        for received_at, notification_id, body, cleaned in cleared
        if cleaned is not body
    ]
    if erasure_id is not None:
        rewrite(connection, tenant, changed)
        counts = Counter({"ingest.notification": len(changed)})
        counts["ingest.outcome"] = connection.execute(
            _OUTCOMES,
            {
                "tenant": tenant,
                "notification_ids": [notification_id for _, notification_id, _ in changed],
                "pattern": person.pattern,
            },
        ).rowcount
        record_progress(connection, tenant, erasure_id, counts, reached=last)
    return Chunk(last, end.notifications, len(changed))


def record_progress(
    connection: Connection,
    tenant: str,
    erasure_id: UUID,
    counts: Counter[str],
    *,
    reached: Position | None = None,
    is_finished: bool = False,
) -> dict[str, int]:
    """Record the progress of an erasure.

    Parameters:
        counts: how many rows it changed now, by table.
        reached: the last notification of the log from which the person is removed; None if it did not change.
        is_finished: whether the state is done, too.

    Returns:
        How many rows the erasure has changed so far, by table.
    """
    key = {"tenant": tenant, "erasure_id": erasure_id}
    previous: dict[str, int] = connection.execute(_LOCK_ROWS, key).scalar_one()
    total = {table: number for table, number in sorted((Counter(previous) + counts).items()) if number}
    connection.execute(
        _COUNT,
        key
        | {
            "changed": to_json(total),
            "reached_at": reached and reached.received_at,
            "reached_id": reached and reached.notification_id,
        },
    )
    if is_finished:
        connection.execute(_FINISH, key)
    return total
