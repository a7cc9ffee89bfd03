"""The settings of the simulator: the tenant and its fault profile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from ampeco.signature import Encoding

#: The time that the fleet is simulated before the start, so that its listings are not empty and
#: sessions are active that no receiver knows.
WARM_UP = timedelta(hours=6)

#: With an earlier or later start, the simulated clock could leave the range of the calendar.
FIRST_START = datetime(1970, 1, 1, tzinfo=UTC)
LAST_START = datetime(2200, 1, 1, tzinfo=UTC)

#: Text that is valid in a header, and so as a tenant's id, a token or a notification type.
HEADER_TEXT = r"^[!-~]+$"

#: The longest delay of a notification: a year.
MAX_SECONDS = 366 * 86_400

#: The message of a 404 for an entity that does not exist.
NO_RECORD = "No query results for model."

_Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]


def _this_second() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class TenantSettings(BaseModel):
    """The tenant's seed, size and clock.

    Attributes:
        seed: the same seed, size and start give the same history, byte for byte.
        start: the time of the tenant's clock at the start, after the warm-up; converted to UTC, AMPECO's zone.
        evses: the number of EVSEs, spread evenly over the charge points.
        foreign_evses: further EVSEs that belong to roaming partners: they are listed, and never change.
        sessions_a_day: the average number of vehicles that arrive at an EVSE in a day.
        cdrs_a_day: the average number of CDRs that roaming partners send in a day.
        unlisted_cdrs: share of these CDRs that are notified, and that no listing ever shows.
    """

    model_config = ConfigDict(frozen=True)

    seed: int = 1
    start: AwareDatetime = Field(default_factory=_this_second)
    charge_points: int = Field(default=40, ge=1, le=20_000)
    evses: int = Field(default=80, ge=1, le=50_000)
    locations: int = Field(default=12, ge=1, le=5_000)
    foreign_evses: int = Field(default=0, ge=0, le=1_000_000)
    sessions_a_day: float = Field(default=6.0, gt=0, le=48)
    cdrs_a_day: float = Field(default=24.0, ge=0, le=86_400)
    unlisted_cdrs: float = Field(default=0, ge=0, le=1)
    tenant_id: str = Field(default="demo", pattern=HEADER_TEXT)
    signature_encoding: Encoding = "hex"

    @field_validator("start")
    @classmethod
    def _in_utc(cls, start: datetime) -> datetime:
        if not FIRST_START <= start <= LAST_START:
            raise ValueError(f"it must be between {FIRST_START:%Y} and {LAST_START:%Y}")
        return start.astimezone(UTC)


class Faults(BaseModel):
    """A fault profile; shares are 0 to 1, times are by the tenant's clock unless they are called real.

    Attributes:
        duplicate: share of notifications that are sent twice.
        drop: share of notifications that are never sent.
        reorder: share of notifications that are delayed by up to ``reorder_seconds``, so that later
            ones overtake them; 1 shuffles everything within that window.
        delay: share of notifications that are delayed by ``delay_min_seconds`` to ``delay_max_seconds``.
        api_429, api_500: share of the API's answers with this status.
        api_calls_a_minute: calls of the API that a real minute allows, beyond which the answer is
            429; 0 sets no limit.
        api_latency_ms: additional time of each answer of the API, in real milliseconds.
        api_forbidden: names of resources (``sessions``, ``transactions``, …; ``notifications``
            for the subscriptions) that are answered with 403.
        api_not_offered: names of resources, or of resources with a version (``users/v1.1``), that are
            answered with 404, as AMPECO does if the tenant lacks the feature.
        api_unrouted: the same, as AMPECO does if it has no such path.
        api_no_record: the message of a 404 for an entity that does not exist.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    duplicate: float = Field(default=0, ge=0, le=1)
    drop: float = Field(default=0, ge=0, le=1)
    reorder: float = Field(default=0, ge=0, le=1)
    reorder_seconds: _Seconds = 60
    delay: float = Field(default=0, ge=0, le=1)
    delay_min_seconds: _Seconds = 0
    delay_max_seconds: _Seconds = 3_600
    api_429: float = Field(default=0, ge=0, le=1)
    api_500: float = Field(default=0, ge=0, le=1)
    api_calls_a_minute: int = Field(default=0, ge=0)
    api_latency_ms: float = Field(default=0, ge=0, le=60_000)
    api_forbidden: frozenset[str] = frozenset()
    api_not_offered: frozenset[str] = frozenset()
    api_unrouted: frozenset[str] = frozenset()
    api_no_record: str = NO_RECORD

    @model_validator(mode="after")
    def _check(self) -> Faults:
        if self.delay_min_seconds > self.delay_max_seconds:
            raise ValueError("delay_min_seconds is more than delay_max_seconds")
        return self
