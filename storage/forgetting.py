"""Forgetting a person: where they occur, and the same rows without them.

The log goes first, bite by bite, and the state and its history last, in one transaction: what the
person is known by is found in the state, so it must be whole until the log is done. Values are
taken out where they stand; times, energies and amounts stay, and so does each fact's standing among
others: its version gets the digest of what it says now, as the log without the person will tell it.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import JSONB

from ampeco import people
from ampeco.people import Identity, belongings, spellings, without
from storage.blanking import rewrite
from storage.fold import digest, json_default
from storage.forgotten import changes, document_of, identity_digest, key_of, version_of
from storage.ids import uuid7
from storage.mirrors import MIRRORS, Mirror
from storage.replay import Position
from storage.tables import CHARGING, metadata

#: Rows of the state that are held in memory at once.
ROWS_AT_ONCE = 500

#: Shorter ones may stand in a text by chance.
SHORTEST_WORD = 8

#: Waiting longer for everybody who writes would hold them up in their turn.
LOCK_SECONDS = 5

#: Statements of this long read whole tables; a bite of the log is none of them.
STATEMENT_TIMEOUT_MS = 3_600_000

_KEY_BYTES = 32

#: Held by whoever drops a day of the log, which keeps a copy of what failed: one made before a bite would
#: bring its bodies back.
_DROPPING_LOCK = 7_406_201_105


@dataclass(slots=True)
class Person:
    """What a person is known by: the user's id, and id tags and addresses with their spellings."""

    user_id: int
    known_by: dict[Identity, set[str]] = field(default_factory=dict)

    def learn(self, found: dict[Identity, set[str]]) -> None:
        for identity, spelled in found.items():
            self.known_by.setdefault(identity, set()).update(spelled)

    @property
    def identities(self) -> set[Identity]:
        return {people.user(self.user_id), *self.known_by}

    def is_theirs(self, identity: Identity) -> bool:
        return identity == people.user(self.user_id) or identity in self.known_by

    def taken_out(self, document: bytes, *, is_about: bool = False) -> bytes:
        """The document without the person, as :func:`ampeco.people.without` says."""
        words = {what: self._words(what) for what in ("email", "id_tag")}
        return without(document, self.is_theirs, addresses=words["email"], tags=words["id_tag"], is_about=is_about)

    def _words(self, what: str) -> list[str]:
        """What stands for the person in any text, in lower case."""
        known = [value.lower() for told, value in self.known_by if told == what]
        return sorted(word for word in known if len(word) >= SHORTEST_WORD)

    @property
    def needles(self) -> list[bytes]:
        """One of these is in every body that names the person."""
        texts = {spelled for found in self.known_by.values() for spelled in found}
        return sorted({str(self.user_id).encode()}.union(*(spellings(one) for one in texts)))

    @property
    def pattern(self) -> str:
        """A regular expression that finds the person in a row spelt as JSON, and seldom anybody else."""
        number = rf'"[a-z_]*user[a-z_]*": (\[[^]]*|\{{[^}}]*"id": )?"?{self.user_id}"?[],}}]'
        texts = {orjson.dumps(one.lower())[1:-1].decode() for found in self.known_by.values() for one in found}
        return "|".join([number, *(re.escape(one) for one in sorted(texts))])


def owns_the_tables(connection: Connection) -> bool:
    """Whether this user may change the log and the history, as their owner."""
    asked = text("""
        SELECT bool_and(pg_has_role(current_user, relowner, 'USAGE'))
          FROM pg_class
         WHERE oid IN ('ingest.notification'::regclass, 'charging.session'::regclass, 'charging.notice'::regclass)
    """)
    return bool(connection.execute(asked).scalar_one())


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

    for entity, mirror in MIRRORS.items():
        for row in _rows(connection, tenant, entity, person):
            count(mirror.name, document_of(entity, _told(mirror, row)))
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


@dataclass(frozen=True, slots=True)
class Forgetting:
    """A forgetting under way.

    Attributes:
        reached: the log is done up to there; None: from the beginning.
        is_known: whether the user was on the list before.
    """

    forgetting_id: UUID
    reached: Position | None
    is_known: bool


def is_listed(connection: Connection, tenant: str, user_id: int) -> bool:
    """Whether a user is on the list of those who are not to come back."""
    key = key_of(connection, tenant)
    if key is None:
        return False
    asked = text("SELECT EXISTS (SELECT FROM ingest.forgotten WHERE tenant = :tenant AND digest = :digest)")
    told = {"tenant": tenant, "digest": identity_digest(key, people.user(user_id))}
    return bool(connection.execute(asked, told).scalar_one())


