"""Record what operators do in the console: who, when, to what, and how many it affected."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from storage.documents import to_json
from storage.ids import uuid7


@dataclass(slots=True)
class Action:
    """An action under way.

    Attributes:
        action_id: UUIDv7.
        affected: how many notifications or entities it affected so far.
    """

    action_id: UUID
    affected: int = 0


_BEGIN = text("""
INSERT INTO ingest.operator_action (tenant, action_id, actor, action, details)
VALUES (:tenant, :action_id, :actor, :action, CAST(:details AS jsonb))
""")

# Index: primary key.
_END = text("""
UPDATE ingest.operator_action
   SET ended_at = now(), affected = :affected, error = :error
 WHERE tenant = :tenant
   AND action_id = :action_id
""")


@contextlib.contextmanager
def recorded(engine: Engine, tenant: str, actor: str, action: str, details: Mapping[str, Any]) -> Iterator[Action]:
    """Record an action before the block, in a transaction of its own, and its result after it.

    An action whose process is killed has a beginning and no end.

    Parameters:
        actor: the user who does it.
        action: what is done, in one word.
        details: what it is done to.
    """
    under_way = Action(uuid7())
    key = {"tenant": tenant, "action_id": under_way.action_id}
    with engine.begin() as connection:
        connection.execute(_BEGIN, key | {"actor": actor, "action": action, "details": to_json(dict(details))})
    error: str | None = None
    try:
        yield under_way
    except BaseException as failure:
        # The type alone: the message of an error may hold a part of a body.
        error = type(failure).__name__
        raise
    finally:
        with engine.begin() as connection:
            connection.execute(_END, key | {"affected": under_way.affected, "error": error})


@dataclass(frozen=True, slots=True)
class ListedAction:
    """An action of the past, or one under way.

    Attributes:
        ended_at: when it ended; None while it runs, or if its process was killed.
        affected: how many notifications or entities it affected; None while it runs.
        error: why it failed; None if it did not.
    """

    tenant: str
    action_id: UUID
    actor: str
    action: str
    details: dict[str, Any]
    began_at: datetime
    ended_at: datetime | None
    affected: int | None
    error: str | None


_COLUMNS = "tenant, action_id, actor, action, details, began_at, ended_at, affected, error"

# Index: operator_action_began_at_idx.
_LIST = text(f"""
SELECT {_COLUMNS}
  FROM ingest.operator_action
 WHERE tenant = ANY(:tenants)
   AND actor = coalesce(CAST(:actor AS text), actor)
   AND (began_at, action_id) < (CAST(:before_at AS timestamptz), CAST(:before_id AS uuid))
 ORDER BY began_at DESC, action_id DESC
 LIMIT :limit
""")  # noqa: S608 - the names are ours


def list_actions(
    connection: Connection,
    tenants: Sequence[str],
    *,
    actor: str | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[ListedAction]:
    """Return the latest actions, the last one first.

    Parameters:
        actor: only actions of this user.
        before: only actions before the one that began at this time and has this id.
    """
    before_at, before_id = before or ("infinity", UUID(int=0))
    parameters = {
        "tenants": list(tenants),
        "actor": actor,
        "before_at": before_at,
        "before_id": before_id,
        "limit": limit,
    }
    return [ListedAction(*row) for row in connection.execute(_LIST, parameters)]


# Index: primary key.
_LOAD = text(f"SELECT {_COLUMNS} FROM ingest.operator_action WHERE tenant = :tenant AND action_id = :action_id")  # noqa: S608 - the names are ours


def load_action(connection: Connection, tenant: str, action_id: UUID) -> ListedAction | None:
    """Return an action; None if there is none with this id."""
    row = connection.execute(_LOAD, {"tenant": tenant, "action_id": action_id}).first()
    return None if row is None else ListedAction(*row)
