"""The command ``replay``, which applies notifications of the log again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ampeco.notifications.catalogue import why_unknown
from receiver.commands.ids import id_option
from receiver.commands.progress import WorkProgress, until_asked_to_stop
from receiver.commands.times import require_past, time_option
from receiver.environment import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.terminal import console, errors
from storage.clock import clock
from storage.ids import made_at
from storage.inbox.retention import complete_since
from storage.log.read import count
from storage.log.scope import BEFORE_ANY, ClosedState, Scope
from workers.maintenance.replay import Replayed, replay


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
    state: Annotated[ClosedState | None, typer.Option(help="Only notifications in this state.")] = None,
    reason: Annotated[
        str | None, typer.Option(help="Only notifications that were ignored or failed for this reason.")
    ] = None,
    session: Annotated[int | None, id_option("--session", "Only notifications that name this session.")] = None,
    evse: Annotated[int | None, id_option("--evse", "Only notifications that name this EVSE.")] = None,
    charge_point: Annotated[
        int | None, id_option("--charge-point", "Only notifications that name this charge point.")
    ] = None,
    containing: Annotated[str | None, typer.Option(help="Only notifications whose body contains this text.")] = None,
    notification_id: Annotated[
        UUID | None, typer.Option("--id", help="Only this notification; --from is then optional.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show how many there are.")] = False,
) -> None:
    """Apply stored notifications again, as after an upgrade. Doing it twice, or beside the workers, is harmless."""
    if only_failed and state not in (None, "failed"):
        raise typer.BadParameter(f"{state} contradicts --failed", param_hint="--state")
    state = "failed" if only_failed else state
    if since is None and state != "failed" and notification_id is None:
        raise typer.BadParameter("it is required without --failed", param_hint="--from")
    if notification_type is not None and (problem := why_unknown(notification_type)) is not None:
        raise typer.BadParameter(problem, param_hint="--type")
    with running("replay") as settings:
        require_migrated(settings)
        since, until = _span(since, until) if notification_id is None else _span_of(notification_id)
        selection = Scope(
            tenant="",
            since=since,
            until=until,
            notification_type=notification_type,
            state=state,
            reason=reason,
            session_id=session,
            evse_id=evse,
            charge_point_id=charge_point,
            containing=containing,
            notification_id=notification_id,
        )
        names = chosen_tenants(settings, tenant)
        with database(settings, process="replay") as engine:
            if state != "failed":
                _warn_of_dropped_days(engine, since)
            scopes = [replace(selection, tenant=name) for name in names]
            found = _show_counts(engine, scopes) if dry_run else _replay_all(engine, scopes)
    if notification_id is not None and not found:
        line = f"{notification_id} is not in the log of these tenants, or it waits to be applied for the first time."
        errors.print(line, style="red", soft_wrap=True, highlight=False)
        raise typer.Exit(1)


def _show_counts(engine: Engine, scopes: Sequence[Scope]) -> int:
    """Print how many notifications would be applied again; return how many."""
    total = 0
    for scope in scopes:
        found = _count(engine, scope)
        console.print(f"{scope.tenant}: {found:,} notifications would be applied again")
        total += found
    return total


def _replay_all(engine: Engine, scopes: Sequence[Scope]) -> int:
    """Replay the notifications of all tenants; return how many there were.

    Raises:
        typer.Exit: the user asked to stop.
        DBAPIError: Postgres is down, or stayed busy.
    """
    total = 0
    with until_asked_to_stop() as stop:
        for number, scope in enumerate(scopes, 1):
            try:
                total += _replay(engine, scope, stop)
                if stop.is_set():
                    raise typer.Exit(stop.exit_code)
            except (typer.Exit, DBAPIError):
                for left in scopes[number:]:
                    errors.print(f"{left.tenant}: not begun.", soft_wrap=True, highlight=False)
                raise
    return total


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
    require_past(since, "--from")
    began_at, ended_at = since or BEFORE_ANY, until or clock.now()
    if began_at >= ended_at:
        raise typer.BadParameter(f"{ended_at:%Y-%m-%d %H:%M:%S} UTC is not later than --from", param_hint="--to")
    return began_at, ended_at


def _span_of(notification_id: UUID) -> tuple[datetime, datetime]:
    """Return the time span of a notification, of whose id the time of receipt is a part."""
    try:
        received_at = made_at(notification_id)
        return received_at, received_at + timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise typer.BadParameter("this is not the id of a notification", param_hint="--id") from None


def _count(engine: Engine, scope: Scope) -> int:
    with engine.begin() as connection:
        return count(connection, scope)


def _replay(engine: Engine, scope: Scope, stop: threading.Event) -> int:
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
    return total.seen


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
        errors.print(
            f"{scope.tenant}: stopped. Everything received before {reached} is done;"
            f" continue with --tenant {scope.tenant} --from {reached}.",
            soft_wrap=True,
            highlight=False,
        )
