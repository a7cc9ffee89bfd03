"""Derive AMPECO's downtime periods, and return the EVSEs whose periods changed, each with the time of the change."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import text

from analytics.schema.availability import downtime_period
from analytics.scope import Scope, merged, whole, widen
from analytics.writing import Work

SUBJECTS = ("evse", "charge_point")


def derive(work: Work) -> Scope:
    """Derive the downtime periods that were marked.

    Returns:
        The EVSEs whose periods have changed, each with the earliest time of one before or after the change.
    """
    changed: Scope = {}
    for subject in SUBJECTS:
        periods = merged(whole(work.marks(f"{subject}_downtime_period")), _of_notices(work, subject))
        if not periods:
            continue
        before = _load(work, subject, periods)
        written = work.write_query(downtime_period, periods, _PERIODS[subject], among=f"known.subject = '{subject}'")
        for evse_id, since in _evses(work, before, _load(work, subject, written), written):
            widen(changed, evse_id, since)
    return changed


def _of_notices(work: Work, subject: str) -> Scope:
    notices = work.marks("downtime_period_notice")
    if not notices:
        return {}
    parameters = {"tenant": work.tenant, "ids": sorted(notices)}
    return whole(work.connection.execute(_PERIODS_OF_NOTICES[subject], parameters).scalars())


# Notices are few, and hardly ever change: the periods of a tenant are scanned.
_PERIODS_OF_NOTICES = {
    subject: text(f"""
SELECT {subject}_downtime_period_id
  FROM charging.{subject}_downtime_period
 WHERE tenant = :tenant
   AND notice_id = ANY(:ids)
""")  # noqa: S608 - the names are ours
    for subject in SUBJECTS
}

# Index: primary keys.
_PERIODS = {
    subject: f"""
SELECT '{subject}' AS subject,
       period.{subject}_downtime_period_id AS downtime_period_id,
       {"period.evse_id" if subject == "evse" else "NULL"} AS evse_id,
       period.charge_point_id,
       period.location_id,
       period.type,
       period.entry_mode,
       notice.notice,
       period.started_at,
       period.ended_at,
       period.deleted_at
  FROM scope
  JOIN charging.{subject}_downtime_period AS period
    ON period.tenant = :tenant
   AND period.{subject}_downtime_period_id = scope.entity_id
  LEFT JOIN charging.downtime_period_notice AS notice
    ON notice.tenant = :tenant
   AND notice.downtime_period_notice_id = period.notice_id
"""  # noqa: S608 - the names are ours
    for subject in SUBJECTS
}

# Index: primary key.
_KNOWN = text("""
SELECT downtime_period_id, evse_id, charge_point_id, started_at
  FROM analytics.downtime_period
 WHERE tenant = :tenant
   AND subject = :subject
   AND downtime_period_id = ANY(:ids)
   AND started_at IS NOT NULL
""")

_Known = tuple[int, int | None, int | None, datetime]


def _load(work: Work, subject: str, periods: Collection[int]) -> list[_Known]:
    parameters = {"tenant": work.tenant, "subject": subject, "ids": sorted(periods)}
    return [tuple(row) for row in work.connection.execute(_KNOWN, parameters)]


# Index: evse_tenant_charge_point_id_idx.
_EVSES_OF = text("""
SELECT charge_point_id, evse_id
  FROM analytics.evse
 WHERE tenant = :tenant
   AND charge_point_id = ANY(:ids)
""")


def _evses(
    work: Work, before: Iterable[_Known], after: Iterable[_Known], written: Collection[int]
) -> Iterable[tuple[int, datetime]]:
    """Yield the EVSEs to which changed periods belong or belonged, with the beginning of each period."""
    of_charge_points: Scope = {}
    for period_id, evse_id, charge_point_id, started_at in (*before, *after):
        if period_id not in written:
            continue
        if evse_id is not None:
            yield evse_id, started_at
        elif charge_point_id is not None:
            widen(of_charge_points, charge_point_id, started_at)
    if of_charge_points:
        parameters = {"tenant": work.tenant, "ids": sorted(of_charge_points)}
        for charge_point_id, evse_id in work.connection.execute(_EVSES_OF, parameters):
            since = of_charge_points[charge_point_id]
            assert since is not None
            yield evse_id, since
