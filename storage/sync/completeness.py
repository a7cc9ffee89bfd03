"""Report completeness: which changes no notification announced, and how sync runs handled them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from storage.schema.entities import MIRRORS


@dataclass(frozen=True, slots=True)
class KindCompleteness:
    """The completeness of one kind of one tenant in the period of the report.

    Attributes:
        tenant: the tenant's name.
        kind: the kind of entity.
        sync_runs: sync runs through its listing that are finished.
        compared: entities compared by these and by unfinished sync runs; an entity counts once per sync run.
        missing: compared entities that were not stored.
        stale: compared entities that were stored in an older state, with no notification or read of them pending.
        healed: missing and stale entities that the sync run brought up to date.
        absent: stored entities that a complete listing did not show; each of them was read by itself.
        deleted: entities that got a tombstone.
        unreadable: listed entities that could not be parsed.
        calls: calls made.
        behind_seconds: age of the oldest missed change, in seconds; None if none was missed.
        changed_until: every change up to this time of the tenant's clock has been read; None before the first
            sync run is finished.
        full_at: when the last sync run through the complete listing ended, by our clock.
        trouble: why the open sync run was postponed; None if it was not.
    """

    tenant: str
    kind: str
    sync_runs: int
    compared: int
    missing: int
    stale: int
    healed: int
    absent: int
    deleted: int
    unreadable: int
    calls: int
    behind_seconds: float | None
    changed_until: datetime | None
    full_at: datetime | None
    trouble: str | None

    @property
    def as_shown(self) -> float | None:
        """The share of the compared entities that were stored as listed, 0 to 1; None if none was compared."""
        return 1 - (self.missing + self.stale) / self.compared if self.compared else None


# Indexes: primary keys of sync_run and sync_cursor. Each sync run has one row, and old rows are pruned.
_COMPLETENESS = text("""
SELECT tenant, kind,
       count(run.finished_at) AS sync_runs,
       CAST(coalesce(sum(run.compared), 0) AS bigint) AS compared,
       CAST(coalesce(sum(run.missing), 0) AS bigint) AS missing,
       CAST(coalesce(sum(run.stale), 0) AS bigint) AS stale,
       CAST(coalesce(sum(run.healed), 0) AS bigint) AS healed,
       CAST(coalesce(sum(run.absent), 0) AS bigint) AS absent,
       CAST(coalesce(sum(run.unreadable), 0) AS bigint) AS unreadable,
       CAST(coalesce(sum(run.calls), 0) AS bigint) AS calls,
       CAST(max(run.behind_seconds) AS float8) AS behind_seconds,
       max(cursor.changed_until) AS changed_until,
       max(cursor.full_at) AS full_at,
       max(run.last_error) FILTER (WHERE run.finished_at IS NULL) AS trouble
  FROM (SELECT *
          FROM ingest.sync_run
         WHERE tenant = ANY(:tenants)
           AND (purpose = 'reconcile' OR finished_at IS NULL)
           AND (moved_at > now() - :during OR finished_at IS NULL)) AS run
  FULL JOIN (SELECT * FROM ingest.sync_cursor WHERE tenant = ANY(:tenants)) AS cursor USING (tenant, kind)
 GROUP BY tenant, kind
 ORDER BY tenant, kind
""")


def completeness(
    connection: Connection, kinds_read: Mapping[str, Collection[str]], during: timedelta
) -> list[KindCompleteness]:
    """Return the report of the reconciling sync runs, an entry for each tenant and kind that was ever synced.

    The report leaves out finished backfills: an entity that a backfill reads for the first time was not missed.

    Parameters:
        kinds_read: the kinds that are read of each tenant, by its name; the sync run of another one, which was left
            when its group was taken out of ``mirror``, is no trouble.
        during: the period, back from now.
    """
    tenants = list(kinds_read)
    rows = connection.execute(_COMPLETENESS, {"tenants": tenants, "during": during}).mappings().all()
    deleted = _deleted(connection, tenants, {row["kind"] for row in rows}, during)
    found = [KindCompleteness(**row, deleted=deleted.get((row["tenant"], row["kind"]), 0)) for row in rows]
    return [each if each.kind in kinds_read[each.tenant] else replace(each, trouble=None) for each in found]


def _deleted(
    connection: Connection, tenants: Collection[str], kinds: Collection[str], during: timedelta
) -> dict[tuple[str, str], int]:
    """Count the tombstones set in the last ``during``, by tenant and kind. This reads whole mirrored tables."""
    counts: dict[tuple[str, str], int] = {}
    for kind in sorted(kinds & MIRRORS.keys()):
        rows = connection.execute(
            text(f"""
                SELECT tenant, count(*)
                  FROM charging.{MIRRORS[kind].name} AS known
                 WHERE {MIRRORS[kind].matches("known", "ANY(:tenants)")}
                   AND deleted_at > now() - :during
                 GROUP BY tenant
            """),  # noqa: S608 - the names are ours
            {"tenants": list(tenants), "during": during},
        )
        counts |= {(tenant, kind): count for tenant, count in rows}
    return counts
