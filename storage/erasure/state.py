"""Find a person in the state and its history, and remove the person from the rows.

Only the values that name the person change. Times, energies and amounts stay, and so does the order of each fact
among others: its version gets the digest of its new values, which is the version that a replay of the log without
the person computes.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB

from ampeco.privacy.people import Identity, belongings
from storage.database import WHOLE_TABLES, set_statement_timeout
from storage.documents import to_json
from storage.erasure.log import record_progress
from storage.erasure.person import Person
from storage.erasure.suppression import changed_columns, document_of
from storage.schema.entities import MIRRORS, Mirror
from storage.schema.tables import metadata
from storage.schema_names import CHARGING
from storage.state import marks
from storage.state.changes import Entity
from storage.state.master_observations import digest_sql
from storage.state.version import Version, digest

#: The most rows in memory at once.
ROWS_AT_ONCE = 500


def find(connection: Connection, tenant: str, person: Person) -> Counter[str]:
    """Count the person's rows by table, and add further identities in these rows to the person.

    This reads all rows of the tenant's state and history.
    """
    counts: Counter[str] = Counter()
    learned: dict[Identity, set[str]] = {}

    def count(table: str, document: bytes) -> None:
        counts[f"{CHARGING}.{table}"] += 1
        for identity, spellings in belongings(document, person.is_theirs).items():
            learned.setdefault(identity, set()).update(spellings)

    for kind, mirror in MIRRORS.items():
        for row in _rows(connection, tenant, kind, person):
            count(mirror.name, document_of(kind, _values(mirror, row)))
    for row in _notices(connection, tenant, person.pattern):
        if _notice_changes(row, person):
            count("notice", _notice_document(row))
    for table, about in _DOCUMENTS.items():
        for row in _documents(connection, tenant, table, person.pattern, []):
            if _document_changes(table, row, person, is_about=False):
                count(table, orjson.dumps([row[name] for name in about.columns]))
    statement = _REQUESTS.format(what="SELECT count(*)")
    requests = connection.execute(text(statement), {"tenant": tenant, "user_id": person.user_id}).scalar_one()
    if requests:
        counts["ingest.refresh_request"] += int(requests)
    person.learn(learned)
    return counts


# The refresh requests of the user. Index: primary key.
_REQUESTS = "{what} FROM ingest.refresh_request WHERE tenant = :tenant AND kind = 'user' AND entity_id = :user_id"


def finish(connection: Connection, tenant: str, person: Person, erasure_id: UUID) -> dict[str, int]:
    """Remove the person from the history and the state, and finish the erasure.

    Do this in one transaction: the state contains the person's identities, which a repeated attempt needs.
    The history comes first, because no other transaction locks its rows, except observations of master data. The rows
    of the state are then locked in the order that every writer uses, and those observations after them.

    Returns:
        How many rows the erasure has changed in all, by table.
    """
    set_statement_timeout(connection, WHOLE_TABLES)
    changed: Counter[str] = Counter()
    entities = _keys(connection, tenant, person)
    changed[f"{CHARGING}.notice"] = _clear_notices(connection, tenant, person)
    revisions, observations = _DOCUMENTS
    changed[f"{CHARGING}.{revisions}"] = _clear_documents(connection, tenant, revisions, person, entities["session"])
    for kind, mirror in MIRRORS.items():
        changed[f"{CHARGING}.{mirror.name}"] += _clear_state(connection, tenant, person, kind, entities[kind])
    changed[f"{CHARGING}.{observations}"] = _clear_documents(connection, tenant, observations, person, [])
    deleted = connection.execute(
        text(_REQUESTS.format(what="DELETE")), {"tenant": tenant, "user_id": person.user_id}
    ).rowcount
    changed["ingest.refresh_request"] = deleted
    return record_progress(connection, tenant, erasure_id, changed, is_finished=True)


def _keys(connection: Connection, tenant: str, person: Person) -> dict[str, list[int]]:
    """Return the ids of the rows that name the person, by kind, read without locks."""
    return {
        kind: sorted(row[mirror.key] for row in _rows(connection, tenant, kind, person))
        for kind, mirror in MIRRORS.items()
    }


def _clear_state(connection: Connection, tenant: str, person: Person, kind: str, entity_ids: Sequence[int]) -> int:
    mirror, changed = MIRRORS[kind], 0
    for begin_ in range(0, len(entity_ids), ROWS_AT_ONCE):
        ids = list(entity_ids[begin_ : begin_ + ROWS_AT_ONCE])
        rows = connection.execute(text(_lock_rows(kind)), {"tenant": tenant, "ids": ids}).mappings().all()
        gone = [row[mirror.key] for row in rows if _is_the_user(kind, row, person)]
        if gone:
            changed += connection.execute(text(_delete(kind)), {"tenant": tenant, "ids": gone}).rowcount
        cleared = [new for row in rows if row[mirror.key] not in gone and (new := _cleared(kind, mirror, row, person))]
        if cleared:
            document = to_json(cleared)
            changed += connection.execute(text(_update(kind)), {"tenant": tenant, "rows": document}).rowcount
            # Derived rows contain what the rows contained, and are derived again without the person.
            marks.mark(connection, tenant, {Entity(kind, row[mirror.key]): None for row in cleared})
    return changed


def _is_the_user(kind: str, row: Any, person: Person) -> bool:
    return bool(kind == "user" and row[MIRRORS[kind].key] == person.user_id)


def _cleared(kind: str, mirror: Mirror, row: Any, person: Person) -> dict[str, Any] | None:
    """Return the row without the person, with the versions of the new values; None if it does not change."""
    new = changed_columns(kind, _values(mirror, row), person.without_person)
    if not new:
        return None
    cleared: dict[str, Any] = {mirror.key: row[mirror.key]}
    for group in mirror.groups:
        values = {column: new.get(column, _value(mirror, row, column)) for column in group.columns}
        version = row[group.version]
        if version is not None and any(column in new for column in group.columns):
            version = Version(version).with_values(values)
        cleared |= values | {group.version: version}
    return cleared


def _values(mirror: Mirror, row: Any) -> dict[str, Any]:
    """Return the values of a row by column, without its clocks and versions."""
    return {column: _value(mirror, row, column) for group in mirror.groups for column in group.columns}


def _value(mirror: Mirror, row: Any, column: str) -> Any:
    """Return a column's value as a fact contains it; JSON is parsed by the parser that also parses notifications."""
    value = row[column]
    is_json = isinstance(mirror.table.columns[column].type, JSONB)
    return orjson.loads(value) if is_json and value is not None else value


