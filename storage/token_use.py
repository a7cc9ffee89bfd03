"""When each configured token was last used to sign a notification.

The accept path notes the token beside every notification; here that is looked up afterwards, so
accepting costs no more for it. What was found is kept, so that a later look reads only what came since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

#: Of a token that was not known before, so much of the log is searched.
FIRST_LOOK = timedelta(days=2)

#: A notification is received a moment before it is committed and can be seen.
_OVERLAP = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class TokenUse:
    """A token by its id, since when it is known, and when it last verified a notification.

    Attributes:
        known_since_at: when it was first looked for; None where it has yet to be.
    """

    tenant: str
    token_id: str
    known_since_at: datetime | None
    last_used_at: datetime | None


# Index: the primary key of the log, from its end: a token in use is found in its first row, and for one
# that is not the rows since the last look are read.
_USED = """
SELECT token_id, known.known_since_at, greatest(known.last_used_at, used.received_at) AS last_used_at
  FROM unnest(CAST(:token_ids AS text[])) AS given (token_id)
  LEFT JOIN (SELECT * FROM ingest.token_use WHERE tenant = :tenant) AS known USING (token_id)
  LEFT JOIN LATERAL (
       SELECT received_at
         FROM ingest.notification
        WHERE notification.tenant = :tenant
          AND notification.token_id = given.token_id
          AND received_at >= coalesce(known.looked_until_at - :overlap, now() - :first_look)
        ORDER BY received_at DESC
        LIMIT 1
  ) AS used ON true
"""

_LOOK = text(f"""
INSERT INTO ingest.token_use AS known (tenant, token_id, last_used_at, looked_until_at)
SELECT :tenant, token_id, last_used_at, now()
  FROM ({_USED}) AS found
    ON CONFLICT (tenant, token_id) DO UPDATE SET
       last_used_at = greatest(known.last_used_at, excluded.last_used_at),
       looked_until_at = excluded.looked_until_at
""")  # noqa: S608 - the statement above

# Index: primary key. A token that comes back later is known anew.
_DROP = text("DELETE FROM ingest.token_use WHERE tenant = :tenant AND token_id <> ALL(:token_ids)")


def look(connection: Connection, tenant: str, token_ids: Sequence[str]) -> None:
    """Find out when each of a tenant's configured tokens was last used; others are forgotten."""
    connection.execute(_LOOK, _given(tenant, token_ids))
    connection.execute(_DROP, {"tenant": tenant, "token_ids": list(token_ids)})


_USES = text(f"{_USED} ORDER BY token_id")


def uses(connection: Connection, tenant: str, token_ids: Sequence[str]) -> Sequence[TokenUse]:
    """Return when each of a tenant's configured tokens was last used, as of now."""
    return [TokenUse(tenant, *row) for row in connection.execute(_USES, _given(tenant, token_ids))]


def _given(tenant: str, token_ids: Sequence[str]) -> dict[str, object]:
    return {"tenant": tenant, "token_ids": list(token_ids), "overlap": _OVERLAP, "first_look": FIRST_LOOK}
