"""Record incidents, and the progress of the messages by which people are alerted of them.

An incident is open while the condition that it stands for is seen. Each has at most two messages: that it is open, and
that it is resolved. An attempt to send one is counted and committed before it is made, so any number of processes may
send, and a message is sent again only if its process ended before it recorded the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import Connection, text

from storage.ids import uuid7
from storage.pruning import prune_table

Kind = Literal[
    "traffic_gap",
    "subscription_wrong",
    "token_rejected",
    "notifications_failed",
    "not_applied",
    "finding",
    "process_lost",
]

#: Every kind of incident.
KINDS: tuple[Kind, ...] = get_args(Kind)

#: The tenant of an incident that concerns the service as a whole. No tenant has an empty name.
WHOLE_SERVICE = ""

#: How long a condition must last before a message is sent. What ends sooner, such as a process that is restarted or
#: whose heartbeat is late because Postgres was down, needs no attention.
HOLD = timedelta(seconds=20)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now.

    Attributes:
        tenant: the tenant's name, or :data:`WHOLE_SERVICE`.
        subject: what of the tenant it concerns; empty for the tenant as a whole.
        summary: what is wrong and what to do, in a sentence without personal data.
        opens: whether it opens an incident. If not, it only keeps one open: it is too old to be news, or it is not
            known whether it has ended.
    """

    tenant: str
    kind: Kind
    subject: str
    summary: str
    opens: bool = True

    @property
    def key(self) -> tuple[str, Kind, str]:
        """What identifies its open incident."""
        return self.tenant, self.kind, self.subject


@dataclass(frozen=True, slots=True)
class Incident:
    """A condition from when it was first seen until it was no longer seen.

    Attributes:
        tenant: the tenant's name, or :data:`WHOLE_SERVICE`.
        incident_id: UUIDv7.
        to_send: the message that is still to be sent; None if there is none.
        attempts: how often it was tried to send that message.
        retry_at: when to send it at the earliest.
        last_error: why the last attempt failed; None if it did not.
        notified_open_at, notified_resolved_at: when the webhook accepted each message; None if it did not.
    """

    tenant: str
    incident_id: UUID
    kind: Kind
    subject: str
    summary: str
    opened_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    to_send: Literal["open", "resolved"] | None
    attempts: int
    retry_at: datetime
    last_error: str | None
    notified_open_at: datetime | None
    notified_resolved_at: datetime | None

    @property
    def key(self) -> tuple[str, Kind, str]:
        """What identifies it among the open incidents."""
        return self.tenant, self.kind, self.subject


_COLUMNS = (
    "tenant, incident_id, kind, subject, summary, opened_at, last_seen_at, resolved_at, to_send, attempts, retry_at,"
    " last_error, notified_open_at, notified_resolved_at"
)

# Index: alert_open_idx.
_OPEN = text(f"SELECT {_COLUMNS} FROM ingest.alert WHERE resolved_at IS NULL")  # noqa: S608 - the names are ours

# Index: alert_open_idx.
_SEE = text("""
INSERT INTO ingest.alert (tenant, incident_id, kind, subject, summary, to_send, retry_at)
VALUES (:tenant, :incident_id, :kind, :subject, :summary, 'open', now() + :hold)
    ON CONFLICT (tenant, kind, subject) WHERE resolved_at IS NULL DO UPDATE SET
       summary = excluded.summary,
       last_seen_at = excluded.last_seen_at
""")

# Index: primary key. A message of which no attempt was made yet is not sent any more, and neither is the second one
# then. After an attempt the webhook may know that the incident is open, whatever its answer was.
_RESOLVE = text("""
UPDATE ingest.alert
   SET resolved_at = now(),
       to_send = CASE WHEN to_send = 'open' AND attempts = 0 THEN NULL ELSE 'resolved' END,
       attempts = 0,
       retry_at = now()
 WHERE tenant = :tenant
   AND incident_id = :incident_id
   AND resolved_at IS NULL
""")

# Index: primary key.
_END = text("""
UPDATE ingest.alert
   SET resolved_at = now(), to_send = NULL
 WHERE tenant = :tenant
   AND incident_id = :incident_id
   AND resolved_at IS NULL
""")


def record(
    connection: Connection,
    conditions: Iterable[Condition],
    *,
    tenants: Collection[str],
    kinds: Collection[Kind],
    unknown: Collection[Kind] = (),
) -> None:
    """Open an incident for each new condition, and resolve those whose condition is no longer there.

    The caller holds :attr:`storage.locks.Lock.ALERTS`.

    Parameters:
        conditions: all that are wrong now.
        tenants: the watched tenants; the service as a whole is always watched.
        kinds: the watched kinds. Incidents of other kinds and tenants end without a message.
        unknown: kinds that could not be looked at, whose incidents stay as they are.
    """
    present = {condition.key: condition for condition in conditions}
    incidents = {incident.key: incident for incident in open_incidents(connection)}
    seen = [condition for key, condition in present.items() if condition.opens or key in incidents]
    if seen:
        connection.execute(_SEE, [asdict(condition) | {"incident_id": uuid7(), "hold": HOLD} for condition in seen])
    for key, incident in incidents.items():
        if key not in present and incident.kind not in unknown:
            is_watched = incident.tenant in (WHOLE_SERVICE, *tenants) and incident.kind in kinds
            connection.execute(_RESOLVE if is_watched else _END, _key_of(incident))