def begin(connection: Connection, tenant: str, person: Person, asked_by: str) -> Forgetting:
    """Put the person on the list, once everybody who writes without knowing of it has ended.

    A forgetting that was left unfinished goes on, unless more is known of the person now.
    """
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
    connection.execute(text("LOCK TABLE ingest.forgetting_key IN ACCESS EXCLUSIVE MODE"))
    connection.execute(
        text("INSERT INTO ingest.forgetting_key (tenant, key) VALUES (:tenant, :key) ON CONFLICT DO NOTHING"),
        {"tenant": tenant, "key": secrets.token_bytes(_KEY_BYTES)},
    )
    key = key_of(connection, tenant)
    assert key is not None
    subject = identity_digest(key, people.user(person.user_id))
    is_known = is_listed(connection, tenant, person.user_id)
    row = connection.execute(_BEGIN, {
        "tenant": tenant, "forgetting_id": uuid7(), "subject": subject, "asked_by": asked_by,
    }).one()  # fmt: skip
    added = connection.execute(
        _ADD,
        {
            "tenant": tenant,
            "forgetting_id": row.forgetting_id,
            "digests": [identity_digest(key, identity) for identity in person.identities],
        },
    ).rowcount
    if row.reached_at is None or added:
        return Forgetting(row.forgetting_id, None, is_known)
    return Forgetting(row.forgetting_id, Position(row.reached_at, row.reached_id), is_known)


# Index: forgetting_open_idx.
_BEGIN = text("""
INSERT INTO ingest.forgetting AS known (tenant, forgetting_id, subject, asked_by)
VALUES (:tenant, :forgetting_id, :subject, :asked_by)
    ON CONFLICT (tenant, subject) WHERE finished_at IS NULL DO UPDATE SET
       asked_by = excluded.asked_by
RETURNING forgetting_id, reached_at, reached_id
""")

_ADD = text("""
INSERT INTO ingest.forgotten (tenant, digest, forgetting_id)
SELECT :tenant, digest, :forgetting_id
  FROM unnest(CAST(:digests AS bytea[])) AS added (digest)
    ON CONFLICT DO NOTHING
""")


# Index: the primary key of the log. The lengths of bodies are known without reading them.
_NEXT = text("""
WITH listed AS (
    SELECT received_at, notification_id, octet_length(body) AS bytes
      FROM ingest.notification
     WHERE tenant = :tenant
       AND received_at >= :received_at
       AND received_at < :until
       AND (received_at, notification_id) > (:received_at, :notification_id)
     ORDER BY received_at, notification_id
     LIMIT :most
), sized AS (
    SELECT *, sum(bytes) OVER (ORDER BY received_at, notification_id) - bytes AS bytes_before FROM listed
)
SELECT received_at, notification_id, count(*) OVER () AS notifications
  FROM sized
 WHERE bytes_before < :most_bytes
 ORDER BY received_at DESC, notification_id DESC
 LIMIT 1
""")

# Index: the same. A body is searched byte by byte; the lock lets nobody change it meanwhile.
_NAMING = """
SELECT received_at, notification_id, body
  FROM ingest.notification
 WHERE tenant = :tenant
   AND received_at BETWEEN :received_at AND :last_received_at
   AND (received_at, notification_id) > (:received_at, :notification_id)
   AND (received_at, notification_id) <= (:last_received_at, :last_notification_id)
   AND EXISTS (SELECT FROM unnest(CAST(:needles AS bytea[])) AS needle WHERE position(needle IN body) > 0)
 ORDER BY received_at, notification_id
"""

# Index: primary key. An error may quote a name that the sender gave.
_OUTCOMES = text("""
UPDATE ingest.outcome
   SET error = NULL
 WHERE tenant = :tenant
   AND notification_id = ANY(:notification_ids)
   AND error ~* :pattern
""")

# Index: primary key.
_HOLD = text(
    "SELECT changed FROM ingest.forgetting WHERE tenant = :tenant AND forgetting_id = :forgetting_id FOR UPDATE"
)

_COUNT = text("""
UPDATE ingest.forgetting
   SET changed = CAST(:changed AS jsonb),
       reached_at = coalesce(CAST(:reached_at AS timestamptz), reached_at),
       reached_id = coalesce(CAST(:reached_id AS uuid), reached_id),
       finished_at = CASE WHEN :is_finished THEN now() END
 WHERE tenant = :tenant
   AND forgetting_id = :forgetting_id
""")


@dataclass(frozen=True, slots=True)
class Bite:
    """A part of the log: its last notification, how many there are, and how many name the person."""

    last: Position
    notifications: int
    naming: int


def before(moment: datetime) -> Position:
    """The position before everything that was received at a time or later."""
    return Position(moment, UUID(int=0))


