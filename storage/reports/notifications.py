"""Report on single notifications and on the causes of failures, for the pages of the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from storage.ids import made_at
from storage.inbox.batches import LoggedBody
from storage.schema.entities import MIRRORS
from storage.schema.tracked import TRACKED
from storage.state.changes import ChangeSet
from storage.state.fold import Fact

#: The most failures that are grouped by their cause, the newest first.
MAX_FAILURES = 10_000

#: The most causes that are returned.
MAX_CAUSES = 50


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason for which notifications failed.

    Attributes:
        count: how many of the newest failures have it.
        first_at, last_at: when the first and the last of them were received.
        error: the error of the last one; None if there is only the reason.
        last_id: the last one.
    """

    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    error: str | None
    last_id: UUID


# Index: outcome_failed_idx, from the end of the time.
_CAUSES = text("""
SELECT reason,
       count(*) AS failures,
       min(received_at),
       max(received_at),
       (array_agg(error ORDER BY received_at DESC, notification_id DESC))[1],
       (array_agg(notification_id ORDER BY received_at DESC, notification_id DESC))[1]
  FROM (SELECT reason, received_at, notification_id, left(error, 500) AS error
          FROM ingest.outcome
         WHERE tenant = :tenant
           AND state = 'failed'
           AND received_at >= :since
           AND received_at < :until
         ORDER BY received_at DESC, notification_id DESC
         LIMIT :max_failures) AS newest
 GROUP BY reason
 ORDER BY failures DESC, reason
 LIMIT :limit
""")


def causes(connection: Connection, tenant: str, since: datetime, until: datetime) -> list[Cause]:
    """Return the causes of the newest failures of a time, the most frequent first."""
    parameters = {"tenant": tenant, "since": since, "until": until, "max_failures": MAX_FAILURES, "limit": MAX_CAUSES}
    return [Cause(*row) for row in connection.execute(_CAUSES, parameters)]


@dataclass(frozen=True, slots=True)
class StoredNotification:
    """A notification, as the log and the tables of its progress hold it.

    Attributes:
        is_changed: whether secrets or people were removed from the body after it was received.
        committed_at: when its batch was committed.
        applied_at: when its batch was closed; None while it is open.
        attempts: how often a worker tried to apply its batch.
        batch_error: why the last attempt at its batch did not finish.
        outcome: ``ignored`` or ``failed``; None for neither.
        reason, error, traceback: why.
        recorded_at: when the outcome was recorded.
    """

    notification_id: UUID
    received_at: datetime
    batch_id: UUID
    notification_type: str | None
    session_id: int | None
    evse_id: int | None
    charge_point_id: int | None
    token_id: str
    signature_encoding: str
    headers: Mapping[str, str]
    body: bytes
    is_changed: bool
    committed_at: datetime
    applied_at: datetime | None
    attempts: int
    batch_error: str | None
    outcome: str | None
    reason: str | None
    error: str | None
    traceback: str | None
    recorded_at: datetime | None

    @property
    def state(self) -> str:
        """``pending``, ``applied``, ``ignored`` or ``failed``."""
        return self.outcome or ("pending" if self.applied_at is None else "applied")

    @property
    def logged(self) -> LoggedBody:
        """The notification as a worker reads it."""
        return LoggedBody(
            self.batch_id, self.notification_id, self.received_at, self.body, self.headers.get("X-Timestamp")
        )


# Indexes: primary keys. The time part of the id is the time of receipt, to a millisecond.
_LOAD = text("""
SELECT notification.notification_id, notification.received_at, notification.batch_id, notification_type, session_id,
       evse_id, charge_point_id, token_id, signature_encoding, headers, body, body_sha256 IS NOT NULL,
       committed_at, applied_at, attempts, last_error, outcome.state, reason, error, traceback, recorded_at
  FROM ingest.notification
  JOIN ingest.batch
    ON batch.tenant = notification.tenant
   AND batch.batch_id = notification.batch_id
  LEFT JOIN ingest.outcome
    ON outcome.tenant = notification.tenant
   AND outcome.notification_id = notification.notification_id
 WHERE notification.tenant = :tenant
   AND notification.notification_id = :notification_id
   AND notification.received_at BETWEEN :made_at - interval '1 second' AND :made_at + interval '1 second'
""")


