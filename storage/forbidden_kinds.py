"""What a tenant's token may not read: noted once for people, and asked for seldom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, text

#: Whether a kind may be read: yes, once in this hour to see whether it may now, or not yet.
Permission = Literal["open", "trial", "refused"]

#: A permission is given by a person. Asking once an hour finds out soon enough, and is no burden.
ASK_AGAIN_AFTER = timedelta(hours=1)


# Index: primary key.
_NOTE = text("""
INSERT INTO ingest.forbidden_kind AS known (tenant, kind, ask_again_at, error)
VALUES (:tenant, :kind, now() + :after, :error)
    ON CONFLICT (tenant, kind) DO UPDATE SET
       last_refused_at = now(),
       ask_again_at = excluded.ask_again_at,
       error = excluded.error
RETURNING xmax = 0
""")


def record_forbidden(connection: Connection, tenant: str, kind: str, error: str) -> bool:
    """Note that AMPECO answered 403, and leave the kind alone for an hour; returns whether that is new."""
    given = {"tenant": tenant, "kind": kind, "error": error, "after": ASK_AGAIN_AFTER}
    return bool(connection.execute(_NOTE, given).scalar_one())


# Index: primary key.
_STANDS = text("SELECT FROM ingest.forbidden_kind WHERE tenant = :tenant AND kind = :kind")

# Index: primary key. Of several who try at once, the row lock lets one through.
_TRY = text("""
UPDATE ingest.forbidden_kind
   SET ask_again_at = now() + :after
 WHERE tenant = :tenant
   AND kind = :kind
   AND ask_again_at <= now()
RETURNING tenant
""")


def permission_to_read(connection: Connection, tenant: str, kind: str) -> Permission:
    """Whether a kind may be read: yes, once in this hour to see whether it may now, or not yet."""
    given = {"tenant": tenant, "kind": kind}
    if connection.execute(_STANDS, given).first() is None:
        return "open"
    if connection.execute(_TRY, given | {"after": ASK_AGAIN_AFTER}).first() is not None:
        return "trial"
    # Whoever held the row while we waited for it may have lifted the refusal: only a new statement sees that.
    return "open" if connection.execute(_STANDS, given).first() is None else "refused"


_LIFT = text("DELETE FROM ingest.forbidden_kind WHERE tenant = :tenant AND kind = :kind")


def clear_forbidden(connection: Connection, tenant: str, kind: str) -> None:
    """The kind can be read again."""
    connection.execute(_LIFT, {"tenant": tenant, "kind": kind})


@dataclass(frozen=True, slots=True)
class ForbiddenKind:
    """A kind that a tenant's token may not read; ``waiting`` reads of it wait."""

    tenant: str
    kind: str
    first_refused_at: datetime
    last_refused_at: datetime
    ask_again_at: datetime
    error: str
    waiting: int


# Index: the primary key of the reads; there are few refusals.
_ALL = text("""
SELECT tenant, kind, first_refused_at, last_refused_at, ask_again_at, error,
       (SELECT count(*)
          FROM ingest.refresh_request
         WHERE refresh_request.tenant = forbidden_kind.tenant AND refresh_request.kind = forbidden_kind.kind)
  FROM ingest.forbidden_kind
 ORDER BY tenant, kind
""")


def forbidden_kinds(connection: Connection) -> list[ForbiddenKind]:
    """Every refusal that stands, of every tenant."""
    return [ForbiddenKind(*row) for row in connection.execute(_ALL)]
