"""The command ``replay``, which applies notifications of the log again."""

from __future__ import annotations

import difflib
import threading
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ampeco.notifications.catalogue import CATALOGUE, lookup
from receiver.commands.progress import WorkProgress, until_told_to_stop
from receiver.commands.times import time_option
from receiver.environment import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.terminal import console, errors
from storage.clock import clock
from storage.inbox.retention import complete_since
from storage.rebuild.log_reader import Scope, count
from workers.maintenance.replay import Replayed, replay

#: Earlier than the beginning of any log.
BEFORE_ANY = datetime(1970, 1, 1, tzinfo=UTC)


def replay_log(
    since: Annotated[datetime | None, time_option("--from", "Received at this time or later")] = None,
    until: Annotated[datetime | None, time_option("--to", "Received before this time; by default, now")] = None,
    notification_type: Annotated[
        str | None, typer.Option("--type", help="Only notifications of this type; by default, every type.")
    ] = None,
    tenant: TenantOption = None,
    only_failed: Annotated[
        bool, typer.Option("--failed", help="Only notifications that failed; --from is then optional.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show how many there are.")] = False,
) -> None:
    """Apply stored notifications again, as after an upgrade. Doing it twice, or beside the workers, is harmless."""
    if since is None and not only_failed:
        raise typer.BadParameter("it is required without --failed", param_hint="--from")
    if notification_type is not None:
        _require_known(notification_type)
    with running("replay") as settings:
        require_migrated(settings)
        since, until = _span(since, until)
        names = chosen_tenants(settings, tenant)
        with database(settings, process="replay") as engine:
            if not only_failed:
                _warn_of_dropped_days(engine, since)
            scopes = [Scope(name, since, until, notification_type, only_failed) for name in names]
            if dry_run:
                for scope in scopes:
                    console.print(f"{scope.tenant}: {_count(engine, scope):,} notifications would be applied again")
                return
            with until_told_to_stop() as stop:
                for scope in scopes:
                    _replay(engine, scope, stop)
                    if stop.is_set():
                        raise typer.Exit(stop.exit_code)


def _warn_of_dropped_days(engine: Engine, since: datetime) -> None:
    """Print a warning if the log does not contain all requested notifications any more."""
    with engine.connect() as connection:
        complete = complete_since(connection)
    if complete is not None and since < complete:
        errors.print(
            f"The log is complete since {complete:%Y-%m-%d %H:%M} UTC; from the time before, it contains only failed"
            " notifications.",
            style="yellow",
            soft_wrap=True,
        )


def _span(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Return the requested time span; now is by Postgres's clock, because that clock dates notifications."""
    now = clock.now()
    began_at, ended_at = since or BEFORE_ANY, until or now
    if began_at > now:
        raise typer.BadParameter(f"{began_at:%Y-%m-%d %H:%M:%S} UTC is in the future", param_hint="--from")
    if began_at >= ended_at:
        raise typer.BadParameter(f"{ended_at:%Y-%m-%d %H:%M:%S} UTC is not later than --from", param_hint="--to")
    return began_at, ended_at


def _require_known(name: str) -> None:
    if lookup(name) is None:
        close = difflib.get_close_matches(name, [entry.name for entry in CATALOGUE], n=1)
        suggestion = f" Did you mean {close[0]}?" if close else ""
        raise typer.BadParameter(
            f"this release does not know {name}, and applying it again would change nothing.{suggestion}",
            param_hint="--type",
        )


def _count(engine: Engine, scope: Scope) -> int:
    with engine.begin() as connection:
        return count(connection, scope)


def _replay(engine: Engine, scope: Scope, stop: threading.Event) -> None:
    total = Replayed()
    try:
        with WorkProgress("notifications") as progress:
            piece = progress.begin(_count(engine, scope), tenant=scope.tenant)
            for replayed in replay(engine, scope):
                total.add(replayed)
                reached_at = replayed.reached_at
                piece.advance(total.seen, reached_at=reached_at and reached_at.isoformat())
                if stop.is_set():
                    break
    except DBAPIError:
        _print_result(scope, total, stopped=True)
        raise
    _print_result(scope, total, stopped=stop.is_set())


def _print_result(scope: Scope, total: Replayed, *, stopped: bool) -> None:
    repaired = f" ({total.repaired:,} of them for the first time)" if total.repaired else ""
    parts = (
        f"{total.applied:,} applied{repaired}",
        f"{total.ignored:,} ignored",
        f"{total.failed:,} failed",
        f"{total.reads:,} reads requested",
    )
    console.print(f"{scope.tenant}: {', '.join(parts)}.", soft_wrap=True, highlight=False)
    if stopped:
        reached = (total.reached_at or scope.since).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        console.print(
            f"{scope.tenant}: stopped. Everything received before {reached} is done; continue with --from {reached}.",
            soft_wrap=True,
            highlight=False,
        )
