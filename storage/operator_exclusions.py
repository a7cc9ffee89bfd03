"""Enter, withdraw and list the times that an operator lets out of outages.

No row is ever deleted: one that was wrong is withdrawn, so that a report can be explained later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, RowMapping, text

from storage.state.changes import Entity
from storage.state.marks import OPERATOR_EXCLUSION, mark

Subject = Literal["evse", "charge_point", "location"]


@dataclass(frozen=True, slots=True)
class NewExclusion:
    """A time that does not count as an outage.

    Attributes:
        subject: what it covers.
        subject_id: the id of what it covers.
        began_at: when it began.
        ended_at: when it ended; None: it lasts.
        reason: why it does not count.
        evidence: what proves it; None: nothing does.
        entered_by: who enters it.
    """

    subject: Subject
    subject_id: int
    began_at: datetime
    ended_at: datetime | None
    reason: str
    evidence: str | None
    entered_by: str


_ADD = text("""
INSERT INTO charging.operator_exclusion
       (tenant, evse_id, charge_point_id, location_id, began_at, ended_at, reason, evidence, entered_by)
VALUES (:tenant, :evse_id, :charge_point_id, :location_id, :began_at, :ended_at, :reason, :evidence, :entered_by)
RETURNING exclusion_id
""")


def add_exclusion(connection: Connection, tenant: str, exclusion: NewExclusion) -> int:
    """Enter an exclusion, mark it to be derived, and return its number."""
    parameters: dict[str, object] = {
        "tenant": tenant,
        **dict.fromkeys(("evse_id", "charge_point_id", "location_id")),
        f"{exclusion.subject}_id": exclusion.subject_id,
        "began_at": exclusion.began_at,
        "ended_at": exclusion.ended_at,
        "reason": exclusion.reason,
        "evidence": exclusion.evidence,
        "entered_by": exclusion.entered_by,
    }
    exclusion_id: int = connection.execute(_ADD, parameters).scalar_one()
    mark(connection, tenant, {Entity(OPERATOR_EXCLUSION, exclusion_id): exclusion.began_at})
    return exclusion_id


# Index: primary key.
_WITHDRAW = text("""
UPDATE charging.operator_exclusion
   SET withdrawn_at = :now
 WHERE tenant = :tenant
   AND exclusion_id = :exclusion_id
   AND withdrawn_at IS NULL
RETURNING began_at
""")


def withdraw_exclusion(connection: Connection, tenant: str, exclusion_id: int, now: datetime) -> bool:
    """Withdraw an exclusion and mark it to be derived; return False if there is none of this number that holds."""
    parameters = {"tenant": tenant, "exclusion_id": exclusion_id, "now": now}
    began_at = connection.execute(_WITHDRAW, parameters).scalar_one_or_none()
    if began_at is None:
        return False
    mark(connection, tenant, {Entity(OPERATOR_EXCLUSION, exclusion_id): began_at})
    return True


# People enter these rows, so they are few: those of a tenant are read as a whole.
_LIST = text("""
SELECT exclusion_id, evse_id, charge_point_id, location_id, began_at, ended_at, reason, evidence, entered_by,
       recorded_at, withdrawn_at
  FROM charging.operator_exclusion
 WHERE tenant = :tenant
 ORDER BY exclusion_id
""")


def list_exclusions(connection: Connection, tenant: str) -> Sequence[RowMapping]:
    """Return the exclusions of a tenant, also those that were withdrawn, in the order of their numbers."""
    return connection.execute(_LIST, {"tenant": tenant}).mappings().all()
