"""The completeness report: what the tenant changed that it never told us, and what was done about it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from storage.mirrors import MIRRORS


@dataclass(frozen=True, slots=True)
class KindTruth:
    """One kind of one tenant, over the time that was asked for.

    Attributes:
        walks: walks through its listing that came to their end.
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
            the first walk's end.
        whole_at: when the last walk through the whole listing ended, by our clock.
        trouble: why a walk does not go on; None while none stands still.
    """

    tenant: str
    kind: str
    walks: int
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
    whole_at: datetime | None
    trouble: str | None

    @property
    def as_shown(self) -> float | None:
        """The share of the compared entities that were as the tenant shows them, 0 to 1."""
        return 1 - (self.missing + self.stale) / self.compared if self.compared else None


# Indexes: primary keys of walk and sync_cursor. A walk is a row; old ones are dropped.
_TRUTH = text("""
SELECT tenant, kind,
       count(walk.finished_at) AS walks,
       CAST(coalesce(sum(walk.compared), 0) AS bigint) AS compared,
       CAST(coalesce(sum(walk.missing), 0) AS bigint) AS missing,
       CAST(coalesce(sum(walk.stale), 0) AS bigint) AS stale,
       CAST(coalesce(sum(walk.healed), 0) AS bigint) AS healed,
       CAST(coalesce(sum(walk.absent), 0) AS bigint) AS absent,
       CAST(coalesce(sum(walk.unreadable), 0) AS bigint) AS unreadable,
       CAST(coalesce(sum(walk.calls), 0) AS bigint) AS calls,
       CAST(max(walk.behind_seconds) AS float8) AS behind_seconds,
       max(cursor.changed_until) AS changed_until,
       max(cursor.whole_at) AS whole_at,
       max(walk.last_error) FILTER (WHERE walk.finished_at IS NULL) AS trouble
  FROM (SELECT *
          FROM ingest.walk
         WHERE tenant = ANY(:tenants)
           AND (purpose = 'reconcile' OR finished_at IS NULL)
           AND (moved_at > now() - :during OR finished_at IS NULL)) AS walk
  FULL JOIN (SELECT * FROM ingest.sync_cursor WHERE tenant = ANY(:tenants)) AS cursor USING (tenant, kind)
 GROUP BY tenant, kind
 ORDER BY tenant, kind
""")


def truth(connection: Connection, tenants: Collection[str], during: timedelta) -> list[KindTruth]:
    """The report of the reconciling walks in the last ``during``, a row for each tenant and kind ever walked.

    A backfill is left out: what it finds for the first time, nobody had missed.
    """
    rows = connection.execute(_TRUTH, {"tenants": list(tenants), "during": during}).mappings().all()
    deleted = _deleted(connection, tenants, {row["kind"] for row in rows}, during)
    return [KindTruth(**row, deleted=deleted.get((row["tenant"], row["kind"]), 0)) for row in rows]


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