def open_incidents(connection: Connection) -> Sequence[Incident]:
    """Return the open incidents of all tenants."""
    return [Incident(*row) for row in connection.execute(_OPEN)]


# Index: alert_to_send_idx.
_DUE = text(f"""
SELECT {_COLUMNS}
  FROM ingest.alert
 WHERE to_send IS NOT NULL
   AND retry_at <= now()
 ORDER BY retry_at
 LIMIT :limit
""")  # noqa: S608 - the names are ours


def due(connection: Connection, *, limit: int) -> Sequence[Incident]:
    """Return the incidents with a message that is due, the longest due first."""
    return [Incident(*row) for row in connection.execute(_DUE, {"limit": limit})]


# Index: primary key. Of two processes that claim at the same time, the row lock lets one through.
_CLAIM = text(f"""
UPDATE ingest.alert
   SET attempts = attempts + 1, retry_at = now() + :delay
 WHERE tenant = :tenant
   AND incident_id = :incident_id
   AND to_send = :to_send
   AND retry_at <= now()
RETURNING {_COLUMNS}
""")  # noqa: S608 - the names are ours


def claim(connection: Connection, incident: Incident, delay: timedelta) -> Incident | None:
    """Record an attempt to send an incident's message; commit before the attempt.

    Parameters:
        delay: the time until the next attempt, should this one fail.

    Returns:
        The incident as of now; None if another process has claimed or sent the message.
    """
    parameters = _key_of(incident) | {"to_send": incident.to_send, "delay": delay}
    row = connection.execute(_CLAIM, parameters).first()
    return None if row is None else Incident(*row)


# Index: primary key. If the incident was resolved during the attempt, the second message is already to be sent.
_SENT_OPEN = text("""
UPDATE ingest.alert
   SET notified_open_at = now(), to_send = nullif(to_send, 'open'), attempts = 0, last_error = NULL
 WHERE tenant = :tenant
   AND incident_id = :incident_id
""")

_SENT_RESOLVED = text("""
UPDATE ingest.alert
   SET notified_resolved_at = now(), to_send = NULL, attempts = 0, last_error = NULL
 WHERE tenant = :tenant
   AND incident_id = :incident_id
""")


def note_sent(connection: Connection, incident: Incident) -> None:
    """Record that the webhook accepted the message that was claimed."""
    connection.execute(_SENT_OPEN if incident.to_send == "open" else _SENT_RESOLVED, _key_of(incident))


# Index: primary key.
_FAILED = text("""
UPDATE ingest.alert
   SET last_error = :error
 WHERE tenant = :tenant
   AND incident_id = :incident_id
   AND to_send = :to_send
""")


def note_failed(connection: Connection, incident: Incident, error: str) -> None:
    """Record why the attempt to send the message that was claimed failed."""
    connection.execute(_FAILED, _key_of(incident) | {"to_send": incident.to_send, "error": error})


def _key_of(incident: Incident) -> dict[str, object]:
    return {"tenant": incident.tenant, "incident_id": incident.incident_id}


# Index: alert_to_send_idx.
_UNSENT_SECONDS = text("""
SELECT CAST(extract(epoch FROM max(now() - coalesce(resolved_at, opened_at))) AS float8)
  FROM ingest.alert
 WHERE to_send IS NOT NULL
   AND attempts > 0
""")


def unsent_seconds(connection: Connection) -> float:
    """Return the age of the oldest message that the webhook has not accepted at the first attempt, seconds; else 0."""
    return float(connection.execute(_UNSENT_SECONDS).scalar_one() or 0.0)


# This reads the whole table, which has a row for each incident of the last months.
_RECENT = text(f"""
SELECT {_COLUMNS}
  FROM ingest.alert
 WHERE resolved_at IS NULL
    OR resolved_at > now() - :age
    OR to_send IS NOT NULL
 ORDER BY resolved_at IS NOT NULL, opened_at DESC, incident_id DESC
""")  # noqa: S608 - the names are ours


def recent_incidents(connection: Connection, age: timedelta) -> Sequence[Incident]:
    """Return the open incidents, then those that were resolved within ``age`` or have a message that is not sent yet.

    The newest is first.
    """
    return [Incident(*row) for row in connection.execute(_RECENT, {"age": age})]


def prune(connection: Connection, age: timedelta) -> None:
    """Delete incidents that were resolved longer than ``age`` ago."""
    prune_table(connection, "ingest.alert", "resolved_at < now() - :age", age)
