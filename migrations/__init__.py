"""Alembic migrations of both schemas, and the few calls that the service makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from migrations import roles

#: Serialises migrations: any number of processes may start one at once.
_LOCK = 7_406_201_101

#: SQLSTATE of a deadlock.
_DEADLOCK = "40P01"

_MOST_ATTEMPTS = 10

#: Where Alembic notes the revision: beside the tables that it is about.
VERSION_TABLE_SCHEMA = "ingest"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def head() -> str:
    """The revision that this release needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def current(connection: Connection) -> str | None:
    """The revision of the database; None where nothing was migrated yet."""
    context = MigrationContext.configure(connection, opts={"version_table_schema": VERSION_TABLE_SCHEMA})
    return context.get_current_revision()


def is_later(revision: str | None) -> bool:
    """Return whether a revision is of a later release: it is one, and this release does not know it."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    return revision is not None and revision not in known


def upgrade(engine: Engine, revision: str = "head") -> list[str]:
    """Bring the database to a revision, in one transaction; waits while another process does.

    Returns:
        The groups of users that are missing and could not be made; see :mod:`migrations.roles`.
    """
    missing: list[str] = []

    def migrate(config: Config, connection: Connection) -> None:
        command.upgrade(config, revision)
        if revision in ("head", head()):
            missing[:] = roles.establish(connection)

    _run(engine, migrate)
    return missing


def downgrade(engine: Engine, revision: str) -> None:
    """Take the database back to a revision, in one transaction."""
    _run(engine, lambda config, _connection: command.downgrade(config, revision))


def _is_deadlock(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) == _DEADLOCK


# The service runs meanwhile, and may hold a table that a migration comes to later while it waits for one that
# the migration has. Postgres ends one of the two; nothing is left of it.
@retry(
    retry=retry_if_exception(_is_deadlock),
    wait=wait_random_exponential(multiplier=0.5, max=5),
    stop=stop_after_attempt(_MOST_ATTEMPTS),
    reraise=True,
)
def _run(engine: Engine, migrate: Callable[[Config, Connection], None]) -> None:
    with engine.begin() as connection:
        # A migration may rewrite a table, and may wait for another process's: no limits.
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SET LOCAL lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config = _config()
        config.attributes["connection"] = connection
        migrate(config, connection)