def load_notification(connection: Connection, tenant: str, notification_id: UUID) -> StoredNotification | None:
    """Return a notification; None if the log does not contain it, or not any more."""
    try:
        made = made_at(notification_id)
    except (ValueError, OverflowError):  # no UUIDv7: its time part is after the year 9999
        return None
    parameters = {"tenant": tenant, "notification_id": notification_id, "made_at": made}
    row = connection.execute(_LOAD, parameters).first()
    return None if row is None else StoredNotification(*row)


@dataclass(frozen=True, slots=True)
class FactEffect:
    """A fact of a notification, and what the stored entity says of it.

    Attributes:
        stored_at: the time of the stored fact; None: the column group is empty.
        is_stored: whether the stored fact is the one of the notification.
    """

    fact: Fact
    stored_at: datetime | None
    is_stored: bool


@dataclass(frozen=True, slots=True)
class ObservationEffect:
    """Observations of a notification: how many it contains, and of how many it is the first source."""

    table: str
    contained: int
    first_source_of: int


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision whose source is a notification."""

    kind: str
    entity_id: int
    column_group: str
    changed_from: Mapping[str, Any]
    changed_to: Mapping[str, Any]
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class WaitingRead:
    """A read that a notification requested and that was not made yet."""

    kind: str
    entity_id: int
    reason: str
    due_at: datetime
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Effects:
    """What a notification changed.

    Attributes:
        reads: the entities of which it requests a read, with the reason.
        waiting: those of the reads that wait.
    """

    facts: Sequence[FactEffect]
    observations: Sequence[ObservationEffect]
    revisions: Sequence[Revision]
    reads: Sequence[tuple[str, int, str]]
    waiting: Sequence[WaitingRead]


def effects(connection: Connection, tenant: str, notification_id: UUID, changes: ChangeSet) -> Effects:
    """Return what a notification changed.

    No index contains the sources of rows, so the rows are looked up by what the notification says.

    Parameters:
        changes: the change set of the notification.
    """
    return Effects(
        facts=_fact_effects(connection, tenant, changes.facts),
        observations=[
            _observation_effect(connection, tenant, notification_id, table, rows)
            for table, rows in sorted(changes.observations.items())
        ],
        revisions=_revisions(connection, tenant, notification_id, changes.facts),
        reads=sorted(
            [(*entity, str(reason)) for entity, reason in changes.required_reads.items()]
            + [(*entity, "unknown") for entity in changes.reads_if_unknown if entity not in changes.required_reads]
        ),
        waiting=_waiting_reads(connection, tenant, notification_id, changes),
    )


def _fact_effects(connection: Connection, tenant: str, facts: Sequence[Fact]) -> list[FactEffect]:
    by_group: dict[tuple[str, str], list[Fact]] = {}
    for fact in facts:
        by_group.setdefault((fact.kind, fact.group), []).append(fact)
    found: list[FactEffect] = []
    for (kind, group), of_group in by_group.items():
        mirror = MIRRORS[kind]
        # Index: the primary key of the mirror.
        statement = text(f"""
            SELECT {mirror.key}, {group}_at, {group}_version
              FROM charging.{mirror.name} AS stored
             WHERE {mirror.matches("stored")}
               AND stored.{mirror.key} = ANY(CAST(:ids AS bigint[]))
        """)  # noqa: S608 - the names are ours
        parameters = {"tenant": tenant, "ids": [fact.entity_id for fact in of_group]}
        stored = {row[0]: (row[1], row[2]) for row in connection.execute(statement, parameters)}
        for fact in of_group:
            at, version = stored.get(fact.entity_id, (None, None))
            found.append(FactEffect(fact, at, (at, version) == (fact.at, str(fact.version))))
    return found


#: The columns with which the unique constraints of the history tables begin.
_KEYS = {
    "evse_status_observation": ("evse_id", "observed_at"),
    "charge_point_hardware_observation": ("charge_point_id", "observed_at"),
    "charge_point_network_observation": ("charge_point_id", "observed_at"),
    "meter_value": ("session_id", "measured_at"),
    "notice": ("subject", "observed_at"),
}


def _observation_effect(
    connection: Connection, tenant: str, notification_id: UUID, table: str, rows: Sequence[Mapping[str, Any]]
) -> ObservationEffect:
    subject, time = _KEYS[table]
    # Index: the table's unique constraint.
    statement = text(f"""
        SELECT count(*)
          FROM charging.{table}
         WHERE tenant = :tenant
           AND {subject} = ANY(:subjects)
           AND ({time} = ANY(CAST(:times AS timestamptz[])) OR {time} IS NULL)
           AND notification_id = :notification_id
    """)  # noqa: S608 - the names are ours
    parameters = {
        "tenant": tenant,
        "subjects": list({row[subject] for row in rows}),
        "times": list({row[time] for row in rows if row[time] is not None}),
        "notification_id": notification_id,
    }
    return ObservationEffect(table, len(rows), connection.execute(statement, parameters).scalar_one())


# Indexes: the primary key of the one table, and the unique constraint of what the view reads, by entity.
_REVISIONS = text("""
SELECT 'session', session_id, column_group, changed_from, changed_to, learned_at
  FROM charging.session_revision
 WHERE tenant = :tenant
   AND session_id = ANY(CAST(:sessions AS bigint[]))
   AND notification_id = :notification_id
 UNION ALL
