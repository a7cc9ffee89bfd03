"""Record the kinds that cannot be read for a tenant, and decide when to try them again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, text

#: Why a kind cannot be read. ``forbidden``: the token may not read it (403). ``not_offered``: the tenant lacks the
#: feature, or its release of AMPECO has no such path (404).
InaccessibleReason = Literal["forbidden", "not_offered"]

#: Whether a kind may be read now; ``open``: yes; ``trial``: once, to find out whether it is still inaccessible;
#: ``refused``: not before the next trial.
Permission = Literal["open", "trial", "refused"]

#: The time between trials. A person grants a permission, so one call an hour finds out soon enough.
ASK_AGAIN_AFTER = timedelta(hours=1)

#: The longest time between trials of a kind that is not offered. It grows with the time since the first refusal, so
#: that a tenant that lacks a path for a moment, as during an upgrade, is soon read again.
MAX_ASK_AGAIN_AFTER = timedelta(days=1)


# Index: primary key.
_RECORD = text("""
INSERT INTO ingest.inaccessible_kind AS known (tenant, kind, reason, ask_again_at, error)
VALUES (:tenant, :kind, :reason, now() + :after, :error)
    ON CONFLICT (tenant, kind) DO UPDATE SET
       reason = excluded.reason,
       last_refused_at = excluded.last_refused_at,
       ask_again_at = greatest(known.ask_again_at, excluded.ask_again_at),
       error = excluded.error
RETURNING xmax = 0
""")


def record_inaccessible(connection: Connection, tenant: str, kind: str, reason: InaccessibleReason, error: str) -> bool:
    """Record that a kind cannot be read, so that it is not read until the next trial.

    Returns:
        Whether the kind was accessible before.
    """
    parameters = {"tenant": tenant, "kind": kind, "reason": reason, "error": error, "after": ASK_AGAIN_AFTER}
    return bool(connection.execute(_RECORD, parameters).scalar_one())


# Index: primary key.
_SELECT = text("""
SELECT reason, now() - first_refused_at AS refused_for
  FROM ingest.inaccessible_kind
 WHERE tenant = :tenant
   AND kind = :kind
""")

# Index: primary key. Of several processes that try at the same time, the row lock lets one through.
_TRY = text("""
UPDATE ingest.inaccessible_kind
   SET ask_again_at = now() + :after
 WHERE tenant = :tenant
   AND kind = :kind
   AND ask_again_at <= now()
RETURNING tenant
""")


def permission_to_read(connection: Connection, tenant: str, kind: str) -> Permission:
    """Return whether a kind may be read now; see :data:`Permission`. The answer ``trial`` uses up the trial."""
    parameters = {"tenant": tenant, "kind": kind}
    row = connection.execute(_SELECT, parameters).first()
    if row is None:
        return "open"
    after = ASK_AGAIN_AFTER
    if row.reason == "not_offered":
        after = min(max(row.refused_for, ASK_AGAIN_AFTER), MAX_ASK_AGAIN_AFTER)
    if connection.execute(_TRY, parameters | {"after": after}).first() is not None:
        return "trial"
    # The process whose row lock we waited for may have deleted the row: only a new statement sees that.
    return "open" if connection.execute(_SELECT, parameters).first() is None else "refused"


# Index: primary key.
_GIVE_BACK = text("""
UPDATE ingest.inaccessible_kind
   SET ask_again_at = now()
 WHERE tenant = :tenant
   AND kind = :kind
""")


def give_trial_back(connection: Connection, tenant: str, kind: str) -> None:
    """Let the next read be the trial, because the one that was permitted got no answer about the kind."""
    connection.execute(_GIVE_BACK, {"tenant": tenant, "kind": kind})


_CLEAR = text("DELETE FROM ingest.inaccessible_kind WHERE tenant = :tenant AND kind = :kind")


def clear_inaccessible(connection: Connection, tenant: str, kind: str) -> None:
    """Record that a kind can be read again."""
    connection.execute(_CLEAR, {"tenant": tenant, "kind": kind})


@dataclass(frozen=True, slots=True)
class InaccessibleKind:
    """A kind that cannot be read for a tenant; ``waiting`` is the number of its refresh requests."""

    tenant: str
    kind: str
    reason: InaccessibleReason
    first_refused_at: datetime
    last_refused_at: datetime
    ask_again_at: datetime
    error: str
    waiting: int


# Index: the primary key of the refresh requests; there are few inaccessible kinds.
_ALL = text("""
SELECT tenant, kind, reason, first_refused_at, last_refused_at, ask_again_at, error,
       (SELECT count(*)
          FROM ingest.refresh_request
         WHERE refresh_request.tenant = inaccessible_kind.tenant AND refresh_request.kind = inaccessible_kind.kind)
  FROM ingest.inaccessible_kind
 ORDER BY tenant, kind
""")


def inaccessible_kinds(connection: Connection, kinds_read: Mapping[str, Collection[str]]) -> list[InaccessibleKind]:
    """Return the inaccessible kinds that are read; of others it is recorded only that they were refused once.

    Parameters:
        kinds_read: the kinds that are read of each tenant, by its name.
    """
    found = [InaccessibleKind(*row) for row in connection.execute(_ALL)]
    return [each for each in found if each.kind in kinds_read.get(each.tenant, ())]
