"""The state and its history: where a person occurs in them, and the same rows without the person.

Values are taken out where they stand. Times, energies and amounts stay, and so does each fact's standing
among others: its version gets the digest of what it says now, as the log without the person will tell it.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB

from ampeco.people import Identity, belongings
from storage.documents import to_json
from storage.erasure import note
from storage.mirrors import MIRRORS, Mirror
from storage.person import Person
from storage.suppression import changed_columns, document_of
from storage.tables import CHARGING, metadata
from storage.version import Version, digest

#: Rows that are held in memory at once.
ROWS_AT_ONCE = 500

#: Statements of this long read whole tables.
STATEMENT_TIMEOUT_MS = 3_600_000


def take_time(connection: Connection) -> None:
    """Let the statements of this transaction run over whole tables."""
    connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}"))


def find(connection: Connection, tenant: str, person: Person) -> Counter[str]:
    """Count the person's rows by table, and learn from them what else the person is known by.

    It reads every row of the tenant's state and history.
    """
    found: Counter[str] = Counter()
    learned: dict[Identity, set[str]] = {}

    def count(table: str, document: bytes) -> None:
        found[f"{CHARGING}.{table}"] += 1
        for identity, spelled in belongings(document, person.is_theirs).items():
            learned.setdefault(identity, set()).update(spelled)

    for kind, mirror in MIRRORS.items():
        for row in _rows(connection, tenant, kind, person):
            count(mirror.name, document_of(kind, _told(mirror, row)))
    for row in _notices(connection, tenant, person.pattern):
        if _notice_changes(row, person):
            count("notice", _notice_document(row))
    for row in _revisions(connection, tenant, person.pattern, []):
        if _revision_changes(row, person, is_about=False):
            count("session_revision", orjson.dumps([row["changed_from"], row["changed_to"]]))
    waiting = _WAITING.format(what="SELECT count(*)")
    asked = connection.execute(text(waiting), {"tenant": tenant, "user_id": person.user_id}).scalar_one()
    if asked:
        found["ingest.refresh_request"] += int(asked)
    person.learn(learned)
    return found


# What waits to be read of the user. Index: primary key.
_WAITING = "{what} FROM ingest.refresh_request WHERE tenant = :tenant AND kind = 'user' AND entity_id = :user_id"


def finish(connection: Connection, tenant: str, person: Person, erasure_id: UUID) -> dict[str, int]:
    """Take the person out of the history and the state, and close the forgetting; returns rows by table.

    One transaction: what is known of the person is there until all of it goes. History comes first, as
    nobody else locks it; the state's rows are locked in the order of every writer.
    """
    take_time(connection)
    changed: Counter[str] = Counter()
    entities = _keys(connection, tenant, person)
    changed[f"{CHARGING}.notice"] = _clear_notices(connection, tenant, person)
    changed[f"{CHARGING}.session_revision"] = _clear_revisions(connection, tenant, person, entities["session"])
    for kind, mirror in MIRRORS.items():
        changed[f"{CHARGING}.{mirror.name}"] += _clear_state(connection, tenant, person, kind, entities[kind])
    deleted = connection.execute(
        text(_WAITING.format(what="DELETE")), {"tenant": tenant, "user_id": person.user_id}
    ).rowcount
    changed["ingest.refresh_request"] = deleted
    return note(connection, tenant, erasure_id, changed, is_finished=True)


def _keys(connection: Connection, tenant: str, person: Person) -> dict[str, list[int]]:
    """The ids of the rows that name the person, by entity, read without any lock."""
    return {
        kind: sorted(row[mirror.key] for row in _rows(connection, tenant, kind, person))
        for kind, mirror in MIRRORS.items()
    }


def _clear_state(connection: Connection, tenant: str, person: Person, kind: str, entity_ids: Sequence[int]) -> int:
    mirror, changed = MIRRORS[kind], 0
    for begin_ in range(0, len(entity_ids), ROWS_AT_ONCE):
        ids = list(entity_ids[begin_ : begin_ + ROWS_AT_ONCE])
        held = connection.execute(text(_lock_rows(kind)), {"tenant": tenant, "ids": ids}).mappings().all()
        gone = [row[mirror.key] for row in held if _is_the_user(kind, row, person)]
        if gone:
            changed += connection.execute(text(_delete(kind)), {"tenant": tenant, "ids": gone}).rowcount
        rows = [new for row in held if row[mirror.key] not in gone and (new := _cleared(kind, mirror, row, person))]
        if rows:
            document = to_json(rows)
            changed += connection.execute(text(_update(kind)), {"tenant": tenant, "rows": document}).rowcount
    return changed


def _is_the_user(kind: str, row: Any, person: Person) -> bool:
    return bool(kind == "user" and row[MIRRORS[kind].key] == person.user_id)


def _cleared(kind: str, mirror: Mirror, row: Any, person: Person) -> dict[str, Any] | None:
    """The groups of a row that change, whole, with the versions of what they say then."""
    new = changed_columns(kind, _told(mirror, row), person.taken_out)
    if not new:
        return None
    told: dict[str, Any] = {mirror.key: row[mirror.key]}
    for group in mirror.groups:
        values = {column: new.get(column, _value(mirror, row, column)) for column in group.columns}
        version = row[group.version]
        if version is not None and any(column in new for column in group.columns):
            version = Version(version).with_values(values)
        told |= values | {group.version: version}
    return told


def _told(mirror: Mirror, row: Any) -> dict[str, Any]:
    """What a row says, by column, without its clocks."""
    return {column: _value(mirror, row, column) for group in mirror.groups for column in group.columns}


def _value(mirror: Mirror, row: Any, column: str) -> Any:
    """A column's value as a fact has it: JSON is read as it is read when it arrives."""
    value = row[column]
    is_json = isinstance(mirror.table.columns[column].type, JSONB)
    return orjson.loads(value) if is_json and value is not None else value