@cache
def _columns(table: str) -> str:
    """Return a SQL list of all columns of a table, with JSON as text."""
    return ", ".join(
        f"CAST({column.name} AS text) AS {column.name}" if isinstance(column.type, JSONB) else str(column.name)
        for column in metadata.tables[f"{CHARGING}.{table}"].columns
    )


def _rows(connection: Connection, tenant: str, kind: str, person: Person) -> Iterator[Any]:
    """Yield the rows of a kind that name the person or are the person's own; this reads all rows of the kind."""
    mirror = MIRRORS[kind]
    own = f"{mirror.key} = :user_id OR" if kind == "user" else ""
    rows = _streamed(
        connection,
        f"SELECT {_columns(mirror.name)} FROM {CHARGING}.{mirror.name} AS known"  # noqa: S608 - the names are ours
        f" WHERE {mirror.matches('known')} AND ({own} CAST(to_jsonb(known) AS text) ~* :pattern)",
        {"tenant": tenant, "pattern": person.pattern} | ({"user_id": person.user_id} if own else {}),
    )
    for row in rows:
        if _is_the_user(kind, row, person) or changed_columns(kind, _values(mirror, row), person.without_person):
            yield row


def _streamed(connection: Connection, statement: str, parameters: dict[str, Any]) -> Iterator[Any]:
    options = {"stream_results": True, "max_row_buffer": ROWS_AT_ONCE}
    with connection.execute(text(statement), parameters, execution_options=options) as result:
        yield from result.mappings()


@cache
def _lock_rows(kind: str) -> str:
    """Return the statement that locks and selects rows by id. Index: primary key."""
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
    """Return the statement that deletes rows by id. Index: primary key."""
    mirror = MIRRORS[kind]
    return (
        f"DELETE FROM {CHARGING}.{mirror.name} AS known"  # noqa: S608 - the names are ours
        f" WHERE {mirror.matches('known')} AND {mirror.key} = ANY(:ids)"
    )


@cache
def _update(kind: str) -> str:
    """Return the statement that writes rows without the person. Index: primary key.

    The groups' times stay. ``updated_at`` changes, so that a program that copies rows by it copies these again.
    """
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


# No other transaction updates notices or revisions, so the ctid of a row stays the same within this transaction.


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
    after = person.without_person(before)
    return None if after is before else orjson.loads(after)


def _clear_notices(connection: Connection, tenant: str, person: Person) -> int:
    """Remove the person from notices; return how many rows changed.

    The content identifies a notice. So if two notices have the same content without the person, only one stays, as
    in a replay of the log without the person.
    """
    changed = 0
    for row in list(_notices(connection, tenant, person.pattern)):
        new = _notice_changes(row, person)
        if new is None:
            continue
        parameters = {
            "tenant": tenant,
            "place": row["place"],
            "subject": row["subject"],
            "observed_at": row["observed_at"],
            "user_id": new["user_id"],
            "digest": digest(new["details"]),
        }
        connection.execute(_DELETE_TWIN, parameters)
        parameters["details"] = to_json(new["details"])
        changed += connection.execute(_CLEAR_NOTICE, parameters).rowcount
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


