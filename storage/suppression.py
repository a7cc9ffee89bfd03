"""Who was forgotten, and is not to come back with what arrives or is read later.

Identities are kept as digests with a key of the tenant, so that the list itself names nobody.
Whoever can read key and list can try out ids: the list protects against coming back, and not
against the owner of the database.

Every transaction that writes what AMPECO told asks here first. The question holds a lock on the key's
table until the transaction ends, and a forgetting begins with that table locked against all others:
so whoever did not see a name on the list has ended before the forgetting goes on. It does so once more
between the log and the state: so whoever read a body as it was has ended before the state is gone through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from ampeco.people import Identity, Theirs, identities, user, without
from storage.batches import Logged
from storage.changes import ChangeSet
from storage.documents import encode_value
from storage.fold import Fact
from storage.rewrite import rewrite

_DIGEST_BYTES = 16

# Index: primary key. One row, or nearly always none: then nobody of the tenant was forgotten.
_KEY = text("SELECT key FROM ingest.suppression_key WHERE tenant = :tenant")

# Index: primary key.
_LISTED = text("SELECT digest FROM ingest.suppression WHERE tenant = :tenant AND digest = ANY(:digests)")

# Index: the primary key of the log, in the partitions of these times alone.
_BODIES = """
SELECT received_at, notification_id, body
  FROM ingest.notification
 WHERE tenant = :tenant
   AND received_at BETWEEN :first_received_at AND :last_received_at
   AND notification_id = ANY(:notification_ids)
 ORDER BY received_at, notification_id
"""


def identity_digest(key: bytes, identity: Identity) -> bytes:
    """The digest of an identity, with the tenant's key."""
    told = f"{identity.what}:{identity.value}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(told, key=key, digest_size=_DIGEST_BYTES).digest()


def key_of(connection: Connection, tenant: str) -> bytes | None:
    """The tenant's key; None where nobody was forgotten."""
    key: bytes | None = connection.execute(_KEY, {"tenant": tenant}).scalar()
    return key


def _listed(connection: Connection, tenant: str, key: bytes, named: Collection[Identity]) -> set[Identity]:
    """Those identities that were forgotten."""
    digests = {identity_digest(key, identity): identity for identity in named}
    found = connection.execute(_LISTED, {"tenant": tenant, "digests": list(digests)}).scalars()
    return {digests[bytes(one)] for one in found}


def remove_suppressed(connection: Connection, tenant: str, read: Callable[[], Sequence[Logged]]) -> list[Logged]:
    """Read notifications, and take forgotten people out of them, in the log too, before anything is made of them.

    Parameters:
        read: reads them, in this transaction: after the look at the key, so that a forgetting either waits
            for us, or had them before.
    """
    key = key_of(connection, tenant)
    logged = list(read())
    if key is None:
        return logged
    named = set[Identity]().union(*(identities(one.body) for one in logged))
    gone = _listed(connection, tenant, key, named)
    if not gone:
        return logged
    naming = [one for one in logged if without(one.body, gone.__contains__) is not one.body]
    cleaned = {
        notification_id: (received_at, without(body, gone.__contains__))
        for received_at, notification_id, body in _bodies(connection, tenant, naming, lock=True)
    }
    rewrite(connection, tenant, [(at, notification_id, body) for notification_id, (at, body) in cleaned.items()])
    return [
        replace(one, body=cleaned[one.notification_id][1]) if one.notification_id in cleaned else one for one in logged
    ]


def remove_suppressed_again(connection: Connection, tenant: str, logged: Sequence[Logged]) -> list[Logged]:
    """As :func:`spare`, of notifications that were read in a transaction before this one."""

    def read() -> list[Logged]:
        if key_of(connection, tenant) is None:
            return list(logged)
        now = {one: body for _, one, body in _bodies(connection, tenant, logged)}
        return [replace(one, body=now[one.notification_id]) for one in logged if one.notification_id in now]

    return remove_suppressed(connection, tenant, read)


def _bodies(
    connection: Connection, tenant: str, logged: Sequence[Logged], *, lock: bool = False
) -> list[tuple[datetime, UUID, bytes]]:
    """Bodies as they are now: since they were read, a forgetting may have taken more out of them."""
    times = [one.received_at for one in logged]
    held = connection.execute(
        text(f"{_BODIES}   FOR UPDATE") if lock else text(_BODIES),
        {
            "tenant": tenant,
            "notification_ids": [one.notification_id for one in logged],
            "first_received_at": min(times, default=None),
            "last_received_at": max(times, default=None),
        },
    )
    return [(received_at, notification_id, bytes(body)) for received_at, notification_id, body in held]


def remove_suppressed_from_changes(connection: Connection, tenant: str, found: Sequence[ChangeSet]) -> None:
    """Take forgotten people out of what reads said, before any of it is written or compared."""
    key = key_of(connection, tenant)
    if key is None:
        return
    documents = {id(fact): document_of(fact.kind, fact.values) for one in found for fact in one.facts}
    named = {user(fact.entity_id) for one in found for fact in one.facts if fact.kind == "user"}
    gone = _listed(connection, tenant, key, named.union(*(identities(told) for told in documents.values())))
    if not gone:
        return
    for one in found:
        one.facts = [
            _without(fact, documents[id(fact)], gone.__contains__)
            for fact in one.facts
            if fact.kind != "user" or user(fact.entity_id) not in gone
        ]


def document_of(kind: str, columns: dict[str, object]) -> bytes:
    """Columns of an entity as one document: what it names, it names under the keys that AMPECO gives them."""
    return orjson.dumps({_shown_as(kind, name): value for name, value in columns.items()}, default=_spelled)


def changed_columns(
    kind: str, columns: dict[str, object], clean_document: Callable[[bytes], bytes]
) -> dict[str, object]:
    """The columns that a document is without, once a person was taken out of it, with their new values."""
    document = document_of(kind, columns)
    return _changed(kind, columns, document, clean_document(document))


def _changed(kind: str, columns: dict[str, object], before: bytes, after: bytes) -> dict[str, object]:
    if after is before:
        return {}
    old, new = orjson.loads(before), orjson.loads(after)
    keys = {name: _shown_as(kind, name) for name in columns}
    return {name: new[key] for name, key in keys.items() if new[key] != old[key]}


def _without(fact: Fact, document: bytes, is_theirs: Theirs) -> Fact:
    changed = _changed(fact.kind, fact.values, document, without(document, is_theirs))
    if not changed:
        return fact
    values = fact.values | changed
    return replace(fact, values=values, version=fact.version.with_values(values))


def _shown_as(kind: str, column: str) -> str:
    """A user's own JSON does not say that it is a user's, but by the key that it comes under."""
    return "user" if kind == "user" and column == "raw" else column


def _spelled(value: object) -> object:
    return list(value) if isinstance(value, tuple) else encode_value(value)