def next_bite(
    connection: Connection,
    tenant: str,
    person: Person,
    after: Position,
    until: datetime,
    *,
    most: int,
    most_bytes: int,
    forgetting_id: UUID | None = None,
) -> Bite | None:
    """Go through the next notifications of the log; None at its end.

    Parameters:
        until: those that were received then or later are settled without the person anyway.
        forgetting_id: the forgetting that takes the person out; None only counts.
    """
    if forgetting_id is not None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _DROPPING_LOCK})
    place = {"tenant": tenant, "received_at": after.received_at, "notification_id": after.notification_id}
    found = connection.execute(_NEXT, place | {"until": until, "most": most, "most_bytes": most_bytes}).first()
    if found is None:
        return None
    last = Position(found.received_at, found.notification_id)
    rows = connection.execute(
        text(_NAMING if forgetting_id is None else f"{_NAMING}   FOR UPDATE"),
        place
        | {
            "needles": person.needles,
            "last_received_at": last.received_at,
            "last_notification_id": last.notification_id,
        },
    )
    cleared = [(received_at, one, body, person.taken_out(body)) for received_at, one, body in rows]
    changed = [(received_at, one, spared) for received_at, one, body, spared in cleared if spared is not body]
    if forgetting_id is not None:
        rewrite(connection, tenant, changed)
        counts = Counter({"ingest.notification": len(changed)})
        counts["ingest.outcome"] = connection.execute(
            _OUTCOMES,
            {"tenant": tenant, "notification_ids": [one for _, one, _ in changed], "pattern": person.pattern},
        ).rowcount
        _count(connection, tenant, forgetting_id, counts, reached=last)
    return Bite(last, found.notifications, len(changed))


def _count(
    connection: Connection,
    tenant: str,
    forgetting_id: UUID,
    counts: Counter[str],
    *,
    reached: Position | None = None,
    is_finished: bool = False,
) -> dict[str, int]:
    """Add to what the forgetting changed, and note how far it came; returns all that it changed."""
    key = {"tenant": tenant, "forgetting_id": forgetting_id}
    known: dict[str, int] = connection.execute(_HOLD, key).scalar_one()
    total = {table: number for table, number in sorted((Counter(known) + counts).items()) if number}
    connection.execute(
        _COUNT,
        key
        | {
            "changed": orjson.dumps(total).decode(),
            "reached_at": reached and reached.received_at,
            "reached_id": reached and reached.notification_id,
            "is_finished": is_finished,
        },
    )
    return total


# What waits to be read of the user. Index: primary key.
_WAITING = "{what} FROM ingest.refresh_request WHERE tenant = :tenant AND entity = 'user' AND entity_id = :user_id"


def finish(connection: Connection, tenant: str, person: Person, forgetting_id: UUID) -> dict[str, int]:
    """Take the person out of the history and the state, and close the forgetting; returns rows by table.

    One transaction: what is known of the person is there until all of it goes. History comes first, as
    nobody else locks it; the state's rows are locked in the order of every writer.
    """
    take_time(connection)
    changed: Counter[str] = Counter()
    entities = _keys(connection, tenant, person)
    changed[f"{CHARGING}.notice"] = _clear_notices(connection, tenant, person)
    changed[f"{CHARGING}.session_revision"] = _clear_revisions(connection, tenant, person, entities["session"])
    for entity, mirror in MIRRORS.items():
        changed[f"{CHARGING}.{mirror.name}"] += _clear_state(connection, tenant, person, entity, entities[entity])
    deleted = connection.execute(
        text(_WAITING.format(what="DELETE")), {"tenant": tenant, "user_id": person.user_id}
    ).rowcount
    changed["ingest.refresh_request"] = deleted
    return _count(connection, tenant, forgetting_id, changed, is_finished=True)


def _keys(connection: Connection, tenant: str, person: Person) -> dict[str, list[int]]:
    """The ids of the rows that name the person, by entity, read without any lock."""
    return {
        entity: sorted(row[mirror.key] for row in _rows(connection, tenant, entity, person))
        for entity, mirror in MIRRORS.items()
    }


def _clear_state(connection: Connection, tenant: str, person: Person, entity: str, entity_ids: Sequence[int]) -> int:
    mirror, changed = MIRRORS[entity], 0
    for begin_ in range(0, len(entity_ids), ROWS_AT_ONCE):
        ids = list(entity_ids[begin_ : begin_ + ROWS_AT_ONCE])
        held = connection.execute(text(_hold(entity)), {"tenant": tenant, "ids": ids}).mappings().all()
        gone = [row[mirror.key] for row in held if _is_the_user(entity, row, person)]
        if gone:
            changed += connection.execute(text(_delete(entity)), {"tenant": tenant, "ids": gone}).rowcount
        rows = [new for row in held if row[mirror.key] not in gone and (new := _cleared(entity, mirror, row, person))]
        if rows:
            document = orjson.dumps(rows, default=json_default).decode()
            changed += connection.execute(text(_update(entity)), {"tenant": tenant, "rows": document}).rowcount
    return changed


