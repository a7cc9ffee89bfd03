"""Find out when each configured token was last used to sign a notification.

The log contains the token of each notification, and is searched afterwards, so that accepting costs no more for it.
The results are stored, so that a later search reads only the notifications since the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

#: How much of the log is searched for a token that was not known before.
FIRST_LOOK = timedelta(days=2)

#: By how much a search overlaps the last one: a notification becomes visible a moment after its time of receipt.
_OVERLAP = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class TokenUse:
    """The use of a token.

    Attributes:
        tenant: the tenant's name.
        token_id: the id of the token.
        known_since_at: when it was first searched for; None if it never was.
        last_used_at: when the last notification that it verified was received; None if none was found.
    """

    tenant: str
    token_id: str
    known_since_at: datetime | None
    last_used_at: datetime | None


# Index: the primary key of the log, from its end: a token in use is found in the first row, and for an unused token
# the rows since the last search are read.
_USED = """
SELECT token_id, known.known_since_at, greatest(known.last_used_at, used.received_at) AS last_used_at
  FROM unnest(CAST(:token_ids AS text[])) AS configured (token_id)
  LEFT JOIN (SELECT * FROM ingest.token_use WHERE tenant = :tenant) AS known USING (token_id)
  LEFT JOIN LATERAL (
       SELECT received_at
         FROM ingest.notification
        WHERE notification.tenant = :tenant
          AND notification.token_id = configured.token_id
          AND received_at >= coalesce(known.looked_until_at - :overlap, now() - :first_look)
        ORDER BY received_at DESC
        LIMIT 1
  ) AS used ON true
"""

_LOOK = text(f"""
INSERT INTO ingest.token_use AS known (tenant, token_id, last_used_at, looked_until_at)
SELECT :tenant, token_id, last_used_at, now()
  FROM ({_USED}) AS latest
    ON CONFLICT (tenant, token_id) DO UPDATE SET
       last_used_at = greatest(known.last_used_at, excluded.last_used_at),
       looked_until_at = excluded.looked_until_at
""")  # noqa: S608 - the statement above

# Index: primary key. A token that is configured again later counts as new.
_DROP = text("DELETE FROM ingest.token_use WHERE tenant = :tenant AND token_id <> ALL(:token_ids)")


def look(connection: Connection, tenant: str, token_ids: Sequence[str]) -> None:
    """Search for the last use of each of a tenant's configured tokens, and delete the records of other tokens."""
    connection.execute(_LOOK, _given(tenant, token_ids))
    connection.execute(_DROP, {"tenant": tenant, "token_ids": list(token_ids)})


_USES = text(f"{_USED} ORDER BY token_id")


def uses(connection: Connection, tenant: str, token_ids: Sequence[str]) -> Sequence[TokenUse]:
    """Return when each of a tenant's configured tokens was last used, as of now."""
    return [TokenUse(tenant, *row) for row in connection.execute(_USES, _given(tenant, token_ids))]


def _given(tenant: str, token_ids: Sequence[str]) -> dict[str, object]:
    return {"tenant": tenant, "token_ids": list(token_ids), "overlap": _OVERLAP, "first_look": FIRST_LOOK}