SELECT named.kind, named.entity_id, column_group, changed_from, changed_to, recorded_at
  FROM unnest(CAST(:kinds AS text[]), CAST(:ids AS bigint[])) AS named (kind, entity_id)
 CROSS JOIN LATERAL (
       SELECT column_group, changed_from, changed_to, recorded_at
         FROM charging.master_revision
        WHERE tenant = :tenant
          AND kind = named.kind
          AND entity_id = named.entity_id
          AND notification_id = :notification_id
        LIMIT 100) AS revision
 ORDER BY 1, 2, 3
 LIMIT 100
""")


def _revisions(connection: Connection, tenant: str, notification_id: UUID, facts: Sequence[Fact]) -> list[Revision]:
    if not facts:
        return []
    tracked = sorted({(fact.kind, fact.entity_id) for fact in facts if fact.kind in TRACKED})
    parameters = {
        "tenant": tenant,
        "notification_id": notification_id,
        "sessions": list({fact.entity_id for fact in facts if fact.kind == "session"}),
        "kinds": [kind for kind, _ in tracked],
        "ids": [entity_id for _, entity_id in tracked],
    }
    return [Revision(*row) for row in connection.execute(_REVISIONS, parameters)]


# Index: primary key.
_WAITING = text("""
SELECT kind, entity_id, refresh_request.reason, due_at, last_error
  FROM ingest.refresh_request
 WHERE tenant = :tenant
   AND (kind, entity_id) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:ids AS bigint[])))
   AND requested_by = :notification_id
 ORDER BY kind, entity_id
""")


def _waiting_reads(connection: Connection, tenant: str, notification_id: UUID, changes: ChangeSet) -> list[WaitingRead]:
    entities = sorted({*changes.required_reads, *changes.reads_if_unknown})
    if not entities:
        return []
    parameters = {
        "tenant": tenant,
        "notification_id": notification_id,
        "kinds": [entity.kind for entity in entities],
        "ids": [entity.entity_id for entity in entities],
    }
    return [WaitingRead(*row) for row in connection.execute(_WAITING, parameters)]
