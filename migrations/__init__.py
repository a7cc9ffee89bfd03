"""Migrate both schemas with Alembic, and compare the database's revision with that of this release.

Every process compares revisions, few migrate, and some only show a revision. So Alembic and SQLAlchemy are imported by
the functions that use them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

#: SQLSTATE of a deadlock.
_DEADLOCK = "40P01"

_MAX_ATTEMPTS = 10

#: The schema in which Alembic records the revision: that of the tables that the revision describes.
VERSION_TABLE_SCHEMA = "ingest"

# Alembic makes the table, and leaves it without a row when everything was migrated back.
_HAS_VERSION_TABLE = """
    SELECT EXISTS (SELECT
                     FROM pg_class AS relation
                     JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
                    WHERE namespace.nspname = 'ingest' AND relation.relname = 'alembic_version')
"""
_REVISION = "SELECT version_num FROM ingest.alembic_version"

_VERSIONS = Path(__file__).parent / "versions"

#: The revision before the first, at which the database has none of our tables.
BASE = "base"


class MigrationError(Exception):
    """The database cannot be migrated; the message is one sentence with the reason and what to do."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What a downgrade drops.

    Attributes:
        tables: the names of dropped tables, as ``schema.table``.
        columns: the names of dropped columns of tables that stay, as ``schema.table.column``.
    """

    tables: list[str]
    columns: list[str]


#: A function that is called with the name of a revision.
OnRevision = Callable[[str], None]


def _ignore(_revision: str) -> None:
    """Do nothing."""


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def head() -> str:
    """Return the revision that this release needs."""
    return revisions()[-1]


def revisions() -> list[str]:
    """Return all revisions that this release knows, oldest first: the files of migrations begin with it."""
    return sorted(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*_*.py"))


def current(connection: Connection) -> str | None:
    """Return the revision of the database; None if it was never migrated."""
    if not connection.exec_driver_sql(_HAS_VERSION_TABLE).scalar_one():
        return None
    revision: str | None = connection.exec_driver_sql(_REVISION).scalar_one_or_none()
    return revision


def is_later(revision: str | None) -> bool:
    """Return whether a revision belongs to a later release, because this release does not know it."""
    return revision is not None and revision not in revisions()


def mismatch(revision: str | None) -> str | None:
    """Return one sentence why this release cannot use a database at a revision; None if it can."""
    if revision == head():
        return None
    if revision is None:
        return "the database has no tables of this service yet; run `ampeco-receiver migrate`."
    if not is_later(revision):
        return f"the database is at revision {revision}, and {head()} is needed; run `ampeco-receiver migrate`."
    return (
        f"the database is at revision {revision}, which this release does not know; use the release that made it, or go"
        f" back with that release's `ampeco-receiver migrate {head()}`."
    )


def upgrade(engine: Engine, revision: str = "head", *, on_revision: OnRevision = _ignore) -> list[str]:
    """Upgrade the database to a revision, in one transaction; wait while another process migrates.

    Parameters:
        engine: an engine of the user that owns the tables.
        revision: the revision, or ``head`` for the one that this release needs.
        on_revision: called after each revision that was applied, with its name. After a deadlock they are repeated.

    Returns:
        The roles that are missing because this user may not create them; see :mod:`migrations.roles`.

    Raises:
        MigrationError: the database is at a revision that this release does not know.
    """
    from alembic import command

    from migrations import roles

    missing: list[str] = []

    def migrate(config: Config, connection: Connection) -> None:
        present = current(connection)
        if present is not None and present not in revisions():
            raise MigrationError(f"DATABASE_URL: {mismatch(present)}")
        command.upgrade(config, revision)
        if revision in ("head", head()):
            missing[:] = roles.establish(connection)

    _run(engine, migrate, on_revision)
    return missing


def downgrade(engine: Engine, revision: str, *, on_revision: OnRevision = _ignore) -> None:
    """Downgrade the database to a revision, in one transaction.

    Parameters:
        on_revision: called after each revision that was removed, with its name. After a deadlock they are repeated.

    Raises:
        MigrationError: processes of the service are connected.
    """
    from alembic import command

    def migrate(config: Config, connection: Connection) -> None:
        require_alone(connection)
        command.downgrade(config, revision)

    _run(engine, migrate, on_revision)


def losses(engine: Engine, revision: str) -> Losses:
    """Return what a downgrade to a revision would drop, by doing it in a transaction that is rolled back."""
    from alembic import command

    with engine.connect() as connection, connection.begin() as transaction:
        _lift_timeouts(connection)
        before = _columns(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        after = _columns(connection)
        transaction.rollback()
    kept = {table for table, _ in after}
    return Losses(
        tables=sorted({table for table, _ in before if table not in kept}),
        columns=sorted(f"{table}.{column}" for table, column in before - after if table in kept),
    )


def _columns(connection: Connection) -> set[tuple[str, str]]:
    """Return all columns of all tables, without system tables and partitions, as pairs of table and column."""
    from sqlalchemy import text

    rows = connection.execute(
        text("""
            SELECT format('%s.%s', namespace.nspname, relation.relname), attribute.attname
              FROM pg_class AS relation
              JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
              JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
             WHERE relation.relkind IN ('r', 'p')
               AND NOT relation.relispartition
               AND namespace.nspname NOT IN ('information_schema', 'pg_catalog', 'pg_toast')
               AND attribute.attnum > 0
               AND NOT attribute.attisdropped
        """)
    )
    return {(table, column) for table, column in rows}


def require_alone(connection: Connection) -> None:
    """Check that no process of the service but this one is connected to the database.

    Raises:
        MigrationError: other processes are connected; the message names them.
    """
    from sqlalchemy import text

    names = connection.execute(
        text("""
            SELECT application_name
              FROM pg_stat_activity
             WHERE datname = current_database()
               AND application_name LIKE 'ampeco-receiver %'
               AND pid <> pg_backend_pid()
        """)
    ).scalars()
    connections = Counter(name.removeprefix("ampeco-receiver ") for name in names)
    if connections:
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(connections.items()))
        raise MigrationError(
            f"processes of the service are connected to this database, with so many connections: {shown}; stop them"
            " before you go back."
        )


def _is_deadlock(error: BaseException) -> bool:
    from sqlalchemy.exc import DBAPIError

    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == _DEADLOCK


def _run(engine: Engine, migrate: Callable[[Config, Connection], None], on_revision: OnRevision = _ignore) -> None:
    """Run a migration in a transaction, under the lock of migrations.

    The service may run at the same time. It may lock a table that the migration needs later, and wait for another one
    that the migration has locked. Postgres then aborts one of the two transactions; an aborted migration is repeated.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

    attempts = Retrying(
        retry=retry_if_exception(_is_deadlock),
        wait=wait_random_exponential(multiplier=0.5, max=5),
        stop=stop_after_attempt(_MAX_ATTEMPTS),
        reraise=True,
    )
    attempts(_run_once, engine, migrate, on_revision)


def _lift_timeouts(connection: Connection) -> None:
    """Turn off the timeouts: a migration may rewrite a table, and may wait for the migration of another process."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")


def _run_once(engine: Engine, migrate: Callable[[Config, Connection], None], on_revision: OnRevision) -> None:
    from storage.database import require_utf8
    from storage.locks import Lock, lock

    with engine.begin() as connection:
        _lift_timeouts(connection)
        lock(connection, Lock.MIGRATE)
        require_utf8(connection)
        config = _config()
        config.attributes |= {"connection": connection, "on_revision": on_revision}
        migrate(config, connection)
