"""Record the kinds that a tenant's token may not read, and decide when to try them again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, text

#: Whether a kind may be read now: ``open``: yes; ``trial``: once, to find out whether it is still forbidden;
#: ``refused``: not before the next trial.
Permission = Literal["open", "trial", "refused"]

#: The time between trials. A person grants a permission, so one call an hour finds out soon enough.
ASK_AGAIN_AFTER = timedelta(hours=1)


# Index: primary key.
_RECORD = text("""
INSERT INTO ingest.forbidden_kind AS known (tenant, kind, ask_again_at, error)
VALUES (:tenant, :kind, now() + :after, :error)
    ON CONFLICT (tenant, kind) DO UPDATE SET
       last_refused_at = excluded.last_refused_at,
       ask_again_at = excluded.ask_again_at,
       error = excluded.error
RETURNING xmax = 0
""")


def record_forbidden(connection: Connection, tenant: str, kind: str, error: str) -> bool:
    """Record that AMPECO answered 403 for a kind, so that it is not read for an hour.

    Returns:
        Whether the kind was not forbidden before.
    """
    parameters = {"tenant": tenant, "kind": kind, "error": error, "after": ASK_AGAIN_AFTER}
    return bool(connection.execute(_RECORD, parameters).scalar_one())


# Index: primary key.
_SELECT = text("SELECT FROM ingest.forbidden_kind WHERE tenant = :tenant AND kind = :kind")

# Index: primary key. Of several processes that try at the same time, the row lock lets one through.
_TRY = text("""
UPDATE ingest.forbidden_kind
   SET ask_again_at = now() + :after
 WHERE tenant = :tenant
   AND kind = :kind
   AND ask_again_at <= now()
RETURNING tenant
""")


def permission_to_read(connection: Connection, tenant: str, kind: str) -> Permission:
    """Return whether a kind may be read now; see :data:`Permission`. The answer ``trial`` uses up the trial."""
    parameters = {"tenant": tenant, "kind": kind}
    if connection.execute(_SELECT, parameters).first() is None:
        return "open"
    if connection.execute(_TRY, parameters | {"after": ASK_AGAIN_AFTER}).first() is not None:
        return "trial"
    # The process whose row lock we waited for may have deleted the row: only a new statement sees that.
    return "open" if connection.execute(_SELECT, parameters).first() is None else "refused"


_CLEAR = text("DELETE FROM ingest.forbidden_kind WHERE tenant = :tenant AND kind = :kind")


def clear_forbidden(connection: Connection, tenant: str, kind: str) -> None:
    """Record that a kind can be read again."""
    connection.execute(_CLEAR, {"tenant": tenant, "kind": kind})


@dataclass(frozen=True, slots=True)
class ForbiddenKind:
    """A kind that a tenant's token may not read; ``waiting`` is the number of its refresh requests."""

    tenant: str
    kind: str
    first_refused_at: datetime
    last_refused_at: datetime
    ask_again_at: datetime
    error: str
    waiting: int


# Index: the primary key of the refresh requests; there are few forbidden kinds.
_ALL = text("""
SELECT tenant, kind, first_refused_at, last_refused_at, ask_again_at, error,
       (SELECT count(*)
          FROM ingest.refresh_request
         WHERE refresh_request.tenant = forbidden_kind.tenant AND refresh_request.kind = forbidden_kind.kind)
  FROM ingest.forbidden_kind
 ORDER BY tenant, kind
""")


def forbidden_kinds(connection: Connection) -> list[ForbiddenKind]:
    """Return the forbidden kinds of all tenants."""
    return [ForbiddenKind(*row) for row in connection.execute(_ALL)]
