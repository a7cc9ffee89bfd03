"""Rewrite bodies of the log without secrets or erased people, the only change that the log permits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, text

from ampeco.privacy.body_redaction import redact_secrets
from storage.inbox.batches import LoggedBody

# Index: the primary key, only in the partitions of these times. The digest is that of
# the body as it arrived, however often the body is rewritten.
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
    """Replace bodies in the log, keep the digests of the original ones, and return how many were replaced.

    Parameters:
        bodies: the time of receipt, the id and the new body of each notification.
        read_bodies: the bodies from which the new ones were made, by id. If the log has another body by now, that
            one stays. None or a missing id: replace the body whatever it is.
    """
    rewritten = sorted(bodies)
    if not rewritten:
        return 0
    times, ids, contents = zip(*rewritten, strict=True)
    result = connection.execute(
        _REWRITE,
        {
            "tenant": tenant,
            "received_at": list(times),
            "notification_ids": list(ids),
            "bodies": list(contents),
            "read_bodies": [(read_bodies or {}).get(notification_id) for notification_id in ids],
            "first_received_at": times[0],
            "last_received_at": times[-1],
        },
    )
    return result.rowcount


def redact_bodies(connection: Connection, tenant: str, logged: Iterable[LoggedBody]) -> int:
    """Redact the secrets in notifications, in the transaction that applies them or records their outcomes.

    Secrets are redacted whatever the outcome: no code reads them, so a replay of a failed or ignored notification
    gives the same result.

    Returns:
        How many bodies were changed.
    """
    redacted = [
        (notification, body)
        for notification in logged
        if (body := redact_secrets(notification.body)) is not notification.body
    ]
    changed = [(notification.received_at, notification.notification_id, body) for notification, body in redacted]
    # An erasure that has rewritten a body since it was read has redacted its secrets, too.
    read_bodies = {notification.notification_id: notification.body for notification, _ in redacted}
    return rewrite(connection, tenant, changed, read_bodies)
