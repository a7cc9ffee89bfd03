"""Remove erased people from data that arrives or is read later, with the suppression list.

The list contains digests of identities, made with a key of the tenant, so that the list itself names no person. A
program that can read the key and the list can try out ids: the list keeps erased people out of new data, and does
not protect them from the owner of the database.

Every transaction that writes data of AMPECO reads the tenant's key first, and so holds a lock on the table of keys
until it ends. An erasure begins by locking this table exclusively. So all transactions that did not see the new
entries of the list have ended before the erasure continues. It locks the table again between the log and the state,
so that all transactions that have read a body with the person have ended before the state is erased.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from ampeco.privacy.people import Identity, Theirs, identities, user, without
from storage.documents import encode_value
from storage.inbox.batches import LoggedBody
from storage.inbox.rewrite import rewrite
from storage.state.changes import ChangeSet
from storage.state.fold import Fact

_DIGEST_BYTES = 16

# Index: primary key. Nearly always there is no row, because no person of the tenant was erased.
_KEY = text("SELECT key FROM ingest.suppression_key WHERE tenant = :tenant")

# Index: primary key.
_LISTED = text("SELECT digest FROM ingest.suppression WHERE tenant = :tenant AND digest = ANY(:digests)")

# Index: the primary key of the log, only in the partitions of these times.
_BODIES = """
SELECT received_at, notification_id, body
  FROM ingest.notification
 WHERE tenant = :tenant
   AND received_at BETWEEN :first_received_at AND :last_received_at
   AND notification_id = ANY(:notification_ids)
 ORDER BY received_at, notification_id
"""


def identity_digest(key: bytes, identity: Identity) -> bytes:
    """Return the digest of an identity, made with the tenant's key."""
    message = f"{identity.what}:{identity.value}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(message, key=key, digest_size=_DIGEST_BYTES).digest()


def key_of(connection: Connection, tenant: str) -> bytes | None:
    """Return the tenant's key, and share the lock on the table of keys; None if no person of the tenant was erased."""
    key: bytes | None = connection.execute(_KEY, {"tenant": tenant}).scalar()
    return key


def _listed(connection: Connection, tenant: str, key: bytes, named: Collection[Identity]) -> set[Identity]:
    """Return those of the identities that are on the suppression list."""
    digests = {identity_digest(key, identity): identity for identity in named}
    listed = connection.execute(_LISTED, {"tenant": tenant, "digests": list(digests)}).scalars()
    return {digests[bytes(digest)] for digest in listed}


def remove_suppressed(
    connection: Connection, tenant: str, read: Callable[[], Sequence[LoggedBody]]
) -> list[LoggedBody]:
    """Read notifications, and remove erased people from them and from the log before they are applied.

    Parameters:
        read: reads the notifications in this transaction. It is called after the key is read, so that an erasure
            either waits for this transaction or has already rewritten the notifications.

    Returns:
        The notifications without erased people.
    """
    key = key_of(connection, tenant)
    logged = list(read())
    if key is None:
        return logged
    named = set[Identity]().union(*(identities(notification.body) for notification in logged))
    erased = _listed(connection, tenant, key, named)
    if not erased:
        return logged
    naming = [
        notification
        for notification in logged
        if without(notification.body, erased.__contains__) is not notification.body
    ]
    cleaned = {
        notification_id: (received_at, without(body, erased.__contains__))
        for received_at, notification_id, body in _bodies(connection, tenant, naming, lock=True)
    }
    rewrite(connection, tenant, [(at, notification_id, body) for notification_id, (at, body) in cleaned.items()])
    return [
        replace(notification, body=cleaned[notification.notification_id][1])
        if notification.notification_id in cleaned
        else notification
        for notification in logged
    ]


def remove_suppressed_again(connection: Connection, tenant: str, logged: Sequence[LoggedBody]) -> list[LoggedBody]:
    """Remove erased people as :func:`remove_suppressed` does, if an earlier transaction read the notifications.

    Returns:
        The notifications as they are in the log now, without those that are no longer there.
    """

    def read() -> list[LoggedBody]:
        if key_of(connection, tenant) is None:
            return list(logged)
        bodies = {notification_id: body for _, notification_id, body in _bodies(connection, tenant, logged)}
        return [
            replace(notification, body=bodies[notification.notification_id])
            for notification in logged
            if notification.notification_id in bodies
        ]

    return remove_suppressed(connection, tenant, read)


def _bodies(
    connection: Connection, tenant: str, logged: Sequence[LoggedBody], *, lock: bool = False
) -> list[tuple[datetime, UUID, bytes]]:
    """Return the bodies as they are in the log now: an erasure may have rewritten them since they were read."""
    times = [notification.received_at for notification in logged]
    rows = connection.execute(
        text(f"{_BODIES}   FOR UPDATE") if lock else text(_BODIES),
        {
            "tenant": tenant,
            "notification_ids": [notification.notification_id for notification in logged],
            "first_received_at": min(times, default=None),
            "last_received_at": max(times, default=None),
        },
    )
    return [(received_at, notification_id, bytes(body)) for received_at, notification_id, body in rows]


def remove_suppressed_from_changes(connection: Connection, tenant: str, change_sets: Sequence[ChangeSet]) -> None:
    """Remove erased people from the change sets of reads, before they are compared or written."""
    key = key_of(connection, tenant)
    if key is None:
        return
    documents = {id(fact): document_of(fact.kind, fact.values) for changes in change_sets for fact in changes.facts}
    users = {user(fact.entity_id) for changes in change_sets for fact in changes.facts if fact.kind == "user"}
    erased = _listed(connection, tenant, key, users.union(*(identities(document) for document in documents.values())))
    if not erased:
        return
    for changes in change_sets:
        changes.facts = [
            _without(fact, documents[id(fact)], erased.__contains__)
            for fact in changes.facts
            if fact.kind != "user" or user(fact.entity_id) not in erased
        ]


def document_of(kind: str, columns: dict[str, object]) -> bytes:
    """Return the columns of an entity as a JSON document, in which the keys of identities are those of AMPECO."""
    return orjson.dumps({_shown_as(kind, name): value for name, value in columns.items()}, default=_spelled)


def changed_columns(
    kind: str, columns: dict[str, object], clean_document: Callable[[bytes], bytes]
) -> dict[str, object]:
    """Return the columns that change when a person is removed from an entity, with their new values.

    Parameters:
        kind: the kind of the entity.
        columns: the columns of the entity.
        clean_document: returns a document without the person, or the same object if it does not name the person.
    """
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
    """Return the key of a column in the document; only the key ``user`` shows that the JSON is that of a user."""
    return "user" if kind == "user" and column == "raw" else column


def _spelled(value: object) -> object:
    return list(value) if isinstance(value, tuple) else encode_value(value)