@cache
def _columns(table: str) -> str:
    """Every column of a table, JSON as text."""
    return ", ".join(
        f"CAST({column.name} AS text) AS {column.name}" if isinstance(column.type, JSONB) else str(column.name)
        for column in metadata.tables[f"{CHARGING}.{table}"].columns
    )


def _rows(connection: Connection, tenant: str, kind: str, person: Person) -> Iterator[Any]:
    """The rows of a kind that name the person, or are the person's own; it goes through all of them."""
    mirror = MIRRORS[kind]
    own = f"{mirror.key} = :user_id OR" if kind == "user" else ""
    rows = _streamed(
        connection,
        f"SELECT {_columns(mirror.name)} FROM {CHARGING}.{mirror.name} AS known"  # noqa: S608 - the names are ours
        f" WHERE {mirror.matches('known')} AND ({own} CAST(to_jsonb(known) AS text) ~* :pattern)",
        {"tenant": tenant, "pattern": person.pattern} | ({"user_id": person.user_id} if own else {}),
    )
    for row in rows:
        if _is_the_user(kind, row, person) or changed_columns(kind, _told(mirror, row), person.taken_out):
            yield row


def _streamed(connection: Connection, statement: str, parameters: dict[str, Any]) -> Iterator[Any]:
    options = {"stream_results": True, "max_row_buffer": ROWS_AT_ONCE}
    with connection.execute(text(statement), parameters, execution_options=options) as result:
        yield from result.mappings()


@cache
def _lock_rows(kind: str) -> str:
    """Index: primary key."""
    mirror = MIRRORS[kind]
    return f"""
SELECT {_columns(mirror.name)}
  FROM {CHARGING}.{mirror.name} AS known
 WHERE {mirror.matches("known")}
   AND {mirror.key} = ANY(:ids)
 ORDER BY {", ".join(mirror.keys)}
   FOR UPDATE
"""  # noqa: S608 - the names are ours


@cache
def _delete(kind: str) -> str:
    """Index: primary key."""
    mirror = MIRRORS[kind]
    return (
        f"DELETE FROM {CHARGING}.{mirror.name} AS known"  # noqa: S608 - the names are ours
        f" WHERE {mirror.matches('known')} AND {mirror.key} = ANY(:ids)"
    )


@cache
def _update(kind: str) -> str:
    """Index: primary key. Clocks stay; who copies rows by `updated_at` copies these again."""
    mirror = MIRRORS[kind]
    names = [column for group in mirror.groups for column in (*group.columns, group.version)]
    assignments = ",\n       ".join(f"{name} = cleared.{name}" for name in names)
    return f"""
UPDATE {CHARGING}.{mirror.name} AS known
   SET {assignments},
       updated_at = now()
  FROM json_populate_recordset(NULL::{CHARGING}.{mirror.name}, CAST(:rows AS json)) AS cleared
 WHERE {mirror.matches("known")}
   AND known.{mirror.key} = cleared.{mirror.key}
"""  # noqa: S608 - the names are ours


