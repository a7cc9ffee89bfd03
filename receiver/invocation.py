"""What the commands share: settings with servers behind them, and the options that several take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer
from sqlalchemy import Engine

import migrations
from ampeco.tenants import TenantsError
from receiver.embedded import embedded_servers
from storage.database import create_database_engine, require_utf8, weak_durability
from workers.logs import configure_logging, get_logger
from workers.settings import Settings, SettingsError, load_settings

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
    with embedded_servers(settings) as ready:
        yield ready


@contextlib.contextmanager
def database(settings: Settings, *, pool_size: int = 1) -> Iterator[Engine]:
    engine = create_database_engine(
        settings.required_database_url(), application_name="ampeco-receiver cli", pool_size=pool_size
    )
    try:
        yield engine
    finally:
        engine.dispose()


def require_migrated(settings: Settings) -> None:
    with database(settings) as engine, engine.connect() as connection:
        require_utf8(connection)
        found, needed = migrations.current(connection), migrations.head()
    if found != needed:
        raise SettingsError(
            f"DATABASE_URL: the database is at revision {found}, and {needed} is needed; run `ampeco-receiver migrate`."
        )


def warn_of_weak_durability(engine: Engine) -> None:
    """Say in the log where less than a commit on the disk stands behind a 202."""
    with engine.connect() as connection:
        weak = weak_durability(connection)
    for setting, value in weak.items():
        what = (
            "our own transactions set it to on"
            if setting == "synchronous_commit"
            else "a crash of the server's machine can lose or damage what was acknowledged; set it to on"
        )
        logger.warning("durability is weakened", setting=setting, value=value, consequence=what)


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
