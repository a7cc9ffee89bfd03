"""Charts of lines over time, as the browser draws them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

#: What an axis shows before and after the only time of a chart.
_MARGIN = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a chart.

    Attributes:
        name: its name in the legend.
        values: its values, one for each time of the chart; None where there is none.
        is_stepped: whether each value holds until the next one.
        joins_gaps: whether the line passes over times without a value, as those of another line.
    """

    name: str
    values: Sequence[float | Decimal | None]
    is_stepped: bool = False
    joins_gaps: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over time.

    Attributes:
        title: what it shows.
        unit: the unit of its values.
        times: the times of its values, in order.
        series: its lines.
        since, until: the time that its axis shows; None: that of its values.
    """

    title: str
    unit: str
    times: Sequence[datetime]
    series: Sequence[Series]
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(value is not None for series in self.series for value in series.values)

    def data(self) -> str:
        """Return the chart as JSON for ``console.js``."""
        return json.dumps(
            {
                "unit": self.unit,
                "span": [moment.timestamp() for moment in self._span()],
                "times": [moment.timestamp() for moment in self.times],
                "series": [
                    {
                        "name": series.name,
                        "values": [None if value is None else round(float(value), 4) for value in series.values],
                        "stepped": series.is_stepped,
                        "joined": series.joins_gaps,
                    }
                    for series in self.series
                ],
            }
        )

    def _span(self) -> tuple[datetime, datetime]:
        """Return the ends of the axis, which are never one moment."""
        since, until = self.since or self.times[0], self.until or self.times[-1]
        return (since, until) if since < until else (since - _MARGIN, until + _MARGIN)

    def summary(self) -> str:
        """Return what the chart shows in words, for those who do not see it."""
        parts = []
        for series in self.series:
            values = [float(value) for value in series.values if value is not None]
            if values:
                span = f"{min(values):,.1f} to {max(values):,.1f}, last {values[-1]:,.1f} {self.unit}"
                parts.append(f"{series.name}: {span}".strip())
        return "; ".join(parts) or "no values"