def _is_the_user(entity: str, row: Any, person: Person) -> bool:
    return bool(entity == "user" and row[MIRRORS[entity].key] == person.user_id)


def _cleared(entity: str, mirror: Mirror, row: Any, person: Person) -> dict[str, Any] | None:
    """The groups of a row that change, whole, with the versions of what they say then."""
    new = changes(entity, _told(mirror, row), person.taken_out)
    if not new:
        return None
    told: dict[str, Any] = {mirror.key: row[mirror.key]}
    for group in mirror.groups:
        values = {column: new.get(column, _value(mirror, row, column)) for column in group.columns}
        version = row[group.version]
        if version is not None and any(column in new for column in group.columns):
            version = version_of(version, values)
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


def _rows(connection: Connection, tenant: str, entity: str, person: Person) -> Iterator[Any]:
    """The rows of a kind that name the person, or are the person's own; it goes through all of them."""
    mirror = MIRRORS[entity]
    own = f"{mirror.key} = :user_id OR" if entity == "user" else ""
    rows = _streamed(
        connection,
        f"SELECT {_columns(mirror.name)} FROM {mirror.source} AS known"  # noqa: S608 - the names are ours
        f" WHERE tenant = :tenant AND ({own} CAST(to_jsonb(known) AS text) ~* :pattern)",
        {"tenant": tenant, "pattern": person.pattern} | ({"user_id": person.user_id} if own else {}),
    )
    for row in rows:
        if _is_the_user(entity, row, person) or changes(entity, _told(mirror, row), person.taken_out):
            yield row


def _streamed(connection: Connection, statement: str, parameters: dict[str, Any]) -> Iterator[Any]:
    options = {"stream_results": True, "max_row_buffer": ROWS_AT_ONCE}
    with connection.execute(text(statement), parameters, execution_options=options) as result:
        yield from result.mappings()


@cache
def _hold(entity: str) -> str:
    """Index: primary key."""
    mirror = MIRRORS[entity]
    of_kind = "" if mirror.kind is None else f" AND kind = '{mirror.kind}'"
    return f"""
SELECT {_columns(mirror.name)}
  FROM {CHARGING}.{mirror.name}
 WHERE tenant = :tenant{of_kind}
   AND {mirror.key} = ANY(:ids)
 ORDER BY {", ".join(mirror.keys)}
   FOR UPDATE
"""  # noqa: S608 - the names are ours


@cache
def _delete(entity: str) -> str:
    """Index: primary key."""
    mirror = MIRRORS[entity]
    of_kind = "" if mirror.kind is None else f" AND kind = '{mirror.kind}'"
    return (
        f"DELETE FROM {CHARGING}.{mirror.name}"  # noqa: S608 - the names are ours
        f" WHERE tenant = :tenant{of_kind} AND {mirror.key} = ANY(:ids)"
    )


@cache
def _update(entity: str) -> str:
    """Index: primary key. Clocks stay; who copies rows by `updated_at` copies these again."""
    mirror = MIRRORS[entity]
    of_kind = "" if mirror.kind is None else f" AND known.kind = '{mirror.kind}'"
    names = [column for group in mirror.groups for column in (*group.columns, group.version)]
    assignments = ",\n       ".join(f"{name} = cleared.{name}" for name in names)
    return f"""
UPDATE {CHARGING}.{mirror.name} AS known
   SET {assignments},
       updated_at = now()
  FROM json_populate_recordset(NULL::{CHARGING}.{mirror.name}, CAST(:rows AS json)) AS cleared
 WHERE known.tenant = :tenant{of_kind}
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
        told["details"] = orjson.dumps(new["details"]).decode()
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
        "SELECT CAST(ctid AS text) AS place, session_id, told_version,"
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
            version = version_of(row["told_version"], {"forgotten": secrets.token_hex(8)})
            sides = {name: orjson.dumps(new.get(name, row[name])).decode() for name in ("changed_from", "changed_to")}
            told = {"tenant": tenant, "place": row["place"], "version": version, **sides}
            changed += connection.execute(_CLEAR_REVISION, told).rowcount
    return changed


_CLEAR_REVISION = text("""
UPDATE charging.session_revision
   SET changed_from = CAST(:changed_from AS jsonb),
       changed_to = CAST(:changed_to AS jsonb),
       told_version = :version
 WHERE tenant = :tenant
   AND ctid = CAST(:place AS tid)
""")
