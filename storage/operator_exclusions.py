"""Enter, withdraw and list the times that an operator lets out of outages.

No row is ever deleted: one that was wrong is withdrawn, so that a report can be explained later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, RowMapping, text

from ampeco.values import MAX_BIGINT
from storage.state.changes import Entity
from storage.state.marks import OPERATOR_EXCLUSION, mark

Subject = Literal["evse", "charge_point", "location"]
SUBJECTS: tuple[Subject, ...] = ("evse", "charge_point", "location")

#: What a person gives of an entry.
ExclusionField = Literal["subject", "began_at", "ended_at", "reason", "evidence"]


class ExclusionError(ValueError):
    """An entry makes no sense.

    Attributes:
        field: what of it is wrong.
    """

    def __init__(self, field: ExclusionField, message: str) -> None:
        super().__init__(message)
        self.field = field


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

    @property
    def ids(self) -> dict[str, int | None]:
        """The id of what it covers, by the column of each subject; None in the columns of the others."""
        return {f"{subject}_id": self.subject_id if subject == self.subject else None for subject in SUBJECTS}


def new_exclusion(
    subjects: Mapping[Subject, int],
    began_at: datetime | None,
    ended_at: datetime | None,
    reason: str | None,
    evidence: str | None,
    *,
    entered_by: str,
) -> NewExclusion:
    """Return the entry that a person's words make.

    Parameters:
        subjects: what it covers: exactly one, with its id.

    Raises:
        ExclusionError: something is missing, or contradicts something else.
    """
    if len(subjects) != 1:
        raise ExclusionError("subject", "an entry is for one EVSE, one charge point or one location.")
    ((subject, subject_id),) = subjects.items()
    if not 0 < subject_id <= MAX_BIGINT:
        raise ExclusionError("subject", f"an id is between 1 and {MAX_BIGINT}.")
    if began_at is None:
        raise ExclusionError("began_at", "an entry needs its beginning.")
    if ended_at is not None and ended_at <= began_at:
        raise ExclusionError("ended_at", "an entry ends after it begins.")
    reason, evidence = (reason or "").strip(), (evidence or "").strip() or None
    if not reason or "\0" in reason:
        raise ExclusionError("reason", "an entry needs a reason.")
    if "\0" in (evidence or ""):
        raise ExclusionError("evidence", "the evidence has a character that cannot be stored.")
    return NewExclusion(subject, subject_id, began_at, ended_at, reason, evidence, entered_by)


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
        **exclusion.ids,
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


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it is stored.

    Attributes:
        withdrawn_at: when it was withdrawn; None: it holds.
    """

    exclusion_id: int
    exclusion: NewExclusion
    recorded_at: datetime
    withdrawn_at: datetime | None


_ENTRY_COLUMNS = """
       exclusion_id, evse_id, charge_point_id, location_id, began_at, ended_at, reason, evidence, entered_by,
       recorded_at, withdrawn_at"""

# People enter these rows, so they are few: those of a tenant are read as a whole.
_LIST = text(f"""
SELECT {_ENTRY_COLUMNS}
  FROM charging.operator_exclusion
 WHERE tenant = :tenant
 ORDER BY exclusion_id
""")  # noqa: S608 - the names are ours


def list_exclusions(connection: Connection, tenant: str) -> list[Entry]:
    """Return the entries of a tenant, also those that were withdrawn, in the order of their numbers."""
    return [_entry(row) for row in connection.execute(_LIST, {"tenant": tenant}).mappings()]


# Indexes: those by EVSE, charge point and location.
_COVERING = text(f"""
SELECT {_ENTRY_COLUMNS}
  FROM charging.operator_exclusion
 WHERE tenant = :tenant
   AND (evse_id = :evse_id OR charge_point_id = :charge_point_id OR location_id = :location_id)
   AND began_at < :ended_at
   AND coalesce(ended_at, 'infinity') > :began_at
 ORDER BY exclusion_id DESC
 LIMIT :limit
""")  # noqa: S608 - the names are ours

#: The most entries of an EVSE that are shown.
MAX_ENTRIES = 200


def entries_covering(
    connection: Connection, tenant: str, subjects: Mapping[Subject, int | None], began_at: datetime, ended_at: datetime
) -> list[Entry]:
    """Return the entries of a time, the last one first, also those that were withdrawn.

    Parameters:
        subjects: an EVSE, its charge point and its location.
    """
    parameters = {
        "tenant": tenant,
        **{f"{subject}_id": subjects.get(subject) for subject in SUBJECTS},
        "began_at": began_at,
        "ended_at": ended_at,
        "limit": MAX_ENTRIES,
    }
    return [_entry(row) for row in connection.execute(_COVERING, parameters).mappings()]


def _entry(row: RowMapping) -> Entry:
    subject = next(subject for subject in SUBJECTS if row[f"{subject}_id"] is not None)
    exclusion = NewExclusion(
        subject=subject,
        subject_id=row[f"{subject}_id"],
        began_at=row["began_at"],
        ended_at=row["ended_at"],
        reason=row["reason"],
        evidence=row["evidence"],
        entered_by=row["entered_by"],
    )
    return Entry(row["exclusion_id"], exclusion, row["recorded_at"], row["withdrawn_at"])