# Notices and revisions are only ever added, so a row's place stays the same within the transaction.


def _notices(connection: Connection, tenant: str, pattern: str) -> Iterator[Any]:
    yield from _streamed(
        connection,
        f"SELECT CAST(ctid AS text) AS place, {_columns('notice')} FROM {CHARGING}.notice AS known"  # noqa: S608
        " WHERE tenant = :tenant AND CAST(to_jsonb(known) AS text) ~* :pattern",
        {"tenant": tenant, "pattern": pattern},
    )


def _notice_document(row: Any) -> bytes:
    return orjson.dumps({"user_id": row["user_id"], "details": orjson.loads(row["details"])})


def _notice_changes(row: Any, person: Person) -> dict[str, Any] | None:
    before = _notice_document(row)
    after = person.taken_out(before)
    return None if after is before else orjson.loads(after)


def _clear_notices(connection: Connection, tenant: str, person: Person) -> int:
    """A notice is known by what it says: two that now say the same are one, as the log tells them."""
    changed = 0
    for row in list(_notices(connection, tenant, person.pattern)):
        new = _notice_changes(row, person)
        if new is None:
            continue
        told = {"tenant": tenant, "place": row["place"], "user_id": new["user_id"], "digest": digest(new["details"])}
        told |= {"subject": row["subject"], "observed_at": row["observed_at"]}
        connection.execute(_DELETE_TWIN, told)
        told["details"] = to_json(new["details"])
        changed += connection.execute(_CLEAR_NOTICE, told).rowcount
    return changed


# Index: the unique constraint.
_DELETE_TWIN = text("""
DELETE FROM charging.notice
 WHERE tenant = :tenant
   AND subject = :subject
   AND observed_at IS NOT DISTINCT FROM CAST(:observed_at AS timestamptz)
   AND digest = :digest
   AND ctid <> CAST(:place AS tid)
""")

_CLEAR_NOTICE = text("""
UPDATE charging.notice
   SET user_id = :user_id, details = CAST(:details AS jsonb), digest = :digest
 WHERE tenant = :tenant
   AND ctid = CAST(:place AS tid)
""")


def _revisions(
    connection: Connection, tenant: str, pattern: str, session_ids: Sequence[int]
) -> Iterator[dict[str, Any]]:
    rows = _streamed(
        connection,
        "SELECT CAST(ctid AS text) AS place, session_id, fact_version,"
        " CAST(changed_from AS text) AS changed_from, CAST(changed_to AS text) AS changed_to"
        " FROM charging.session_revision AS known WHERE tenant = :tenant"
        " AND (session_id = ANY(:session_ids) OR CAST(to_jsonb(known) AS text) ~* :pattern)",
        {"tenant": tenant, "pattern": pattern, "session_ids": list(session_ids)},
    )
    for row in rows:
        changed = {name: orjson.loads(row[name]) for name in ("changed_from", "changed_to")}
        yield dict(row) | changed


def _revision_changes(row: dict[str, Any], person: Person, *, is_about: bool) -> dict[str, Any]:
    """Both sides without the person; a part of a session need not name the one whom it is about."""
    new = {}
    for name in ("changed_from", "changed_to"):
        before = orjson.dumps(row[name])
        after = person.taken_out(before, is_about=is_about)
        if after is not before:
            new[name] = orjson.loads(after)
    return new


def _clear_revisions(connection: Connection, tenant: str, person: Person, session_ids: Sequence[int]) -> int:
    changed = 0
    theirs = set(session_ids)
    for row in list(_revisions(connection, tenant, person.pattern, session_ids)):
        new = _revision_changes(row, person, is_about=row["session_id"] in theirs)
        if new:
            # Of what it told nothing is left to compare with: nobody tells that fact again.
            version = Version(row["fact_version"]).with_values({"forgotten": secrets.token_hex(8)})
            sides = {name: to_json(new.get(name, row[name])) for name in ("changed_from", "changed_to")}
            told = {"tenant": tenant, "place": row["place"], "version": version, **sides}
            changed += connection.execute(_CLEAR_REVISION, told).rowcount
    return changed


_CLEAR_REVISION = text("""
UPDATE charging.session_revision
   SET changed_from = CAST(:changed_from AS jsonb),
       changed_to = CAST(:changed_to AS jsonb),
       fact_version = :version
 WHERE tenant = :tenant
   AND ctid = CAST(:place AS tid)
""")
