"""The command that applies the log again: ``replay``."""

from __future__ import annotations

import difflib
import threading
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ampeco.catalogue import CATALOGUE, lookup
from receiver.invocation import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.progress import LogProgress, until_told_to_stop
from receiver.terminal import console, errors
from receiver.times import time_option
from storage.clock import clock
from storage.replay import Scope, count
from storage.retention import complete_since
from workers.replay import Replayed, replay

#: The log may begin at any time after this.
BEFORE_ANY = datetime(1970, 1, 1, tzinfo=UTC)


def replay_log(
    since: Annotated[datetime | None, time_option("--from", "Received at this time or later")] = None,
    until: Annotated[datetime | None, time_option("--to", "Received before this time; left out, now")] = None,
    notification_type: Annotated[
        str | None, typer.Option("--type", help="Only notifications of this name; left out, every one.")
    ] = None,
    tenant: TenantOption = None,
    only_failed: Annotated[
        bool, typer.Option("--failed", help="Only those that failed; needs no --from then.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many there are.")] = False,
) -> None:
    """Apply stored notifications again, as after an upgrade. Doing it twice, or beside the workers, is harmless."""
    if since is None and not only_failed:
        raise typer.BadParameter("say from when on, or --failed", param_hint="--from")
    if notification_type is not None:
        _require_known(notification_type)
    with running("replay") as settings:
        require_migrated(settings)
        since, until = _span(since, until)
        names = chosen_tenants(settings, tenant)
        with database(settings, process="replay") as engine:
            if not only_failed:
                _tell_dropped(engine, since)
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


def _tell_dropped(engine: Engine, since: datetime) -> None:
    """Say so where the log no longer holds all that is asked for."""
    with engine.connect() as connection:
        complete = complete_since(connection)
    if complete is not None and since < complete:
        errors.print(
            f"The log holds everything since {complete:%Y-%m-%d %H:%M} UTC; of what came before, only failed"
            " notifications are left.",
            style="yellow",
            soft_wrap=True,
        )


def _span(since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """Return the span that is asked for; notifications are dated by Postgres's clock, so now is by that clock, too."""
    now = clock.now()
    began_at, ended_at = since or BEFORE_ANY, until or now
    if began_at > now:
        raise typer.BadParameter(f"{began_at:%Y-%m-%d %H:%M:%S} UTC has yet to come", param_hint="--from")
    if began_at >= ended_at:
        raise typer.BadParameter(f"{ended_at:%Y-%m-%d %H:%M:%S} UTC is not later than --from", param_hint="--to")
    return began_at, ended_at


def _require_known(name: str) -> None:
    if lookup(name) is None:
        close = difflib.get_close_matches(name, [known.name for known in CATALOGUE], n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise typer.BadParameter(
            f"this release does not know {name}, and applying it again would change nothing.{meant}",
            param_hint="--type",
        )


def _count(engine: Engine, scope: Scope) -> int:
    with engine.begin() as connection:
        return count(connection, scope)


def _replay(engine: Engine, scope: Scope, stop: threading.Event) -> None:
    total = Replayed()
    try:
        with LogProgress(scope.tenant, _count(engine, scope)) as shown:
            for replayed in replay(engine, scope):
                total.add(replayed)
                shown.advance(total.seen, replayed.reached_at)
                if stop.is_set():
                    break
    except DBAPIError:
        _tell(scope, total, stopped=True)
        raise
    _tell(scope, total, stopped=stop.is_set())


def _tell(scope: Scope, total: Replayed, *, stopped: bool) -> None:
    told = [f"{total.applied:,} applied", f"{total.ignored:,} ignored", f"{total.failed:,} failed"]
    if total.repaired:
        told.append(f"{total.repaired:,} of them set aside before")
    told.append(f"{total.reads:,} entities marked for a read")
    console.print(f"{scope.tenant}: {', '.join(told)}.", soft_wrap=True, highlight=False)
    if stopped:
        reached = (total.reached_at or scope.since).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        console.print(
            f"{scope.tenant}: stopped. What was received before {reached} is done; go on with --from {reached}.",
            soft_wrap=True,
            highlight=False,
        )
