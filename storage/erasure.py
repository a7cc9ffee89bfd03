"""Forgetting a person: the list of those who are not to come back, and the log without them, a chunk at a time.

The log goes first, and the state and its history last (:mod:`storage.erasure_state`): what the person is
known by is found in the state, so it must be whole until the log is done.
"""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from ampeco import people
from ampeco.body_redaction import redact_secrets
from storage.documents import to_json
from storage.ids import uuid7
from storage.person import Person
from storage.replay import Position
from storage.retention import keep_days
from storage.rewrite import rewrite
from storage.suppression import identity_digest, key_of

#: Waiting longer for everybody who writes would hold them up in their turn.
LOCK_SECONDS = 5

_KEY_BYTES = 32


def owns_the_tables(connection: Connection) -> bool:
    """Whether this user may change the log and the history, as their owner."""
    asked = text("""
        SELECT bool_and(pg_has_role(current_user, relowner, 'USAGE'))
          FROM pg_class
         WHERE oid IN ('ingest.notification'::regclass, 'charging.session'::regclass, 'charging.notice'::regclass)
    """)
    return bool(connection.execute(asked).scalar_one())


@dataclass(frozen=True, slots=True)
class Erasure:
    """A forgetting under way; the log is done up to ``reached``, or None of it."""

    erasure_id: UUID
    reached: Position | None


def is_listed(connection: Connection, tenant: str, user_id: int) -> bool:
    """Whether a user is on the list of those who are not to come back."""
    key = key_of(connection, tenant)
    if key is None:
        return False
    asked = text("SELECT EXISTS (SELECT FROM ingest.suppression WHERE tenant = :tenant AND digest = :digest)")
    told = {"tenant": tenant, "digest": identity_digest(key, people.user(user_id))}
    return bool(connection.execute(asked, told).scalar_one())


def await_writers(connection: Connection) -> None:
    """Wait until everybody has ended who looked at the list; whoever looks now waits for this transaction."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
    connection.execute(text("LOCK TABLE ingest.suppression_key IN ACCESS EXCLUSIVE MODE"))


def begin(connection: Connection, tenant: str, person: Person, requested_by: str) -> Erasure:
    """Put the person on the list, once everybody who writes without knowing of it has ended.

    A forgetting that was left unfinished goes on, unless more is known of the person now.
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


# Index: forgetting_open_idx.
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


# Index: the primary key of the log. The lengths of bodies are known without reading them.
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

# Index: the same. A body is searched byte by byte; the lock lets nobody change it meanwhile.
_NAMING = """
SELECT received_at, notification_id, body
  FROM ingest.notification
 WHERE tenant = :tenant
   AND received_at BETWEEN :received_at AND :last_received_at
   AND (received_at, notification_id) > (:received_at, :notification_id)
   AND (received_at, notification_id) <= (:last_received_at, :last_notification_id)
   AND EXISTS (SELECT FROM unnest(CAST(:needles AS bytea[])) AS needle WHERE position(needle IN body) > 0)
 ORDER BY received_at, notification_id
"""

# Index: primary key. An error may quote a name that the sender gave.
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
       reached_id = coalesce(CAST(:reached_id AS uuid), reached_id),
       finished_at = CASE WHEN :is_finished THEN now() END
 WHERE tenant = :tenant
   AND erasure_id = :erasure_id
""")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the log: its last notification, how many there are, and how many name the person."""

    last: Position
    notifications: int
    naming: int


def before(moment: datetime) -> Position:
    """The position before everything that was received at a time or later."""
    return Position(moment, UUID(int=0))


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
    """Go through the next notifications of the log; None at its end.

    Parameters:
        until: those that were received then or later are settled without the person anyway.
        erasure_id: the forgetting that takes the person out; None only counts.
    """
    if erasure_id is not None:
        keep_days(connection)
    place = {"tenant": tenant, "received_at": after.received_at, "notification_id": after.notification_id}
    found = connection.execute(_NEXT, place | {"until": until, "limit": limit, "max_bytes": max_bytes}).first()
    if found is None:
        return None
    last = Position(found.received_at, found.notification_id)
    rows = connection.execute(
        text(_NAMING if erasure_id is None else f"{_NAMING}   FOR UPDATE"),
        place
        | {
            "needles": person.needles,
            "last_received_at": last.received_at,
            "last_notification_id": last.notification_id,
        },
    )
    cleared = [(received_at, one, body, person.taken_out(body)) for received_at, one, body in rows]
    # Nothing ever reads a secret; whoever has the body in hand leaves what is changed meanwhile.
    changed = [
        (received_at, one, redact_secrets(cleaned))
        for received_at, one, body, cleaned in cleared
        if cleaned is not body
    ]
    if erasure_id is not None:
        rewrite(connection, tenant, changed)
        counts = Counter({"ingest.notification": len(changed)})
        counts["ingest.outcome"] = connection.execute(
            _OUTCOMES,
            {"tenant": tenant, "notification_ids": [one for _, one, _ in changed], "pattern": person.pattern},
        ).rowcount
        note(connection, tenant, erasure_id, counts, reached=last)
    return Chunk(last, found.notifications, len(changed))


def note(
    connection: Connection,
    tenant: str,
    erasure_id: UUID,
    counts: Counter[str],
    *,
    reached: Position | None = None,
    is_finished: bool = False,
) -> dict[str, int]:
    """Add to what the forgetting changed, and note how far it came; returns all that it changed."""
    key = {"tenant": tenant, "erasure_id": erasure_id}
    known: dict[str, int] = connection.execute(_LOCK_ROWS, key).scalar_one()
    total = {table: number for table, number in sorted((Counter(known) + counts).items()) if number}
    connection.execute(
        _COUNT,
        key
        | {
            "changed": to_json(total),
            "reached_at": reached and reached.received_at,
            "reached_id": reached and reached.notification_id,
            "is_finished": is_finished,
        },
    )
    return total
