"""The tables and lines of the completeness report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from receiver.terminal import age, styled
from storage.sync.api_usage import CallReason, Calls
from storage.sync.completeness import KindCompleteness


def headline(tenant: str, rows: Sequence[KindCompleteness], during: timedelta) -> Text:
    """Return the result of one tenant in a sentence or two."""
    compared = sum(row.compared for row in rows)
    if not compared:
        line = ": nothing was compared with AMPECO yet; run `ampeco-receiver reconcile` to do it now."
        return styled("bold", tenant, line)
    missing, stale, healed = (sum(getattr(row, name) for row in rows) for name in ("missing", "stale", "healed"))
    share = 1 - (missing + stale) / compared
    behind = max((row.behind_seconds for row in rows if row.behind_seconds is not None), default=None)
    line = (
        f": of {compared:,} entities compared in {age(during.total_seconds())}, {_percent(share)} were"
        f" as AMPECO shows them; {missing:,} were missing, {stale:,} were stale, and {healed:,} of these were healed."
    )
    if behind is not None:
        line += f" The oldest missed change was {age(behind)} old."
    return styled("bold", tenant, line)


def completeness_table(rows: Sequence[KindCompleteness]) -> Table:
    """Return the table with a row for each tenant and kind."""
    table = Table(title="Compared with AMPECO", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("Tenant", "Kind"):
        table.add_column(heading, overflow="fold")
    for heading in ("Compared", "As shown", "Missing", "Stale", "Healed", "Deleted", "Known until"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.tenant,
            row.kind,
            f"{row.compared:,}",
            "–" if row.as_shown is None else _percent(row.as_shown),
            f"{row.missing:,}",
            f"{row.stale:,}",
            f"{row.healed:,}",
            f"{row.deleted:,}",
            "–" if row.changed_until is None else f"{row.changed_until:%m-%d %H:%M}",
        )
    return table


def trouble_lines(rows: Sequence[KindCompleteness]) -> list[str]:
    """Return a line for each sync run that cannot continue, with the reason."""
    return [f"{row.tenant}: the sync run of {row.kind} cannot continue: {row.trouble}" for row in rows if row.trouble]


def call_quota_table(calls: Mapping[str, Mapping[CallReason, Calls]]) -> Table:
    """Return the table of the API calls, with a row for each tenant and reason."""
    table = Table(title="API calls", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Tenant", overflow="fold")
    table.add_column("Reason")
    table.add_column("Calls", justify="right")
    table.add_column("Saved", justify="right")
    for tenant, reasons in sorted(calls.items()):
        for reason, counted in reasons.items():
            table.add_row(tenant, reason, f"{counted.made:,}", f"{counted.saved:,}")
    return table


def _percent(share: float) -> str:
    """Format a share rounded down, so that 100 % means all of them."""
    return f"{int(share * 10_000) / 100:g} %"
