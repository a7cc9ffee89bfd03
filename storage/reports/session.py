"""Show one session for the console: what was derived of it, what it was made of, and what corrected it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

#: The most rows of each list of a session.
MAX_ROWS = 500


@dataclass(frozen=True, slots=True)
class Session:
    """A session of ``analytics.session``, with the columns of that table."""

    session_id: int
    location_id: int | None
    location_name: str | None
    charge_point_id: int | None
    charge_point_name: str | None
    evse_id: int | None
    evse_label: str | None
    connector_id: int | None
    connector_type: str | None
    current_type: str | None
    max_power_w: int | None
    tariff_id: int | None
    tariff_name: str | None
    timezone: str | None
    started_at: datetime | None
    stopped_at: datetime | None
    status: str | None
    outcome: str
    stop_reason: str | None
    connected_s: int | None
    charging_s: int | None
    idle_s: int | None
    energy_wh: Decimal | None
    energy_grid_wh: Decimal | None
    energy_local_wh: Decimal | None
    energy_non_billable_wh: Decimal | None
    meter_start_wh: Decimal | None
    meter_stop_wh: Decimal | None
    meter_gap_wh: Decimal | None
    power_average_w: int | None
    power_peak_w: int | None
    soc_begin_percent: Decimal | None
    soc_end_percent: Decimal | None
    amount_with_tax: Decimal | None
    amount_without_tax: Decimal | None
    tax_amount: Decimal | None
    tax_percent: Decimal | None
    currency: str | None
    electricity_cost: Decimal | None
    payment_type: str | None
    payment_status: str | None
    billing_status: str | None
    is_final: bool
    authorization_id: int | None
    driver_key: str | None
    is_roaming: bool
    cdr_ids: list[int] | None
    provisional: bool
    conflicting: bool
    removed_at: datetime | None
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Period:
    """A charging period; energy in Wh, the amount in the session's currency."""

    charging_period_id: int
    charging_state: str | None
    started_at: datetime | None
    stopped_at: datetime | None
    energy_wh: Decimal | None
    amount: Decimal | None


@dataclass(frozen=True, slots=True)
class Quarter:
    """The energy of a quarter of an hour, see ``analytics.energy_interval``."""

    began_at: datetime
    duration_s: int
    energy_wh: Decimal
    estimated_wh: Decimal
    power_peak_w: int | None
    method: str
    anomalies: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to charge that led to the session, see ``analytics.charge_attempt``."""

    source: str
    source_id: int
    attempted_at: datetime | None
    method: str | None
    result: str | None
    rejection_reason: str | None
    is_success: bool | None
    is_csr_success: bool | None


@dataclass(frozen=True, slots=True)
class Cdr:
    """A charge detail record that the session names; all but its id is None if it is not stored."""

    cdr_id: int
    protocol_type: str | None
    is_local: bool | None
    is_credit: bool | None
    started_at: datetime | None
    ended_at: datetime | None
    energy_wh: Decimal | None
    amount_without_tax: Decimal | None
    currency: str | None


@dataclass(frozen=True, slots=True)
class Tariff:
    """The snapshot of the tariff by which the session was priced; prices are in its currency."""

    tariff_snapshot_id: int
    tariff_id: int | None
    name: str | None
    type: str | None
    currency: str | None
    price_per_kwh: Decimal | None
    price_per_session: Decimal | None
    connection_fee: Decimal | None
    idle_fee_per_minute: Decimal | None
    min_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks wrong with the session, see ``analytics.finding``."""

    rule: str
    severity: str
    evidence: Mapping[str, Any]
    first_seen_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class PendingRead:
    """A read of the session that is requested."""

    reason: str
    requested_by: UUID | None
    requested_at: datetime
    due_at: datetime
    attempts: int
    last_error: str | None


# Index: primary key.
_SESSION = text(f"""
SELECT {", ".join(each.name for each in fields(Session))}
  FROM analytics.session
 WHERE tenant = :tenant
   AND session_id = :session_id
""")  # noqa: S608 - the names are ours


def derived_session(connection: Connection, tenant: str, session_id: int) -> Session | None:
    """Return a session; None if none of this id was derived."""
    row = connection.execute(_SESSION, {"tenant": tenant, "session_id": session_id}).first()
    return None if row is None else Session(*row)


# Index: charging_period_tenant_session_id_idx.
_PERIODS = text("""
SELECT charging_period_id, charging_state, started_at, stopped_at, energy_wh, amount
  FROM charging.charging_period
 WHERE tenant = :tenant
   AND session_id = :session_id
   AND deleted_at IS NULL
 ORDER BY started_at, charging_period_id
 LIMIT :limit
""")


