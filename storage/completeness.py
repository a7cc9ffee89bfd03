"""The completeness report: what the tenant changed that it never told us, and what was done about it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from storage.mirrors import MIRRORS


@dataclass(frozen=True, slots=True)
class KindCompleteness:
    """One kind of one tenant, over the time that was asked for.

    Attributes:
        sync runs: sync runs through its listing that came to their end.
        compared: entities listed by them and by those under way, each time anew.
        missing: those that we did not know.
        stale: those of which we knew an older state, with nothing under way to mend it.
        healed: missing and stale ones that then were as listed.
        absent: those we knew that a whole listing did not show; they were read one by one.
        deleted: those that a read found gone.
        unreadable: listed, and not to be understood.
        calls: calls made.
        behind_seconds: age of the oldest missed change; None where none was missed.
        changed_until: every change up to then, by the tenant's clock, has been read; None before
            the first sync run's end.
        full_at: when the last sync run through the whole listing ended, by our clock.
        trouble: why a sync run does not go on; None while none stands still.
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
        """The share of the compared entities that were as the tenant shows them, 0 to 1."""
        return 1 - (self.missing + self.stale) / self.compared if self.compared else None


# Indexes: primary keys of sync run and sync_cursor. A sync run is a row; old ones are dropped.
_COMPLETENESS = text("""
SELECT tenant, kind,
       count(run.finished_at) AS runs,
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


def completeness(connection: Connection, tenants: Collection[str], during: timedelta) -> list[KindCompleteness]:
    """The report of the reconciling sync runs in the last ``during``, a row for each tenant and kind ever synced.

    A backfill is left out: what it finds for the first time, nobody had missed.
    """
    rows = connection.execute(_COMPLETENESS, {"tenants": list(tenants), "during": during}).mappings().all()
    deleted = _deleted(connection, tenants, {row["kind"] for row in rows}, during)
    return [KindCompleteness(**row, deleted=deleted.get((row["tenant"], row["kind"]), 0)) for row in rows]


def _deleted(
    connection: Connection, tenants: Collection[str], kinds: Collection[str], during: timedelta
) -> dict[tuple[str, str], int]:
    """Tombstones set in the last ``during``. The mirrored tables are read whole."""
    counted: dict[tuple[str, str], int] = {}
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
        counted |= {(tenant, kind): count for tenant, count in rows}
    return counted
