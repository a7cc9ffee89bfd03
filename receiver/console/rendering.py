"""Render the pages: templates, and how times, durations and numbers are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from analytics.availability.opening_hours import DAYS
from storage.clock import clock

#: What stands for a value that is not known, or that does not exist.
ABSENT = "–"


def create_environment() -> Environment:
    """Return the environment of the templates: everything is escaped, and an unknown name is an error."""
    environment = Environment(
        loader=PackageLoader("receiver.console"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "when": when,
        "duration": duration,
        "number": number,
        "energy": energy,
        "power": power,
        "money": money,
        "share": share,
        "words": words,
        "percent": percent,
    }
    environment.globals["DAYS"] = DAYS
    return environment


def when(moment: datetime | None) -> str:
    """Write a moment: the exact time in UTC, which the browser may show in local time, and how long ago it is."""
    if moment is None:
        return ABSENT
    exact = moment.astimezone(UTC)
    return Markup('<time datetime="{}">{} UTC</time> <small class="ago" data-at="{}">{}</small>').format(
        exact.isoformat(), f"{exact:%Y-%m-%d %H:%M:%S}", exact.isoformat(), relative(exact, clock.now())
    )


def relative(moment: datetime, now: datetime) -> str:
    """Return how long before or after ``now`` a moment is, in words."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    text = duration(abs(seconds))
    return f"{text} ago" if seconds > 0 else f"in {text}"


def duration(value: float | timedelta | Decimal | None) -> str:
    """Write a duration in its two largest units; a number is seconds."""
    if value is None:
        return ABSENT
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    rest = round(seconds)
    parts: list[str] = []
    for name, size in units:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {name}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 ") or len(parts) == 1) or "0 s"


def number(value: float | Decimal | None, digits: int = 0) -> str:
    """Write a number with separators between thousands."""
    return ABSENT if value is None else f"{value:,.{digits}f}"


def energy(energy_wh: float | Decimal | None) -> str:
    """Write an energy in kWh."""
    return ABSENT if energy_wh is None else f"{Decimal(energy_wh) / 1000:,.2f} kWh"


def power(power_w: float | Decimal | None) -> str:
    """Write a power in kW."""
    return ABSENT if power_w is None else f"{Decimal(power_w) / 1000:,.1f} kW"


def money(amount: Decimal | None, currency: str | None) -> str:
    """Write an amount of money with its currency."""
    return ABSENT if amount is None else f"{amount:,.2f} {currency or ''}".strip()


def share(value: float | Decimal | None, digits: int = 2) -> str:
    """Write a share of one as a percentage, rounded down, so that 100 % means all."""
    if value is None:
        return ABSENT
    scale = Decimal(10) ** digits
    rounded = (Decimal(str(value)) * 100 * scale) // 1 / scale  # a float as it is written: 0.985, not a little less
    return f"{rounded:.{digits}f} %"


def percent(value: float | Decimal | None, digits: int = 3) -> str:
    """Write a percentage, rounded as the analytics tables round it."""
    return ABSENT if value is None else f"{value:.{digits}f} %"


def words(name: str | None) -> str:
    """Write a name of a table or a state with spaces."""
    return ABSENT if name is None else name.replace("_", " ")
