"""What the commands share: settings with servers behind them, and the options that several take."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated

import typer
from sqlalchemy import Engine

import migrations
from ampeco.tenants import TenantsError
from receiver.embedded import embedded_servers
from receiver.orphans import PARENT
from storage.database import create_database_engine
from storage.inbox import prove_acceptable
from workers.heartbeat import registered
from workers.logs import configure_logging, get_logger
from workers.settings import Settings, SettingsError, load_settings, unknown_settings

logger = get_logger(__name__)

TenantOption = Annotated[str | None, typer.Option("--tenant", help="Only this tenant; left out, every tenant.")]


@contextlib.contextmanager
def running(process: str, *, needs_tenants: bool = True) -> Iterator[Settings]:
    """Settings with servers behind them, and logging set up.

    A wrong tenants file stops us before anything is started.
    """
    settings = load_settings()
    if needs_tenants:
        _ = settings.tenants
    configure_logging(settings.log_format, settings.log_level, process=process)
    if PARENT not in os.environ:  # what another process of ours starts has the same environment
        for sentence in unknown_settings(os.environ):
            logger.warning(sentence)
    with embedded_servers(settings) as ready:
        yield ready


@contextlib.contextmanager
def database(settings: Settings, *, pool_size: int = 1, process: str | None = None) -> Iterator[Engine]:
    """An engine for a command.

    Parameters:
        process: how a command that takes its time is registered meanwhile, over a connection of its own; None: not.
    """
    url = settings.required_database_url()
    engine = create_database_engine(url, application_name="ampeco-receiver cli", pool_size=pool_size)
    try:
        with registered(url, process) if process else contextlib.nullcontext():
            yield engine
    finally:
        engine.dispose()


def require_migrated(settings: Settings, *, to_accept: bool = False) -> None:
    """See that the database has the tables of this release.

    Parameters:
        to_accept: whether those of a later release do as well, where notifications can be written to them.

    Raises:
        SettingsError: it has others.
        sqlalchemy.exc.DBAPIError: notifications cannot be written to those of a later release.
    """
    with database(settings) as engine, engine.begin() as connection:
        found, needed = migrations.current(connection), migrations.head()
        if found == needed:
            return
        if not migrations.is_later(found):
            raise SettingsError(
                f"DATABASE_URL: the database is at revision {found}, and {needed} is needed; run"
                " `ampeco-receiver migrate`."
            )
        if not to_accept:
            raise SettingsError(
                f"DATABASE_URL: the database is at revision {found} of a later release, and this one is made for"
                f" {needed}; upgrade this process."
            )
        prove_acceptable(connection)
    logger.warning("the database is of a later release; upgrade this process", revision=found, made_for=needed)


def chosen_tenants(settings: Settings, only: str | None) -> list[str]:
    """The names of the tenants that ``--tenant`` chooses.

    Raises:
        TenantsError: there is no such tenant.
    """
    tenants = sorted(settings.tenants)
    if only is None:
        return tenants
    if only not in tenants:
        raise TenantsError(f"--tenant: {only} is not in {settings.tenants_file}; it has {', '.join(tenants)}.")
    return [only]
