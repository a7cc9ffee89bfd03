"""The commands that compare the database with AMPECO: ``backfill``, ``reconcile`` and ``completeness``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated

import typer
from sqlalchemy import Engine

from receiver.commands.completeness_tables import call_quota_table, completeness_table, headline, trouble_lines
from receiver.commands.json_output import JsonOption, print_json
from receiver.commands.sync_tenants import sync_tenants
from receiver.commands.times import require_past, time_option
from receiver.environment import TenantOption, chosen_tenants, database, require_migrated, running
from receiver.terminal import console
from storage.sync import backfills, sync_runs
from storage.sync.api_usage import spent
from storage.sync.completeness import completeness as completeness_of
from workers.sync.kinds_read import kinds_read
from workers.sync.schedule import since

#: A century, which is longer than anything was stored.
MAX_DAYS = 36_525.0

SINCE = time_option("--since", "Only what changed at this time or later; by default, everything")

AGAIN = typer.Option("--again", help="Read everything again instead of continuing an earlier backfill.")


def backfill(
    changed_since: Annotated[datetime | None, SINCE] = None,
    again: Annotated[bool, AGAIN] = False,
    tenant: TenantOption = None,
) -> None:
    """Read everything from AMPECO, or what changed since a time. Run it again to continue where it stopped."""
    require_past(changed_since, "--since")

    def request(engine: Engine, name: str) -> datetime:
        with engine.begin() as connection:
            return backfills.request(connection, name, changed_since, again=again)

    with running("backfill") as settings:
        sync_tenants(settings, tenant, "backfill", lambda *_: changed_since, request)


def reconcile(
    tenant: TenantOption = None,
    full: Annotated[
        bool, typer.Option("--full", help="Compare everything, which also finds deleted entities.")
    ] = False,
) -> None:
    """Compare what changed at AMPECO since the last sync run with what is stored, and heal the differences."""

    def changed_since(engine: Engine, name: str, kind: str) -> datetime | None:
        with engine.begin() as connection:
            cursor = sync_runs.cursors(connection, [name]).get((name, kind))
        return None if full else since(kind, cursor)

    with running("reconcile") as settings:
        sync_tenants(settings, tenant, "reconcile", changed_since, lambda *_: None)


def completeness(
    tenant: TenantOption = None,
    days: Annotated[float, typer.Option(min=0.01, max=MAX_DAYS, help="Length of the period before now, days.")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Show how complete the database is: entities that were missing or stale, how late they were, what was healed."""
    during = timedelta(days=days)
    with running("completeness") as settings, database(settings) as engine:
        require_migrated(settings)
        names = chosen_tenants(settings, tenant)
        with engine.connect() as connection:
            rows = completeness_of(connection, kinds_read({name: settings.tenants[name] for name in names}), during)
            calls = spent(connection, names, during)
    if as_json:
        document = {
            "days": days,
            "kinds": [asdict(row) | {"as_shown": row.as_shown} for row in rows],
            "calls": {
                name: {reason: asdict(counted) for reason, counted in reasons.items()}
                for name, reasons in calls.items()
            },
        }
        print_json(document)
        return
    for name in names:
        console.print(headline(name, [row for row in rows if row.tenant == name], during))
    if rows:
        console.print(completeness_table(rows))
    for line in trouble_lines(rows):
        console.print(line, style="yellow", highlight=False, soft_wrap=True)
    console.print(call_quota_table(calls))
