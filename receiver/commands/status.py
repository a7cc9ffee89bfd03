"""The command ``status``: the progress of notifications and reads, and everything that is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from redis.exceptions import RedisError
from rich.table import Table
from sqlalchemy import Connection

from receiver.admin.monitoring import Watched, watched
from receiver.commands.alert_tables import incident_table, unsent_lines
from receiver.commands.json_output import JsonOption, print_json
from receiver.commands.monitoring_tables import resend_lines, token_table, watch_table
from receiver.commands.status_tables import (
    deprecated_lines,
    inaccessible_table,
    overview_table,
    pending_lines,
    process_table,
    queue_table,
    release_lines,
    trouble_table,
    unknown_table,
)
from receiver.environment import database, require_migrated, running
from receiver.terminal import console
from runtime.clock_watch import ClockOffset, wrong_clocks
from runtime.errors import cause
from runtime.settings import Settings
from storage.inbox.retention import complete_since
from storage.monitoring.alerts import Incident, recent_incidents
from storage.monitoring.processes import ListedProcess, list_processes
from storage.reports.overview import TenantOverview, Trouble, overview, troubles
from storage.state.unknown_fields import UnknownName, list_unknown_names
from storage.sync.api_notices import DeprecatedEndpoint, Release, deprecated_endpoints, releases
from storage.sync.inaccessible_kinds import InaccessibleKind, inaccessible_kinds
from workers.api.state import ApiState, read_api_state
from workers.broker import QUEUES, create_broker, create_redis
from workers.sync.kinds_read import kinds_read


def status(as_json: JsonOption = False) -> None:
    """Show the progress of notifications and reads, the processes, and each tenant's subscription and traffic."""
    with running("status") as settings, database(settings) as engine:
        require_migrated(settings)
        with engine.connect() as connection:
            stored = _read_stored(connection, settings)
        cached = _read_redis(settings, [tenant.tenant for tenant in stored.tenants])
        if as_json:
            print_json(_document(stored, cached))
        else:
            _print(stored, cached)


@dataclass(frozen=True, slots=True)
class _Stored:
    """The part of the status that is read from Postgres."""

    tenants: Sequence[TenantOverview]
    processes: Sequence[ListedProcess]
    watch: Watched
    incidents: Sequence[Incident]
    troubles: Sequence[Trouble]
    inaccessible_kinds: Sequence[InaccessibleKind]
    unknown: Sequence[UnknownName]
    releases: Sequence[Release]
    deprecated: Sequence[DeprecatedEndpoint]
    log_complete_since: datetime | None


def _read_stored(connection: Connection, settings: Settings) -> _Stored:
    return _Stored(
        tenants=overview(connection, sorted(settings.tenants)),
        processes=list_processes(connection),
        watch=watched(connection, settings.tenants),
        incidents=recent_incidents(connection, timedelta(0)),
        troubles=troubles(connection),
        inaccessible_kinds=inaccessible_kinds(connection, kinds_read(settings.tenants)),
        unknown=list_unknown_names(connection),
        releases=releases(connection),
        deprecated=deprecated_endpoints(connection),
        log_complete_since=complete_since(connection),
    )


@dataclass(frozen=True, slots=True)
class _Cached:
    """The part of the status that is read from Redis: queue lengths, the API, wrong clocks, or why it fails."""

    queues: dict[str, int]
    api: ApiState | None
    wrong_clocks: list[ClockOffset]
    failure: str | None = None


def _read_redis(settings: Settings, tenants: Sequence[str]) -> _Cached:
    client = create_redis(settings.required_redis_url())
    try:
        broker = create_broker(client)
        lengths = {queue: int(broker.do_qsize(queue)) for queue in QUEUES}
        return _Cached(lengths, read_api_state(client, tenants), wrong_clocks(client))
    except RedisError as error:
        return _Cached({}, None, wrong_clocks(None), cause(error))
    finally:
        client.close()


def _document(stored: _Stored, cached: _Cached) -> dict[str, Any]:
    api = cached.api or ApiState()  # "redis" says whether it is known
    return {
        "tenants": [asdict(tenant) for tenant in stored.tenants],
        "processes": [asdict(process) | {"state": process.state} for process in stored.processes],
        "redis": {"ok": cached.failure is None, "detail": cached.failure or "answers"},
        "queues": cached.queues,
        "wrong_clocks": [asdict(wrong) for wrong in cached.wrong_clocks],
        "calls_today": api.calls_today,
        "paused": {name: {"seconds": left, "reason": why} for name, (left, why) in api.pauses.items()},
        "incidents": [asdict(incident) for incident in stored.incidents],
        "troubles": [asdict(trouble) for trouble in stored.troubles],
        "inaccessible_kinds": [asdict(forbidden) for forbidden in stored.inaccessible_kinds],
        "unknown": [asdict(name) for name in stored.unknown],
        "ampeco_releases": [asdict(release) for release in stored.releases],
        "deprecated_endpoints": [asdict(endpoint) for endpoint in stored.deprecated],
        "log_complete_since": stored.log_complete_since,
    } | stored.watch.document()


def _print(stored: _Stored, cached: _Cached) -> None:
    for part, style in _parts(stored, cached):
        if isinstance(part, Table):
            if part.row_count:
                console.print(part)
        else:
            console.print(part, style=style, highlight=False, soft_wrap=True)


def _parts(stored: _Stored, cached: _Cached) -> Iterator[tuple[Table | str, str]]:
    """Yield the tables and lines in their order, each with its style; tables without rows are not printed."""
    warning = "yellow"
    yield overview_table(stored.tenants, cached.api), ""
    yield from ((line, warning) for line in pending_lines(stored.tenants))
    yield process_table(stored.processes), ""
    yield from ((f"Clock: {wrong}.", warning) for wrong in cached.wrong_clocks)
    if cached.failure is None:
        yield queue_table(cached.queues), ""
    else:
        yield f"Queues, calls and pauses are unknown, because Redis fails: {cached.failure} (REDIS_URL)", warning
    yield watch_table(stored.watch), ""
    yield token_table(stored.watch.tokens), ""
    yield from ((line, "") for line in resend_lines(stored.watch.resends))
    yield incident_table(stored.incidents), ""
    yield from ((line, warning) for line in unsent_lines(stored.incidents))
    yield inaccessible_table(stored.inaccessible_kinds), ""
    yield trouble_table(stored.troubles), ""
    yield unknown_table(stored.unknown), ""
    yield from ((line, warning) for line in deprecated_lines(stored.deprecated))
    yield from ((line, "") for line in release_lines(stored.releases))
    if stored.log_complete_since is not None:
        yield f"The log is complete since {stored.log_complete_since:%Y-%m-%d %H:%M} UTC.", ""
