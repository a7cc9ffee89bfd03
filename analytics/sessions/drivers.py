"""Keys of drivers: digests of user ids with a secret of the tenant, so that analysts can tell drivers apart.

The secret is in the schema ``ingest``, which analysts cannot read: without it, ids cannot be tried out. An erased user
has the id 0, and so no key.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, text

_SECRET_BYTES = 32
_KEY_LENGTH = 32

# Index: primary key.
_MAKE_SECRET = text("""
INSERT INTO ingest.driver_secret (tenant, secret)
VALUES (:tenant, :secret)
    ON CONFLICT (tenant) DO NOTHING
""")

#: Joins the tenant's secret to a query; the condition of :func:`driver_key_sql` needs it. Index: primary key.
DRIVERS_JOIN = "LEFT JOIN ingest.driver_secret AS drivers ON drivers.tenant = :tenant"


def make_secret(connection: Connection, tenant: str) -> None:
    """Make the tenant's secret unless there is one."""
    connection.execute(_MAKE_SECRET, {"tenant": tenant, "secret": secrets.token_bytes(_SECRET_BYTES)})


def driver_key_sql(user_id: str) -> str:
    """Return the SQL expression of the key of a user; null for an anonymous and for an erased user.

    Parameters:
        user_id: a SQL expression of the user's id.
    """
    # Secret and id have a fixed length each, so a digest of both is as good as an HMAC, which Postgres lacks.
    digest = f"encode(sha256(drivers.secret || int8send({user_id})), 'hex')"
    return f"CASE WHEN {user_id} > 0 THEN left({digest}, {_KEY_LENGTH}) END"
