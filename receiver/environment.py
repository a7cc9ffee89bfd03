"""The parts that commands share: settings and servers, database engines, options."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated

import typer
from sqlalchemy import Engine

import migrations
from ampeco.tenants import TenantsError
from migrations import MigrationError
from receiver.processes.embedded import embedded_servers
from runtime.heartbeat import registered
from runtime.logging import configure_logging, get_logger
from runtime.settings import Settings, load_settings, unknown_settings
from runtime.supervised import PARENT
from storage.database import create_database_engine, require_utf8, weak_durability
from storage.inbox.commit import prove_acceptable

logger = get_logger(__name__)

TenantOption = Annotated[str | None, typer.Option("--tenant", help="Only this tenant; by default, every tenant.")]


@contextlib.contextmanager
def running(process: str, *, needs_tenants: bool = True) -> Iterator[Settings]:
    """Load the settings, configure logging, start embedded servers if needed, and yield the settings.

    An invalid tenants file is reported before anything is started.

    Parameters:
        process: the name of the process in log lines.
        needs_tenants: whether the command needs the tenants file.
    """
    settings = load_settings()
    if needs_tenants:
        _ = settings.tenants
    configure_logging(settings.log_format, settings.log_level, process=process)
    if PARENT not in os.environ:  # else the process that started this one has warned already
        for sentence in unknown_settings(os.environ):
            logger.warning(sentence)
        for tenant in settings.tenants.values() if needs_tenants else ():
            if tenant.unknown_notifications:
                logger.warning(
                    "notifications of types that this release does not know are kept in the log only",
                    tenant=tenant.name,
                    types=list(tenant.unknown_notifications),
                )
    with embedded_servers(settings) as ready:
        yield ready


@contextlib.contextmanager
def database(settings: Settings, *, pool_size: int = 1, process: str | None = None) -> Iterator[Engine]:
    """Yield an engine for a command.

    Parameters:
        process: the name under which a long command is registered, over a connection of its own; None not to register.
    """
    url = settings.required_database_url()
    engine = create_database_engine(url, application_name="ampeco-receiver cli", pool_size=pool_size)
    try:
        with registered(url, process) if process else contextlib.nullcontext():
            yield engine
    finally:
        engine.dispose()


def require_migrated(settings: Settings, *, to_accept: bool = False) -> None:
    """Fail if the database does not have the tables of this release.

    Parameters:
        to_accept: also allow the tables of a later release, if notifications can be written to them.

    Raises:
        MigrationError: the database has other tables, or none.
        sqlalchemy.exc.DBAPIError: notifications cannot be written to the tables of a later release.
    """
    with database(settings) as engine, engine.begin() as connection:
        require_utf8(connection)
        revision = migrations.current(connection)
        problem = migrations.mismatch(revision)
        if problem is None:
            return
        if not (to_accept and migrations.is_later(revision)):
            raise MigrationError(f"DATABASE_URL: {problem}")
        prove_acceptable(connection)
    logger.warning("the database was migrated by a later release: upgrade this process", revision=revision)


def warn_of_weak_durability(engine: Engine) -> None:
    """Log each setting of Postgres under which a commit may not be on the disk when a 202 is sent."""
    with engine.connect() as connection:
        weak = weak_durability(connection)
    for setting, value in weak.items():
        consequence = (
            "our own transactions set it to on"
            if setting == "synchronous_commit"
            else "a crash of the server's machine can lose or damage acknowledged notifications; set it to on"
        )
        logger.warning("durability is weakened", setting=setting, value=value, consequence=consequence)


def chosen_tenants(settings: Settings, only: str | None) -> list[str]:
    """Return the names of the tenants that ``--tenant`` chooses.

    Raises:
        TenantsError: the tenant is not configured.
    """
    tenants = sorted(settings.tenants)
    if only is None:
        return tenants
    if only not in tenants:
        raise TenantsError(f"--tenant: {only} is not in {settings.tenants_file}; it has {', '.join(tenants)}.")
    return [only]
