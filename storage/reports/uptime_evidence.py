"""What makes the uptime of one EVSE: outages, what is let out of them, and downtime periods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from storage.reports.uptime_figures import Place, Span

#: The most outages, exclusions and periods of a month that are shown: a loose contact makes thousands.
MAX_OUTAGES = 100
MAX_EXCLUSIONS = 500
MAX_PERIODS = 100


@dataclass(frozen=True, slots=True)
class Outage:
    """A row of ``analytics.outage``.

    Attributes:
        ended_at: when it ended; None while it lasts.
        counted_s: seconds of it in the days that are looked at and are over.
        counted_excluded_s: seconds of these that exclusions cover.
        session_before_id, session_after_id: the session before and after it.
    """

    began_at: datetime
    ended_at: datetime | None
    cause: str
    error_code: str | None
    counted_s: int
    counted_excluded_s: int
    session_before_id: int | None
    session_after_id: int | None


# Indexes: primary keys; outages do not overlap, so the last one that began before the span is the only one of those
# that may reach into it. Instants are cut to whole seconds, as those of days are.
_OUTAGES = text("""
SELECT outage.began_at,
       nullif(outage.ended_at, 'infinity'),
       outage.cause,
       left(outage.error_code, 200),
       CAST(coalesce(extract(epoch FROM upper(counted.time) - lower(counted.time)), 0) AS bigint),
       CAST((SELECT coalesce(sum(extract(epoch FROM upper(each) - lower(each))), 0)
               FROM (SELECT range_agg(tstzrange(date_trunc('second', exclusion.began_at),
                                                date_trunc('second', exclusion.ended_at))) AS times
                       FROM analytics.exclusion AS exclusion
                      WHERE exclusion.tenant = :tenant
                        AND exclusion.evse_id = :evse_id
                        AND exclusion.began_at >= outage.began_at
                        AND exclusion.began_at < outage.ended_at) AS covered
              CROSS JOIN unnest(covered.times * tstzmultirange(counted.time)) AS each) AS bigint),
       outage.session_before_id,
       outage.session_after_id
  FROM analytics.outage AS outage
 CROSS JOIN LATERAL (
       SELECT tstzrange(date_trunc('second', outage.began_at), date_trunc('second', outage.ended_at))
            * tstzrange(:began_at, :counted_until_at) AS time) AS counted
 WHERE outage.tenant = :tenant
   AND outage.evse_id = :evse_id
   AND outage.began_at >= coalesce((
       SELECT max(earlier.began_at)
         FROM analytics.outage AS earlier
        WHERE earlier.tenant = :tenant
          AND earlier.evse_id = :evse_id
          AND earlier.began_at <= :since), :since)
   AND outage.began_at < :ended_at
   AND outage.ended_at > :since
 ORDER BY outage.began_at
 LIMIT :limit
""")


def outages_of(connection: Connection, tenant: str, evse_id: int, span: Span, since: datetime) -> list[Outage]:
    """Return outages of some days, in order, one more than are shown if there are more.

    Parameters:
        since: those that end after this time.
    """
    parameters: dict[str, Any] = {
        "tenant": tenant,
        "evse_id": evse_id,
        "since": since,
        "began_at": span.began_at,
        "ended_at": span.ended_at,
        "counted_until_at": span.counted_until_at,
        "limit": MAX_OUTAGES + 1,
    }
    return [Outage(*row) for row in connection.execute(_OUTAGES, parameters)]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A row of ``analytics.exclusion``: a time that is let out of an outage.

    Attributes:
        ended_at: when it ended; None while it lasts.
        source_id: the id of the exempt period, or the number of the operator's entry; 0: opening hours.
    """

    began_at: datetime
    ended_at: datetime | None
    outage_began_at: datetime
    source: str
    source_id: int
    reason: str | None
    evidence: Mapping[str, Any] | None


# Index: exclusion_tenant_evse_id_ended_at_idx.
_EXCLUSIONS = text("""
SELECT began_at, nullif(ended_at, 'infinity'), outage_began_at, source, source_id, left(reason, 500), evidence
  FROM analytics.exclusion
 WHERE tenant = :tenant
   AND evse_id = :evse_id
   AND ended_at > :began_at
   AND began_at < :ended_at
 ORDER BY began_at, source, source_id
 LIMIT :limit
""")


def exclusions_of(
    connection: Connection, tenant: str, evse_id: int, began_at: datetime, ended_at: datetime
) -> list[Exclusion]:
    """Return what is let out of the outages of a time, in order."""
    parameters = _time_of(tenant, evse_id, began_at, ended_at) | {"limit": MAX_EXCLUSIONS}
    return [Exclusion(*row) for row in connection.execute(_EXCLUSIONS, parameters)]


@dataclass(frozen=True, slots=True)
class Period:
    """A downtime period by AMPECO's own account, of an EVSE or its charge point."""

    subject: str
    downtime_period_id: int
    type: str | None
    entry_mode: str | None
    notice: str | None
    started_at: datetime | None
    ended_at: datetime | None


# Indexes: downtime_period_tenant_charge_point_id_started_at_idx, downtime_period_tenant_evse_id_started_at_idx. A
# period of an EVSE may name no charge point, or a former one.
_PERIODS = text("""
SELECT subject, downtime_period_id, type, entry_mode, left(notice, 500), started_at, ended_at
  FROM analytics.downtime_period
 WHERE tenant = :tenant
   AND (subject = 'evse' AND evse_id = :evse_id OR subject = 'charge_point' AND charge_point_id = :charge_point_id)
   AND deleted_at IS NULL
   AND started_at < :ended_at
   AND coalesce(ended_at, 'infinity') > :began_at
 ORDER BY started_at DESC
 LIMIT :limit
""")


def periods_of(
    connection: Connection, tenant: str, place: Place, began_at: datetime, ended_at: datetime
) -> list[Period]:
    """Return AMPECO's downtime periods of an EVSE in a time, the last one first."""
    parameters = _time_of(tenant, place.evse_id, began_at, ended_at)
    more = {"charge_point_id": place.charge_point_id, "limit": MAX_PERIODS}
    return [Period(*row) for row in connection.execute(_PERIODS, parameters | more)]


def _time_of(tenant: str, evse_id: int, began_at: datetime, ended_at: datetime) -> dict[str, Any]:
    return {"tenant": tenant, "evse_id": evse_id, "began_at": began_at, "ended_at": ended_at}
