"""Alembic migrations of both schemas, and the few calls that the service makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from migrations import roles
from storage.database import require_utf8
from storage.locks import Lock, lock

#: SQLSTATE of a deadlock.
_DEADLOCK = "40P01"

_MAX_ATTEMPTS = 10

#: Where Alembic notes the revision: beside the tables that it is about.
VERSION_TABLE_SCHEMA = "ingest"


#: Where nothing of ours is left: the revision before the first.
BASE = "base"


class MigrationError(Exception):
    """The database cannot be migrated; the message is one sentence that says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What going back drops: whole tables, and columns of tables that stay, both as ``schema.name``."""

    tables: list[str]
    columns: list[str]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def head() -> str:
    """The revision that this release needs."""
    return revisions()[-1]


def revisions() -> list[str]:
    """Every revision that this release knows, oldest first."""
    scripts = ScriptDirectory.from_config(_config())
    return [script.revision for script in scripts.walk_revisions()][::-1]


def current(connection: Connection) -> str | None:
    """The revision of the database; None where nothing was migrated yet."""
    context = MigrationContext.configure(connection, opts={"version_table_schema": VERSION_TABLE_SCHEMA})
    return context.get_current_revision()


def is_later(revision: str | None) -> bool:
    """Return whether a revision is of a later release: it is one, and this release does not know it."""
    return revision is not None and revision not in revisions()


def mismatch(found: str | None) -> str | None:
    """Say in one sentence why this release cannot use a database at a revision; None where it can."""
    if found == head():
        return None
    if not is_later(found):
        return f"the database is at revision {found}, and {head()} is needed; run `ampeco-receiver migrate`."
    return (
        f"the database is at revision {found}, which this release does not know; use the release that made it, or go"
        f" back with that release's `ampeco-receiver migrate {head()}`."
    )


def upgrade(engine: Engine, revision: str = "head") -> list[str]:
    """Bring the database to a revision, in one transaction; waits while another process does.

    Returns:
        The groups of users that are missing and could not be made; see :mod:`migrations.roles`.

    Raises:
        MigrationError: the database is at a revision that this release does not know.
    """
    missing: list[str] = []

    def migrate(config: Config, connection: Connection) -> None:
        found = current(connection)
        if found is not None and found not in revisions():
            raise MigrationError(f"DATABASE_URL: {mismatch(found)}")
        command.upgrade(config, revision)
        if revision in ("head", head()):
            missing[:] = roles.establish(connection)

    _run(engine, migrate)
    return missing


def downgrade(engine: Engine, revision: str) -> None:
    """Take the database back to a revision, in one transaction.

    Raises:
        MigrationError: processes of the service are connected.
    """

    def migrate(config: Config, connection: Connection) -> None:
        require_alone(connection)
        command.downgrade(config, revision)

    _run(engine, migrate)


def losses(engine: Engine, revision: str) -> Losses:
    """What going back to a revision would drop: it is done in a transaction, looked at, and rolled back."""
    with engine.connect() as connection, connection.begin() as transaction:
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
    """Each column of each table of ours, those of partitions left out."""
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
    """Return if no process of the service but this one is connected to the database.

    Raises:
        MigrationError: some are; the message says which.
    """
    names = connection.execute(
        text("""
            SELECT application_name
              FROM pg_stat_activity
             WHERE datname = current_database()
               AND application_name LIKE 'ampeco-receiver %'
               AND pid <> pg_backend_pid()
        """)
    ).scalars()
    found = Counter(name.removeprefix("ampeco-receiver ") for name in names)
    if found:
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(found.items()))
        raise MigrationError(
            f"processes of the service are connected to this database, with so many connections: {shown}; stop them"
            " before you go back."
        )


def _is_deadlock(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == _DEADLOCK


# The service runs meanwhile, and may hold a table that a migration comes to later while it waits for one that
# the migration has. Postgres ends one of the two; nothing is left of it.
@retry(
    retry=retry_if_exception(_is_deadlock),
    wait=wait_random_exponential(multiplier=0.5, max=5),
    stop=stop_after_attempt(_MAX_ATTEMPTS),
    reraise=True,
)
def _run(engine: Engine, migrate: Callable[[Config, Connection], None]) -> None:
    with engine.begin() as connection:
        # A migration may rewrite a table, and may wait for another process's: no limits.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        lock(connection, Lock.MIGRATE)
        require_utf8(connection)
        config = _config()
        config.attributes["connection"] = connection
        migrate(config, connection)