class _Documents(NamedTuple):
    """A history table with documents: what an entity was, or what a fact said of it.

    Attributes:
        kind: the SQL of the kind of the entity.
        entity_id: the SQL of its id.
        columns: the columns with documents.
    """

    kind: str
    entity_id: str
    columns: tuple[str, ...]


#: In the order in which they are cleared. A read of master data may remove a row, whose place another one may get, so a
#: row is found by its version, too.
_DOCUMENTS = {
    "session_revision": _Documents("'session'", "session_id", ("changed_from", "changed_to")),
    "master_observation": _Documents("kind", "entity_id", ("tracked",)),
}


def _documents(
    connection: Connection, tenant: str, table: str, pattern: str, session_ids: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Yield the rows that name the person or are of the person's sessions; this reads all rows of the table."""
    about = _DOCUMENTS[table]
    shown = ", ".join(f"CAST({name} AS text) AS {name}" for name in about.columns)
    is_of_session = f"{about.entity_id} = ANY(CAST(:session_ids AS bigint[])) OR " if session_ids else ""
    rows = _streamed(
        connection,
        f"SELECT CAST(ctid AS text) AS place, {about.kind} AS kind, {about.entity_id} AS entity_id,"  # noqa: S608
        f" fact_version, {shown} FROM {CHARGING}.{table} AS known WHERE tenant = :tenant"
        f" AND ({is_of_session}CAST(to_jsonb(known) AS text) ~* :pattern)",
        {"tenant": tenant, "pattern": pattern} | ({"session_ids": list(session_ids)} if session_ids else {}),
    )
    for row in rows:
        yield dict(row) | {name: orjson.loads(row[name]) for name in about.columns}


def _document_changes(table: str, row: dict[str, Any], person: Person, *, is_about: bool) -> dict[str, Any]:
    """Return the documents that change without the person, by column name.

    Parameters:
        is_about: whether the session is the person's. A revision contains only a part of the session, so it may
            contain data about the person without naming the person.
    """
    new = {}
    for name in _DOCUMENTS[table].columns:
        before = orjson.dumps(row[name])
        after = person.without_person(before, is_about=is_about)
        if after is not before:
            new[name] = orjson.loads(after)
    return new


def _clear_documents(
    connection: Connection, tenant: str, table: str, person: Person, session_ids: Sequence[int]
) -> int:
    changed = 0
    own_sessions = set(session_ids)
    for row in list(_documents(connection, tenant, table, person.pattern, session_ids)):
        new = _document_changes(table, row, person, is_about=row["entity_id"] in own_sessions)
        if new:
            # The digest is of all values of the fact, which are not stored here. A random one does no harm, because
            # no source reports that fact again.
            version = Version(row["fact_version"]).with_values({"erased": secrets.token_hex(8)})
            parameters = {"tenant": tenant, "place": row["place"], "version": version, "former": row["fact_version"]}
            parameters |= {name: to_json(document) for name, document in new.items()}
            if table == "master_observation":
                connection.execute(_DELETE_TWIN_OBSERVATION, parameters)
            changed += connection.execute(text(_clear(table, tuple(new))), parameters).rowcount
            marks.mark(connection, tenant, {Entity(row["kind"], row["entity_id"]): None})
    return changed


def _clear(table: str, columns: Sequence[str]) -> str:
    assignments = [f"{name} = CAST(:{name} AS jsonb)" for name in columns]
    if table == "master_observation":
        # So a replay of the log without the person adds no second observation.
        assignments.append(f"digest = CASE WHEN digest IS NOT NULL THEN {_DIGEST} END")
    return f"""
UPDATE charging.{table}
   SET {", ".join(assignments)},
       fact_version = :version
 WHERE tenant = :tenant
   AND ctid = CAST(:place AS tid)
   AND fact_version = :former
"""  # noqa: S608 - the names are ours


_DIGEST = digest_sql("CAST(:tracked AS jsonb)")

# Of two observations that are the same without the person, only one stays. Index: the unique constraint.
_DELETE_TWIN_OBSERVATION = text(f"""
DELETE FROM charging.master_observation AS twin
 USING charging.master_observation AS known
 WHERE known.tenant = :tenant
   AND known.ctid = CAST(:place AS tid)
   AND known.fact_version = :former
   AND twin.tenant = :tenant
   AND (twin.kind, twin.entity_id, twin.column_group, twin.fact_at, twin.source)
       = (known.kind, known.entity_id, known.column_group, known.fact_at, known.source)
   AND twin.digest = {_DIGEST}
   AND known.digest IS NOT NULL
   AND twin.ctid <> known.ctid
""")  # noqa: S608 - the expression is ours
