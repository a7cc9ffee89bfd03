"""Define every advisory lock, so that no two purposes share a number by accident.

All locks belong to transactions, because the lock of a session would stay behind in a pooler. Migrations contain
the numbers as literals.
"""

from __future__ import annotations

from enum import IntEnum, unique

from sqlalchemy import Connection, text


@unique
class Lock(IntEnum):
    """A task that only one process at a time may do in one database, or that excludes another task."""

    #: Make partitions of the log, in the function that the migrations define.
    MAKE_PARTITIONS = 7_406_201_100
    #: Migrate the database; any number of processes may start a migration at the same time.
    MIGRATE = 7_406_201_101
    #: Rebuild the state, or erase a person: a rebuild that is already running would bring the person back. All rebuilds
    #: use the same schema.
    REBUILD = 7_406_201_102
    #: Begin a new period of uptime.
    UPTIME = 7_406_201_104
    #: Drop a day of the log. Transactions that rewrite bodies share this lock: failed notifications are copied before
    #: the day is dropped, and a later change of a body would be lost.
    DROP_LOG_DAY = 7_406_201_105
    #: Look for incidents, of which people are alerted.
    ALERTS = 7_406_201_106
    #: Make or drop partitions of meter values, in the functions that the migrations define.
    METER_PARTITIONS = 7_406_201_107


def lock(connection: Connection, number: Lock) -> None:
    """Wait for a lock, and hold it until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number.value})


def lock_shared(connection: Connection, number: Lock) -> None:
    """Wait for a lock that several transactions may share, and hold it until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock_shared(:number)"), {"number": number.value})


def try_lock(connection: Connection, number: Lock) -> bool:
    """Take a lock until the transaction ends; return whether it was free."""
    return bool(
        connection.execute(text("SELECT pg_try_advisory_xact_lock(:number)"), {"number": number.value}).scalar()
    )


# The hash of the text has 64 bits, so it is very unlikely to equal one of the numbers above.
_TRY_LOCK_SUBSCRIPTIONS = text(
    "SELECT pg_try_advisory_xact_lock(hashtextextended('ampeco-receiver subscription ' || :tenant, 0))"
)


def try_lock_subscriptions(connection: Connection, tenant: str) -> bool:
    """Take the lock for changes of a tenant's subscriptions until the transaction ends; return whether it was free."""
    return bool(connection.execute(_TRY_LOCK_SUBSCRIPTIONS, {"tenant": tenant}).scalar())


# As above.
_TRY_LOCK_EXPORT = text(
    "SELECT pg_try_advisory_xact_lock(hashtextextended('ampeco-receiver export ' || :tenant || ' ' || :destination, 0))"
)


def try_lock_export(connection: Connection, tenant: str, destination: str) -> bool:
    """Take the lock for exports of a tenant to a destination until the transaction ends; return whether it was free."""
    parameters = {"tenant": tenant, "destination": destination}
    return bool(connection.execute(_TRY_LOCK_EXPORT, parameters).scalar())
