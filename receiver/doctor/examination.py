"""Make every check, one after the other; a check that fails does not stop those that do not need what failed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Mapping
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from ampeco.tenants import Tenant, TenantsError
from receiver.doctor import processes
from receiver.doctor.database import UNREAD, Stored, look_at_database, read_stored
from receiver.doctor.diagnosis import Diagnosis, attempt, not_checked
from receiver.doctor.kafka import look_at_kafka
from receiver.doctor.redis_server import look_at_redis
from receiver.doctor.surroundings import look_at_callback, look_at_disk
from receiver.doctor.tenants import look_at_tenant
from receiver.processes.embedded import embedded_servers
from runtime.checks import create_check_engine
from runtime.settings import Settings, SettingsError, unknown_settings
from workers.broker import create_redis

_REPORT = "run `ampeco-receiver doctor` with RECEIVER_LOG_LEVEL=debug, and report it"


def examine(settings: Settings) -> Iterator[Diagnosis]:
    """Make every check, and yield each diagnosis when it is made.

    Parameters:
        settings: as they were loaded; embedded servers that they need run during the checks.
    """
    yield from _look_at_settings()
    found, tenants = _look_at_tenants_file(settings)
    yield found
    with contextlib.ExitStack() as stack:
        ready = settings
        try:
            ready = stack.enter_context(embedded_servers(settings))
        except SettingsError as error:
            yield Diagnosis("embedded servers", "failed", str(error), "set DATABASE_URL and REDIS_URL, or correct it")
        stored = yield from _look_at_postgres(ready, tenants)
        yield from _look_at_redis(ready)
        with_kafka = settings.kafka_brokers is not None
        if with_kafka and tenants:
            yield from look_at_kafka(ready)
        if stored is None:
            yield from not_checked(processes.checks(with_kafka=with_kafka), UNREAD)
        else:
            yield from processes.look_at_processes(stored.processes, with_kafka=with_kafka)
        yield from _look_at_tenants(ready, tenants, stored)
    yield look_at_callback(settings.public_url, tenants, timeout_seconds=settings.api_timeout.total_seconds())
    yield look_at_disk(settings)


def _look_at_settings() -> Iterator[Diagnosis]:
    unknown = unknown_settings(os.environ)
    for sentence in unknown:
        yield Diagnosis("settings", "warning", sentence, "correct its name, or unset it")
    if not unknown:
        yield Diagnosis("settings", "ok", "every one is known and valid")


def _look_at_tenants_file(settings: Settings) -> tuple[Diagnosis, Mapping[str, Tenant]]:
    name, advice = "tenants", "correct the file"
    try:
        tenants = settings.tenants
    except TenantsError as error:
        return Diagnosis(name, "failed", str(error), advice), {}
    unknown = {kind for tenant in tenants.values() for kind in tenant.unknown_notifications}
    if unknown:
        detail = f"this release does not know the notifications {', '.join(sorted(unknown))}, and only logs them"
        return Diagnosis(name, "warning", detail, advice), tenants
    return Diagnosis(name, "ok", ", ".join(sorted(tenants))), tenants


def _look_at_postgres(settings: Settings, tenants: Mapping[str, Tenant]) -> Generator[Diagnosis, None, Stored | None]:
    """Yield the diagnoses about Postgres; return what the service has stored, or None if that cannot be read."""
    if settings.database_url is None:
        yield Diagnosis("postgres", "not checked", "the embedded servers did not start")
        return None
    engine = create_check_engine(settings.database_url, process="doctor")
    try:
        if not (yield from look_at_database(engine)):
            return None
        with contextlib.suppress(SQLAlchemyError):  # a diagnosis above names the reason
            return read_stored(engine, tenants)
    finally:
        engine.dispose()
    return None


def _look_at_redis(settings: Settings) -> Iterator[Diagnosis]:
    if settings.redis_url is None:
        yield Diagnosis("redis", "not checked", "the embedded servers did not start")
        return
    with create_redis(settings.redis_url) as client:
        yield from look_at_redis(client)


def _look_at_tenants(settings: Settings, tenants: Mapping[str, Tenant], stored: Stored | None) -> Iterator[Diagnosis]:
    if not tenants:
        yield from not_checked(["API"], "no tenant is known")
    for tenant in tenants.values():
        checks = look_at_tenant(
            tenant,
            stored,
            public_url=settings.public_url,
            timeout_seconds=settings.api_timeout.total_seconds(),
        )
        yield from attempt("API", partial(iter, checks), _REPORT)
