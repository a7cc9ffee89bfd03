"""Connectors and charging periods follow their EVSE and their session: those of one that is gone are tombstoned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

#: Children by the kind that lists them.
CHILDREN = {"evse": "connector", "session": "charging_period"}

#: Where a child is, is said by its presence from now on. A charging period that no read has told yet is where
#: the notifications of its session say, until a read says more.
TOLD_BY_NOTIFICATIONS = """
UPDATE charging.{child}
   SET presence_at = '1970-01-01T00:00:00Z', presence_version = '001:0000000000000000'
 WHERE presence_version IS NULL
   AND {kind}_id IS NOT NULL
"""

#: The tombstone of a parent holds for those that were last seen before it. What was seen later was seen with
#: another parent.
GONE_WITH_THEIR_PARENT = """
UPDATE charging.{child} AS child
   SET deleted_at = parent.deleted_at,
       presence_at = parent.presence_at,
       presence_version = parent.presence_version,
       updated_at = now()
  FROM charging.{kind} AS parent
 WHERE parent.tenant = child.tenant
   AND parent.{kind}_id = child.{kind}_id
   AND parent.deleted_at IS NOT NULL
   AND child.deleted_at IS NULL
   AND child.presence_at < parent.presence_at
"""


def upgrade() -> None:
    for kind, child in CHILDREN.items():
        op.create_index(
            f"{kind}_gone_idx",
            kind,
            ["tenant", f"{kind}_id"],
            schema="charging",
            postgresql_where=sa.text("deleted_at IS NOT NULL"),
        )
        op.execute(TOLD_BY_NOTIFICATIONS.format(kind=kind, child=child))
        op.execute(GONE_WITH_THEIR_PARENT.format(kind=kind, child=child))


def downgrade() -> None:
    # The tombstones stay: what they say is so.
    for kind in CHILDREN:
        op.drop_index(f"{kind}_gone_idx", table_name=kind, schema="charging")
