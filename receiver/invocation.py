"""What the commands share: settings with servers behind them, and the options that several take."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer
from sqlalchemy import Engine

import migrations
from ampeco.tenants import TenantsError
from migrations import MigrationError
from receiver.embedded import embedded_servers
from receiver.orphans import PARENT
from receiver.terminal import errors
from storage.database import create_database_engine, require_utf8, weak_durability
from storage.inbox import prove_acceptable
from workers.heartbeat import registered
from workers.logs import configure_logging, get_logger
from workers.settings import Settings, load_settings, unknown_settings

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
    """Return if the database has the tables of this release.

    Parameters:
        to_accept: whether those of a later release do as well, where notifications can be written to them.

    Raises:
        MigrationError: it has others, or none.
        sqlalchemy.exc.DBAPIError: notifications cannot be written to those of a later release.
    """
    with database(settings) as engine, engine.begin() as connection:
        require_utf8(connection)
        found = migrations.current(connection)
        problem = migrations.mismatch(found)
        if problem is None:
            return
        if not (to_accept and migrations.is_later(found)):
            raise MigrationError(f"DATABASE_URL: {problem}")
        prove_acceptable(connection)
    logger.warning("the database is of a later release; upgrade this process", revision=found)


def fail(message: str, *, code: int = 2) -> NoReturn:
    """Say in one sentence why a command ends, and end it."""
    errors.print(f"ampeco-receiver: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def fail_unexpectedly(error: Exception) -> NoReturn:
    """End a command that an error of ours stopped.

    The error's own message is not shown: it may hold a part of a password.
    """
    if os.environ.get("RECEIVER_LOG_LEVEL", "").lower() == "debug":
        traceback.print_exception(error)
    raised = traceback.extract_tb(error.__traceback__)[-1]
    place = "/".join(Path(raised.filename).parts[-2:])
    fail(
        f"an error that it does not expect stopped it: {type(error).__name__} in {place}, line {raised.lineno};"
        " run it again with RECEIVER_LOG_LEVEL=debug to see where it came from, and report it.",
        code=1,
    )


@contextlib.contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """End the command on SIGTERM as on Ctrl-C, so that it gives back what it holds, with exit code 143.

    Without a handler Linux does not deliver SIGTERM to the first process of a container. Commands that finish
    something first install handlers of their own.
    """
    was_received = False

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        nonlocal was_received
        was_received = True
        signal.signal(number, signal.SIG_IGN)  # what is given back now is not to be interrupted
        # The one exception on which psycopg also cancels the statement that Postgres is working on.
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    except BaseException:
        if was_received:
            fail("stopped by SIGTERM before it was done.", code=128 + signal.SIGTERM)
        raise


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
