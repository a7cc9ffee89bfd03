"""List a tenant's sessions for the console: those that run, and those of a time, a place or an outcome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, text

#: How many sessions of a time and place one page looks through for those with an outcome or an energy, for which there
#: is no index: some tens of milliseconds.
MAX_SCANNED = 10_000

#: The condition of ``session_open_idx``, see :mod:`analytics.schema.sessions`.
_IS_RUNNING = "session.stopped_at IS NULL AND session.outcome IN ('pending', 'running')"

#: The outcomes of a session that runs or is pending, if it has not stopped.
RUNNING_OUTCOMES = ("pending", "running")

SessionListState = Literal["all", "running", "ended", "undated"]


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A session of ``analytics.session`` as a list shows it, with the columns of that table."""

    session_id: int
    started_at: datetime | None
    stopped_at: datetime | None
    location_id: int | None
    location_name: str | None
    charge_point_id: int | None
    charge_point_name: str | None
    evse_id: int | None
    evse_label: str | None
    connected_s: int | None
    energy_wh: Decimal | None
    power_peak_w: int | None
    soc_begin_percent: Decimal | None
    soc_end_percent: Decimal | None
    amount_with_tax: Decimal | None
    currency: str | None
    is_final: bool
    outcome: str
    provisional: bool
    conflicting: bool
    removed_at: datetime | None

    @property
    def is_running(self) -> bool:
        """Whether it runs or is pending."""
        return self.stopped_at is None and self.outcome in RUNNING_OUTCOMES

    def seconds_until(self, now: datetime) -> float | None:
        """Return how long it lasted, or has lasted if it runs, in seconds; None: that is not known."""
        if not self.is_running or self.started_at is None or self.started_at > now:
            return self.connected_s
        return (now - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session that runs, with its latest power in W; None: AMPECO shows none."""

    session: ListedSession
    power_w: Decimal | None


class Position(NamedTuple):
    """A place in the list: that of a session, after which the next page begins."""

    started_at: datetime | None
    session_id: int


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions are listed; None: any.

    Attributes:
        state: ``undated`` are those of which no start is known, and which no other list contains.
        since, until: from when on, and before when they started.
    """

    state: SessionListState = "all"
    outcome: str | None = None
    location_id: int | None = None
    charge_point_id: int | None = None
    evse_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_energy_wh: Decimal | None = None


@dataclass(frozen=True, slots=True)
class SessionPage:
    """A page of the list, the latest start first.

    Attributes:
        sessions: the sessions.
        following: where the next page begins; None: there is none.
        is_cut: whether the page ends there because it looked through ``MAX_SCANNED`` sessions, and not because it is
            full.
    """

    sessions: Sequence[ListedSession]
    following: Position | None
    is_cut: bool


_COLUMNS = ", ".join(f"session.{each.name}" for each in fields(ListedSession))


# Indexes: (tenant, started_at), with a place (tenant, location_id, started_at), (tenant, charge_point_id, started_at)
# or (tenant, evse_id, started_at), and session_open_idx for those that run. The rows are read in the order of the
# index, so that the limit ends the scan; what has no index is compared outside of it.
_LIST = """
SELECT {names}, session.position, ({matching}) AS fits
  FROM (SELECT {columns},
               row_number() OVER (ORDER BY {order}) AS position
          FROM analytics.session AS session
         WHERE {within}
         ORDER BY {order}
         LIMIT :max_scanned) AS session
 WHERE ({matching}) OR session.position = :max_scanned
 ORDER BY session.position
 LIMIT :limit
"""


def list_sessions(
    connection: Connection, tenant: str, chosen: SessionFilter, *, after: Position | None = None, limit: int
) -> SessionPage:
    """Return a page of sessions.

    Parameters:
        chosen: which sessions.
        after: where the page begins; None: with the first one.
        limit: the most sessions of the page.
    """
    is_undated = chosen.state == "undated"
    statement = _LIST.format(
        names=_COLUMNS,
        columns=_COLUMNS,
        order="session.session_id DESC" if is_undated else "session.started_at DESC, session.session_id DESC",
        within=" AND ".join(_within(chosen, after)),
        matching=" AND ".join(_matching(chosen)) or "true",
    )
    rows = connection.execute(
        text(statement), _parameters(tenant, chosen, after) | {"limit": limit + 1, "max_scanned": MAX_SCANNED}
    ).all()
    is_cut = bool(rows) and rows[-1].position == MAX_SCANNED and len(rows) <= limit
    read = rows[:limit]
    shown = [ListedSession(*row[:-2]) for row in read if row.fits]
    following = Position(read[-1].started_at, read[-1].session_id) if is_cut or len(rows) > limit else None
    return SessionPage(shown, following, is_cut)


def _within(chosen: SessionFilter, after: Position | None) -> Iterator[str]:
    """Yield the conditions for which there is an index."""
    yield "session.tenant = :tenant"
    for place in ("location_id", "charge_point_id", "evse_id"):
        if getattr(chosen, place) is not None:
            yield f"session.{place} = :{place}"
    if chosen.state == "running":
        yield _IS_RUNNING
    if chosen.state == "undated":
        yield "session.started_at IS NULL"
        if after is not None:
            yield "session.session_id < :after_id"
        return
    yield "session.started_at IS NOT NULL"
    if chosen.since is not None:
        yield "session.started_at >= :since"
    if chosen.until is not None:
        yield "session.started_at < :until"
    if after is not None:
        yield "(session.started_at, session.session_id) < (:after_at, :after_id)"


def _matching(chosen: SessionFilter) -> Iterator[str]:
    """Yield the conditions for which there is no index."""
    if chosen.state == "ended":
        yield f"NOT ({_IS_RUNNING})"
    if chosen.outcome is not None:
        yield "session.outcome = :outcome"
    if chosen.min_energy_wh is not None:
        yield "session.energy_wh >= :min_energy_wh"


def _parameters(tenant: str, chosen: SessionFilter, after: Position | None) -> dict[str, Any]:
    given = {each.name: getattr(chosen, each.name) for each in fields(SessionFilter) if each.name != "state"}
    if after is not None:
        given |= {"after_at": after.started_at, "after_id": after.session_id}
    return {"tenant": tenant} | {name: value for name, value in given.items() if value is not None}


# Indexes: session_open_idx, which has only the sessions that run; primary key of the mirror.
_RUNNING = text(f"""
SELECT {_COLUMNS}, stored.power_w, count(*) OVER () AS number
  FROM analytics.session AS session
  LEFT JOIN charging.session AS stored
    ON stored.tenant = session.tenant
   AND stored.session_id = session.session_id
 WHERE session.tenant = :tenant
   AND {_IS_RUNNING}
   AND session.removed_at IS NULL
 ORDER BY session.started_at DESC NULLS LAST, session.session_id DESC
 LIMIT :limit
""")  # noqa: S608 - the names are ours


def running_sessions(connection: Connection, tenant: str, *, limit: int) -> tuple[list[RunningSession], int]:
    """Return the latest of the sessions that run, and how many run."""
    rows = connection.execute(_RUNNING, {"tenant": tenant, "limit": limit}).all()
    return [RunningSession(ListedSession(*row[:-2]), row[-2]) for row in rows], rows[0][-1] if rows else 0


# Index: (tenant, started_at).
_HAS_UNDATED = text("""
SELECT EXISTS (SELECT FROM analytics.session WHERE tenant = :tenant AND started_at IS NULL)
""")


def has_undated(connection: Connection, tenant: str) -> bool:
    """Return whether the tenant has sessions of which no start is known."""
    return bool(connection.execute(_HAS_UNDATED, {"tenant": tenant}).scalar_one())
