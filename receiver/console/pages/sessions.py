"""The page *Sessions*: those that run, live, and those of a time, a place or an outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, get_args
from urllib.parse import urlencode

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from analytics.schema.sessions import OUTCOMES
from receiver.console.console import Console
from receiver.console.queries import Query, decode_position, encode_position, parse_id
from storage.reports.sessions import (
    ListedSession,
    Position,
    SessionFilter,
    SessionListState,
    SessionPage,
    has_undated,
    list_sessions,
    running_sessions,
)

PAGE_SIZE = 50

#: The most running sessions that are shown live: more would be too much to send each second, and to read.
MAX_RUNNING = 100

#: The most energy of a filter, kWh; more than any session has.
MAX_ENERGY_KWH = 1_000_000

STATES: Sequence[SessionListState] = get_args(SessionListState)


@dataclass(slots=True)
class Totals:
    """What the sessions of a page add up to, and of how many it is not known.

    Attributes:
        amounts: the prices with tax by currency.
    """

    sessions: int = 0
    energy_wh: Decimal = Decimal(0)
    without_energy: int = 0
    amounts: dict[str, Decimal] = field(default_factory=dict)
    without_amount: int = 0

    @classmethod
    def of(cls, sessions: Iterable[ListedSession]) -> Totals:
        """Add sessions up."""
        totals = cls()
        for session in sessions:
            totals.sessions += 1
            totals.without_energy += session.energy_wh is None
            totals.energy_wh += session.energy_wh or 0
            if session.amount_with_tax is None or session.currency is None:
                totals.without_amount += 1
            else:
                known = totals.amounts.get(session.currency, Decimal(0))
                totals.amounts[session.currency] = known + session.amount_with_tax
        return totals


async def show(request: Request) -> Response:
    """Show the page."""
    console = Console.of(request)
    tenant = console.tenant_of(request)
    query = Query(request.query_params)
    chosen = _chosen(query)
    after = _after(request, chosen)
    # Without a filter, those that run are shown live above the list, which then need not contain them.
    is_plain = chosen == SessionFilter()
    listed = SessionFilter(state="ended") if is_plain else chosen

    def read(connection: Connection) -> dict[str, Any]:
        return {
            "tenant": tenant,
            **(live(connection, tenant) if is_plain else {}),
            "page": list_sessions(connection, tenant, listed, after=after, limit=PAGE_SIZE),
            "has_undated": has_undated(connection, tenant),
        }

    values = await console.read(read)
    page: SessionPage = values["page"]
    return console.page(
        request,
        "sessions.html",
        chosen=chosen,
        filters=request.query_params,
        states=STATES,
        outcomes=OUTCOMES,
        problems=query.problems,
        is_live=is_plain and after is None,
        is_first=after is None,
        totals=Totals.of(page.sessions),
        following=_link(request, tenant, page.following),
        first=_link(request, tenant, None),
        **values,
    )


def live(connection: Connection, tenant: str) -> Mapping[str, Any]:
    """Return what the page shows live: the sessions of a tenant that run."""
    running, count = running_sessions(connection, tenant, limit=MAX_RUNNING)
    return {"tenant": tenant, "running": running, "running_count": count}


def _chosen(query: Query) -> SessionFilter:
    energy_kwh = query.number("min_kwh", MAX_ENERGY_KWH)
    return SessionFilter(
        state=query.choice("state", STATES) or "all",
        outcome=query.choice("outcome", OUTCOMES),
        location_id=query.identifier("location"),
        charge_point_id=query.identifier("charge_point"),
        evse_id=query.identifier("evse"),
        since=query.day("from"),
        until=query.day("to", after=1),
        min_energy_wh=None if energy_kwh is None else energy_kwh * 1000,
    )


def _after(request: Request, chosen: SessionFilter) -> Position | None:
    position = decode_position(request.query_params.get("before"))
    if position is None or (position[0] is None) != (chosen.state == "undated"):
        return None
    at, identifier = position
    session_id = parse_id(identifier)
    return None if session_id is None else Position(at, session_id)


def _link(request: Request, tenant: str, position: Position | None) -> str:
    """Return the address of the same list from another position on."""
    own = ("tenant", "before")
    filters = {name: value for name, value in request.query_params.items() if name not in own and value}
    place = {} if position is None else {"before": encode_position(*position)}
    return f"/sessions?{urlencode({'tenant': tenant} | filters | place)}"


routes = [Route("/sessions", show)]