def periods(connection: Connection, tenant: str, session_id: int) -> list[Period]:
    """Return the charging periods of a session that exist, in their order."""
    return [Period(*row) for row in connection.execute(_PERIODS, _one(tenant, session_id))]


# Index: primary key.
_QUARTERS = text("""
SELECT began_at, duration_s, energy_wh, estimated_wh, power_peak_w, method, anomalies
  FROM analytics.energy_interval
 WHERE tenant = :tenant
   AND session_id = :session_id
 ORDER BY began_at
""")


def quarters(connection: Connection, tenant: str, session_id: int) -> list[Quarter]:
    """Return the energy of a session by quarter of an hour; there are at most 14 days of them."""
    return [Quarter(*row) for row in connection.execute(_QUARTERS, {"tenant": tenant, "session_id": session_id})]


# Indexes: (tenant, session_id) of the pairs; primary key of the attempts.
_ATTEMPTS = text("""
SELECT attempt.source, attempt.source_id, attempt.attempted_at, attempt.method, attempt.result,
       attempt.rejection_reason, attempt.is_success, attempt.is_csr_success
  FROM (SELECT 'authorization' AS source, authorization_id AS source_id
          FROM analytics.authorization_session
         WHERE tenant = :tenant
           AND session_id = :session_id
         UNION
        SELECT 'session', :session_id) AS named
  JOIN analytics.charge_attempt AS attempt
    ON attempt.tenant = :tenant
   AND attempt.source = named.source
   AND attempt.source_id = named.source_id
 ORDER BY attempt.attempted_at, attempt.source_id
 LIMIT :limit
""")


def attempts(connection: Connection, tenant: str, session_id: int) -> list[Attempt]:
    """Return the attempts to charge that led to a session."""
    return [Attempt(*row) for row in connection.execute(_ATTEMPTS, _one(tenant, session_id))]


# Index: primary key.
_CDRS = text("""
SELECT named.cdr_id, cdr.protocol_type, cdr.is_local, cdr.is_credit, cdr.started_at, cdr.ended_at, cdr.energy_wh,
       cdr.amount_without_tax, cdr.currency
  FROM unnest(CAST(:cdr_ids AS bigint[])) AS named (cdr_id)
  LEFT JOIN charging.cdr
    ON cdr.tenant = :tenant
   AND cdr.cdr_id = named.cdr_id
 ORDER BY named.cdr_id
""")


def cdrs(connection: Connection, tenant: str, cdr_ids: Sequence[int]) -> list[Cdr]:
    """Return the charge detail records of these ids, also those that are not stored."""
    rows = connection.execute(_CDRS, {"tenant": tenant, "cdr_ids": list(cdr_ids)[:MAX_ROWS]})
    return [Cdr(*row) for row in rows]


# Index: primary key.
_TARIFF = text(f"""
SELECT {", ".join(each.name for each in fields(Tariff))}
  FROM charging.tariff_snapshot
 WHERE tenant = :tenant
   AND tariff_snapshot_id = :tariff_snapshot_id
""")  # noqa: S608 - the names are ours


def tariff(connection: Connection, tenant: str, tariff_snapshot_id: int | None) -> Tariff | None:
    """Return the snapshot of a tariff; None if it is not stored."""
    row = connection.execute(_TARIFF, {"tenant": tenant, "tariff_snapshot_id": tariff_snapshot_id}).first()
    return None if row is None else Tariff(*row)


# Index: (tenant, kind, entity_id).
_FINDINGS = text("""
SELECT rule, severity, evidence, first_seen_at, resolved_at
  FROM analytics.finding
 WHERE tenant = :tenant
   AND kind = 'session'
   AND entity_id = :session_id
 ORDER BY resolved_at IS NOT NULL, first_seen_at
 LIMIT :limit
""")


def findings(connection: Connection, tenant: str, session_id: int) -> list[Finding]:
    """Return the findings about a session, the open ones first."""
    return [Finding(*row) for row in connection.execute(_FINDINGS, _one(tenant, session_id))]


# Index: primary key.
_PENDING_READ = text("""
SELECT reason, requested_by, requested_at, due_at, attempts, last_error
  FROM ingest.refresh_request
 WHERE tenant = :tenant
   AND kind = :kind
   AND entity_id = :entity_id
   AND reference = ''
""")


def pending_read(connection: Connection, tenant: str, kind: str, entity_id: int) -> PendingRead | None:
    """Return the read of an entity that is requested; None if none is."""
    row = connection.execute(_PENDING_READ, {"tenant": tenant, "kind": kind, "entity_id": entity_id}).first()
    return None if row is None else PendingRead(*row)


def _one(tenant: str, session_id: int) -> dict[str, Any]:
    return {"tenant": tenant, "session_id": session_id, "limit": MAX_ROWS}
