"""The checks of Postgres: the server, the tables, and what the service has stored about itself."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import Connection, Engine

from ampeco.tenants import Tenant
from receiver.admin.readiness import look_at_log
from receiver.doctor.diagnosis import Diagnosis, attempt, from_check, not_checked
from runtime.checks import POSTGRES_ADVICE, look_at_postgres
from storage.clock import clock
from storage.database import DatabaseEncodingError, database_bytes, require_utf8, weak_durability
from storage.inbox.partitions import DAYS_AHEAD, made_until
from storage.monitoring.processes import ListedProcess, list_processes
from storage.monitoring.subscriptions import ManagedSubscription, managed_subscriptions
from storage.sync.inaccessible_kinds import InaccessibleKind, inaccessible_kinds
from workers.sync.kinds_read import kinds_read

#: The oldest major version of Postgres that the service supports.
MIN_POSTGRES = 15

#: The checks of the server, after the one that it answers.
_OF_SERVER = ("postgres version", "encoding", "durability", "database size")

#: The checks that need the tables of this release.
_OF_TABLES = ("log", "partitions")

#: Why a check is not made that needs what :func:`read_stored` reads.
UNREAD = "what the service has stored cannot be read"

_MIGRATE = "run `ampeco-receiver migrate`"


@dataclass(frozen=True, slots=True)
class Stored:
    """What the service has stored about its processes and tenants."""

    processes: Sequence[ListedProcess]
    managed: Sequence[ManagedSubscription]
    inaccessible_kinds: Sequence[InaccessibleKind]


def look_at_database(engine: Engine) -> Generator[Diagnosis, None, bool]:
    """Check that Postgres works, and the tables; return whether it takes writes."""
    of_readiness = attempt("postgres", lambda: _look_at_readiness(engine), POSTGRES_ADVICE)
    yield from of_readiness
    states = {diagnosis.check: diagnosis.state for diagnosis in of_readiness}
    if states["postgres"] != "ok":
        names = ("migrations", "clock", *_OF_SERVER, *_OF_TABLES)
        yield from not_checked([name for name in names if name not in states], "Postgres does not take writes")
        return False
    yield from attempt("postgres version", lambda: _look_at_server(engine), POSTGRES_ADVICE)
    if states["migrations"] == "failed":
        yield from not_checked(_OF_TABLES, "the tables are not those of this release")
    else:
        yield from attempt("log", lambda: _look_at_log(engine), _MIGRATE)
    return True


def _look_at_readiness(engine: Engine) -> Iterator[Diagnosis]:
    for name, check in look_at_postgres(engine).items():
        # Workers and commands refuse to work on other tables; only the readiness of a receiver does not need them.
        yield from_check(name, replace(check, required=True) if name == "migrations" else check)


def _look_at_server(engine: Engine) -> Iterator[Diagnosis]:
    with engine.connect() as connection:
        yield _look_at_version(connection)
        yield _look_at_encoding(connection)
        weak = ", ".join(f"{name} is {value}" for name, value in weak_durability(connection).items())
        advice = "set them to on: a crash of the server's machine can lose acknowledged notifications"
        if weak:
            yield Diagnosis("durability", "warning", weak, advice)
        else:
            yield Diagnosis("durability", "ok", "a commit is on the disk")
        yield Diagnosis("database size", "ok", f"{megabytes(database_bytes(connection))} on the server's disk")


def _look_at_version(connection: Connection) -> Diagnosis:
    version = connection.dialect.server_version_info or (0,)
    shown = ".".join(map(str, version))
    if int(version[0]) < MIN_POSTGRES:
        return Diagnosis("postgres version", "failed", shown, f"upgrade Postgres to {MIN_POSTGRES} or later")
    return Diagnosis("postgres version", "ok", shown)


def _look_at_encoding(connection: Connection) -> Diagnosis:
    try:
        require_utf8(connection)
    except DatabaseEncodingError as error:
        return Diagnosis("encoding", "failed", str(error))
    return Diagnosis("encoding", "ok", "UTF8")


def _look_at_log(engine: Engine) -> Iterator[Diagnosis]:
    with engine.connect() as connection:
        partitions = _look_at_partitions(connection)
    yield from_check("log", look_at_log(engine, advice=_MIGRATE))
    yield partitions


def _look_at_partitions(connection: Connection) -> Diagnosis:
    today = clock.now().date()
    until = made_until(connection, today)
    detail = "none for today" if until is None else f"made until {until}"
    # Workers make them once an hour, so the last day may be missing for a while after midnight.
    if until is not None and until >= today + timedelta(days=DAYS_AHEAD - 1):
        return Diagnosis("partitions", "ok", detail)
    return Diagnosis("partitions", "warning", detail, f"{_MIGRATE}, and see that `ampeco-receiver work` runs")


def read_stored(engine: Engine, tenants: Mapping[str, Tenant]) -> Stored:
    """Read what the service has stored about its processes and these tenants."""
    with engine.connect() as connection:
        return Stored(
            list_processes(connection),
            managed_subscriptions(connection, tenants),
            inaccessible_kinds(connection, kinds_read(tenants)),
        )


def megabytes(size_bytes: int) -> str:
    """Format a size on a disk."""
    return f"{size_bytes / 1_000_000:,.0f} MB"
