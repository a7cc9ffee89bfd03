"""The curves of a session: power, energy and state of charge from its meter samples, or from AMPECO's statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection

from analytics.energy import intervals
from receiver.console.charts import Chart, Series
from storage.reports.meter import (
    MAX_POINTS,
    ConsumptionPoint,
    Point,
    Source,
    SourceKey,
    consumption,
    curves,
    sources,
    step_of,
)
from storage.reports.session import Session

#: The most lines of a chart, because there are as many colours.
MAX_LINES = 4

#: How long before and after the session its samples are drawn, as they count for its energy.
MARGIN = timedelta(microseconds=intervals.MARGIN)

#: How many of a unit are a kW or a kWh, in any spelling. A sample without a unit is in W or Wh.
_PER_KILO = {"power": {"": 1000, "w": 1000, "kw": 1}, "energy": {"": 1000, "wh": 1000, "kwh": 1}}


@dataclass(frozen=True, slots=True)
class MeterSource:
    """A source of samples, with the chart that it is drawn in; None: it is drawn in none."""

    source: Source
    drawn_in: str | None


@dataclass(frozen=True, slots=True)
class Curves:
    """The curves of a session.

    Attributes:
        charts: the charts, of which those without a sample are empty.
        sources: what the meter sent.
        points: AMPECO's consumption statistics, if the session has no samples.
        step: each point of a curve is the greatest sample of so long a time.
        since, until: the time that the charts show, which is that of the session and a margin; None: all.
    """

    charts: Sequence[Chart]
    sources: Sequence[MeterSource]
    points: Sequence[ConsumptionPoint]
    step: timedelta
    since: datetime | None
    until: datetime | None

    @property
    def is_reduced(self) -> bool:
        """Whether there are more samples than points."""
        return any(each.source.samples > MAX_POINTS for each in self.sources)


def load_curves(connection: Connection, tenant: str, session: Session, drawn: str | None) -> Curves:
    """Load the curves of a session.

    Parameters:
        drawn: a further measurand to draw.
    """
    found = sources(connection, tenant, session.session_id)
    if not found:
        points = consumption(connection, tenant, session.session_id)
        return Curves(_of_statistics(points), (), points, timedelta(0), None, None)
    since, until = _time(session, found)
    step = step_of(since, until)
    chosen = _chosen(found, drawn)
    measurands = {key.measurand for keys in chosen.values() for key in keys}
    by_source = curves(connection, tenant, session.session_id, measurands, since, until, step)
    charts = [
        replace(_chart(title, keys, by_source, session), since=since, until=until)
        for title, keys in chosen.items()
        if keys or title in _QUANTITY_TITLES
    ]
    titles = {key: title for title, keys in chosen.items() for key in keys}
    return Curves(charts, [MeterSource(each, titles.get(each.key)) for each in found], (), step, since, until)


_POWER, _ENERGY, _SOC = "Power", "Energy since the start", "State of charge"
_QUANTITY_TITLES = (_POWER, _ENERGY, _SOC)


def _time(session: Session, found: Sequence[Source]) -> tuple[datetime, datetime]:
    """Return the time that the charts show: that of the samples, within that of the session and a margin."""
    since = min(source.first_at for source in found)
    until = max(source.last_at for source in found)
    if session.started_at is not None:
        since = max(since, session.started_at - MARGIN)
    if session.stopped_at is not None:
        until = min(until, session.stopped_at + MARGIN)
    return since, max(since, until)


def _chosen(found: Sequence[Source], drawn: str | None) -> Mapping[str, Sequence[SourceKey]]:
    """Return the sources that each chart shows, by its title."""
    by_quantity: dict[str | None, list[SourceKey]] = {}
    for source in found:
        by_quantity.setdefault(source.key.quantity, []).append(source.key)
    # The energy since the start needs no register to be subtracted.
    energy = by_quantity.get("energy") or by_quantity.get("register") or []
    chosen = {
        _POWER: [key for key in by_quantity.get("power", ()) if _per_kilo("power", key) is not None],
        _ENERGY: [key for key in energy if _per_kilo("energy", key) is not None],
        _SOC: by_quantity.get("soc", []),
    }
    shown = {title: keys[:MAX_LINES] for title, keys in chosen.items()}
    further = [source.key for source in found if source.key.measurand == drawn]
    if drawn is not None and further and not any(key in keys for keys in shown.values() for key in further):
        shown[drawn] = further[:MAX_LINES]
    return shown


def _per_kilo(quantity: str, key: SourceKey) -> int | None:
    return _PER_KILO[quantity].get((key.unit or "").strip().lower())


def _chart(
    title: str, keys: Sequence[SourceKey], by_source: Mapping[SourceKey, Sequence[Point]], session: Session
) -> Chart:
    times = sorted({point.at for key in keys for point in by_source.get(key, ())})
    lines = [Series(_name(key, keys), _values(title, key, by_source, times, session), joins_gaps=True) for key in keys]
    unit = {_POWER: "kW", _ENERGY: "kWh", _SOC: "%"}.get(title, keys[0].unit or "" if keys else "")
    return Chart(title, unit, times, lines)


def _name(key: SourceKey, others: Collection[SourceKey]) -> str:
    """Return the name of a source, with what distinguishes it from the others."""
    parts = [key.measurand]
    if len({other.location for other in others}) > 1 or key.location:
        parts.append(key.location or "no place named")
    if len({other.ordinal for other in others}) > 1:
        parts.append(f"sample {key.ordinal + 1} of each time")
    if len({other.unit for other in others}) > 1:
        parts.append(key.unit or "without a unit")
    return ", ".join(part[:60] for part in parts)


def _values(
    title: str,
    key: SourceKey,
    by_source: Mapping[SourceKey, Sequence[Point]],
    times: Sequence[datetime],
    session: Session,
) -> list[Decimal | None]:
    points = by_source.get(key, ())
    scale = _scale(title, key, points, session)
    values = {point.at: scale(point.value) for point in points if math.isfinite(point.value)}
    return [values.get(at) for at in times]


def _scale(title: str, key: SourceKey, points: Sequence[Point], session: Session) -> Callable[[Decimal], Decimal]:
    """Return how a sample becomes a value of the chart."""
    if title == _POWER:
        per_kilo = _per_kilo("power", key) or 1
        return lambda value: value / per_kilo
    if title == _ENERGY:
        per_kilo = _per_kilo("energy", key) or 1
        beginning = Decimal(0)
        if key.quantity == "register":  # it counts on from earlier sessions
            first = points[0].value / per_kilo if points else Decimal(0)
            beginning = first if session.meter_start_wh is None else session.meter_start_wh / 1000
        return lambda value: value / per_kilo - beginning
    return lambda value: value


def _of_statistics(points: Sequence[ConsumptionPoint]) -> list[Chart]:
    """Return the charts of AMPECO's consumption statistics."""

    def line(name: str, values: Sequence[Decimal | None]) -> list[Series]:
        kilo = [None if value is None or not math.isfinite(value) else value / 1000 for value in values]
        return [Series(name, kilo, joins_gaps=True)]

    times = [point.at for point in points]
    name = "AMPECO's consumption statistics"
    return [
        Chart(_POWER, "kW", times, line(name, [point.power_w for point in points])),
        Chart(_ENERGY, "kWh", times, line(name, [point.energy_wh for point in points])),
        Chart(_SOC, "%", (), ()),
    ]
