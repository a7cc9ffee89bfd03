"""Every advisory lock, so that no two things share a number by accident.

They belong to transactions, as a session's would stay behind in a pooler. Applied migrations spell their numbers out.
"""

from __future__ import annotations

from enum import IntEnum, unique

from sqlalchemy import Connection, text


@unique
class Lock(IntEnum):
    """What is done by one process at a time in one database, or not beside something else."""

    #: Making partitions of the log, in the function that the migrations define.
    MAKE_PARTITIONS = 7_406_201_100
    #: Migrating: any number of processes may start it at once.
    MIGRATE = 7_406_201_101
    #: Rebuilding, and erasing a person: both need the schema of the rebuilt tables.
    REBUILD = 7_406_201_102
    #: Beginning a new stretch of uptime.
    UPTIME = 7_406_201_104
    #: Dropping a day of the log; shared by those who rewrite its bodies: the failed ones of the day are copied first,
    #: and a body that changes after that would come back as it was.
    DROP_LOG_DAY = 7_406_201_105


def lock(connection: Connection, number: Lock) -> None:
    """Wait for a lock, and hold it until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number.value})


def lock_shared(connection: Connection, number: Lock) -> None:
    """Wait for a lock that others may hold shared too, and hold it until the transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock_shared(:number)"), {"number": number.value})


def try_lock(connection: Connection, number: Lock) -> bool:
    """Take a lock until the transaction ends; return whether it was free."""
    return bool(
        connection.execute(text("SELECT pg_try_advisory_xact_lock(:number)"), {"number": number.value}).scalar()
    )


# The text hashes to 64 bits, and no number above is likely to be one of them.
_TRY_LOCK_SUBSCRIPTIONS = text(
    "SELECT pg_try_advisory_xact_lock(hashtextextended('ampeco-receiver subscription ' || :tenant, 0))"
)


def try_lock_subscriptions(connection: Connection, tenant: str) -> bool:
    """Take the right to change a tenant's subscriptions until the transaction ends; return whether it was free."""
    return bool(connection.execute(_TRY_LOCK_SUBSCRIPTIONS, {"tenant": tenant}).scalar())
