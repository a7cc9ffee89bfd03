"""The one change that the log permits: a body may lose what it must not keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from ampeco.body_redaction import redact_secrets
from storage.batches import Logged

# Index: the primary key, in the partitions of these times alone. The digest is that of
# the body as it came, however often a body is changed.
_REWRITE = text("""
UPDATE ingest.notification
   SET body_sha256 = coalesce(notification.body_sha256, sha256(notification.body)),
       body = rewritten.body
  FROM unnest(
       CAST(:received_at AS timestamptz[]), CAST(:notification_ids AS uuid[]), CAST(:bodies AS bytea[]),
       CAST(:read_bodies AS bytea[])
       ) AS rewritten (received_at, notification_id, body, read_body)
 WHERE notification.tenant = :tenant
   AND notification.received_at = rewritten.received_at
   AND notification.notification_id = rewritten.notification_id
   AND notification.received_at BETWEEN :first_received_at AND :last_received_at
   AND (rewritten.read_body IS NULL OR rewritten.read_body = notification.body)
""")


def rewrite(
    connection: Connection,
    tenant: str,
    bodies: Iterable[tuple[datetime, UUID, bytes]],
    read_bodies: Mapping[UUID, bytes] | None = None,
) -> int:
    """Put other bodies into the log, and keep the digest of what came; returns how many.

    Parameters:
        read_bodies: what they were made of; where the log has another one by now, it stays.
    """
    rewritten = sorted(bodies)
    if not rewritten:
        return 0
    times, ids, contents = zip(*rewritten, strict=True)
    found = connection.execute(
        _REWRITE,
        {
            "tenant": tenant,
            "received_at": list(times),
            "notification_ids": list(ids),
            "bodies": list(contents),
            "read_bodies": [(read_bodies or {}).get(one) for one in ids],
            "first_received_at": times[0],
            "last_received_at": times[-1],
        },
    )
    return found.rowcount


def redact_bodies(connection: Connection, tenant: str, logged: Iterable[Logged]) -> int:
    """Take the secrets out of notifications, in the transaction that settles them.

    Whatever became of them: nothing ever reads a secret, so that a replay of a failed or
    ignored one reads the same. Returns how many held one.
    """
    redacted = [(one, body) for one in logged if (body := redact_secrets(one.body)) is not one.body]
    changed = [(one.received_at, one.notification_id, body) for one, body in redacted]
    # Whoever took a person out of one since it was read took the secrets out as well.
    return rewrite(connection, tenant, changed, {one.notification_id: one.body for one, _ in redacted})
