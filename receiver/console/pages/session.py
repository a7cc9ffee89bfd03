"""The page of one session: its curves, its price, and the notifications, reads and corrections behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.console.charts import Chart, Series
from receiver.console.console import Console
from receiver.console.queries import id_of_path
from receiver.console.session_curves import Curves, load_curves
from receiver.console.session_timeline import Timeline, load_timeline
from storage.reports import session as reports
from storage.reports.provenance import Change, history
from storage.reports.session import Quarter, Session
from storage.schema.entities import PERSONAL_COLUMNS
from storage.state.stored import StoredEntity, load_stored

_QUARTER = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class PricePart:
    """A part of the price, as AMPECO shows it; a number that is missing there is None."""

    type: str
    quantity: Decimal | None
    unit: str | None
    unit_price: Decimal | None
    with_tax: Decimal | None
    without_tax: Decimal | None
    tax_percent: Decimal | None
    currency: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows of a session."""

    session: Session
    stored: StoredEntity
    curves: Curves
    timeline: Timeline
    revisions: Sequence[Change]
    parts: Sequence[PricePart]
    periods: Sequence[reports.Period]
    quarters: Sequence[Quarter]
    attempts: Sequence[reports.Attempt]
    cdrs: Sequence[reports.Cdr]
    tariff: reports.Tariff | None
    findings: Sequence[reports.Finding]

    @property
    def parts_with_tax(self) -> Decimal | None:
        """What the parts of the price add up to with tax; None: that of a part is not known, or there is none."""
        amounts = [part.with_tax for part in self.parts]
        known = [amount for amount in amounts if amount is not None]
        return sum(known, Decimal(0)) if known and len(known) == len(amounts) else None

    @property
    def has_older_parts(self) -> bool:
        """Whether the parts of the price are older than the price: only a read brings them."""
        price_at, detail_at = self.stored.get("price_at"), self.stored.get("detail_at")
        return price_at is not None and detail_at is not None and price_at < detail_at

    @property
    def estimated_wh(self) -> Decimal:
        """How much of the energy no sample places in its quarter of an hour."""
        return sum((quarter.estimated_wh for quarter in self.quarters), Decimal(0))

    @property
    def anomalies(self) -> int:
        """How many samples were left out."""
        return sum(quarter.anomalies for quarter in self.quarters)


async def show(request: Request) -> Response:
    """Show the page."""
    console = Console.of(request)
    tenant = console.tenant_of(request)
    session_id = id_of_path(request, "session_id")
    drawn = request.query_params.get("draw")
    after = request.query_params.get("after")
    shown = await console.read(lambda connection: _load(connection, tenant, session_id, drawn, after))
    return console.page(
        request,
        "session.html",
        tenant=tenant,
        shown=shown,
        session=shown.session,
        stored=shown.stored,
        quarter_chart=quarter_chart(shown.quarters),
        personal=PERSONAL_COLUMNS,
    )


def _load(connection: Connection, tenant: str, session_id: int, drawn: str | None, after: str | None) -> Shown:
    session = reports.derived_session(connection, tenant, session_id)
    stored = load_stored(connection, tenant, "session", [session_id])[session_id]
    if session is None:
        known = "It is stored, but nothing has been derived of it yet: look again in some seconds."
        unknown = "No notification and no read has named it."
        raise HTTPException(404, f"No session {session_id} is known of {tenant}. {known if stored else unknown}")
    revisions = history(connection, tenant, "session", session_id)
    return Shown(
        session=session,
        stored=stored,
        curves=load_curves(connection, tenant, session, drawn),
        timeline=load_timeline(connection, tenant, session, stored, revisions, after),
        revisions=revisions,
        parts=price_parts(stored.get("price_breakdown")),
        periods=reports.periods(connection, tenant, session_id),
        quarters=reports.quarters(connection, tenant, session_id),
        attempts=reports.attempts(connection, tenant, session_id),
        cdrs=reports.cdrs(connection, tenant, session.cdr_ids or ()),
        tariff=reports.tariff(connection, tenant, stored.get("tariff_snapshot_id")),
        findings=reports.findings(connection, tenant, session_id),
    )


def price_parts(breakdown: Any) -> list[PricePart]:
    """Return the parts of a price from AMPECO's JSON, in which anything may be missing or of another type."""
    parts = breakdown if isinstance(breakdown, list) else []
    return [_price_part(part) for part in parts if isinstance(part, dict)]


def _price_part(part: dict[str, Any]) -> PricePart:
    price, per_unit = (value if isinstance(value := part.get(key), dict) else {} for key in ("price", "pricePerUnit"))
    return PricePart(
        type=str(part.get("type") or "unknown"),
        quantity=_number(part.get("quantity")),
        unit=_text(part.get("unit")),
        unit_price=_number(per_unit.get("withTax", part.get("unitPrice"))),
        with_tax=_number(price.get("withTax", part.get("totalPrice"))),
        without_tax=_number(price.get("withoutTax")),
        tax_percent=_number(part.get("taxPercentage")),
        currency=_text(part.get("currency")),
    )


def _number(value: Any) -> Decimal | None:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    number = Decimal(str(value)) if is_number else None
    return number if number is not None and number.is_finite() else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def quarter_chart(quarters: Sequence[Quarter]) -> Chart:
    """Return the chart of the energy by quarter of an hour."""
    times = [quarter.began_at for quarter in quarters]
    energies = [quarter.energy_wh / 1000 for quarter in quarters]
    estimated = [quarter.estimated_wh / 1000 for quarter in quarters]
    if quarters:  # a step needs an end
        times.append(times[-1] + _QUARTER)
        energies.append(energies[-1])
        estimated.append(estimated[-1])
    return Chart(
        "Energy by quarter of an hour",
        "kWh",
        times,
        [
            Series("energy", energies, is_stepped=True),
            Series("estimated", estimated, is_stepped=True),
        ],
    )


routes = [Route("/tenants/{tenant}/sessions/{session_id}", show)]
