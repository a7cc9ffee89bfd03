"""How an entity of a listing differs from the stored one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from storage.schema.entities import READ_ONLY
from storage.state.fold import Fact
from storage.state.stored import StoredEntity, snapshot_group


@dataclass(frozen=True, slots=True)
class Difference:
    """How a listed entity differs from the stored one.

    Attributes:
        is_missing: whether it was not stored, or only partly.
        at: the time of the newest change that was missed.
    """

    is_missing: bool
    at: datetime


def find_difference(stored: StoredEntity, kind: str, entity_id: int, facts: list[Fact]) -> Difference | None:
    """Return how facts of a listing differ from an entity that is missing, incomplete or stale; None if they do not."""
    missed: list[datetime] = []
    is_missing = False
    for fact in facts:
        if fact.kind != kind or fact.entity_id != entity_id or fact.group in READ_ONLY:
            continue
        at, version = stored.get(f"{fact.group}_at"), stored.version(fact.group)
        if not version or version.is_provisional:
            if any(value is not None for value in fact.values.values()):
                missed.append(fact.at)
                is_missing = is_missing or fact.group == snapshot_group(kind)
        elif at is not None and (fact.at, fact.version) > (at, version) and not fact.version.has_values_of(version):
            missed.append(fact.at)
    if stored.get("deleted_at") is not None:
        missed += [fact.at for fact in facts if fact.kind == kind and fact.group not in READ_ONLY]
    return Difference(is_missing, max(missed)) if missed else None
