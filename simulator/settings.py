"""What a stand-in tenant is made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ampeco.signature import Encoding

#: The tenant lives so long before anybody looks, so that its listings are not empty and
#: sessions run that no receiver has heard of.
WARM_UP = timedelta(hours=6)


def _this_second() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


class TenantSettings(BaseModel):
    """The tenant's seed, size and clock.

    Attributes:
        seed: the same seed, size and start give the same history, byte for byte.
        start: when the tenant's clock starts, after the warm-up.
        evses: spread evenly over the charge points.
        sessions_a_day: how many vehicles come to an EVSE on average.
    """

    model_config = ConfigDict(frozen=True)

    seed: int = 1
    start: AwareDatetime = Field(default_factory=_this_second)
    charge_points: int = Field(default=40, ge=1, le=20_000)
    evses: int = Field(default=80, ge=1, le=50_000)
    locations: int = Field(default=12, ge=1, le=5_000)
    sessions_a_day: float = Field(default=6.0, gt=0, le=48)
    tenant_id: str = "demo"
    signature_encoding: Encoding = "hex"


class Faults(BaseModel):
    """What goes wrong on demand; shares are 0 to 1, times are by the tenant's clock.

    Attributes:
        duplicate: share of notifications that are sent twice.
        drop: share that is never sent.
        reorder: share that is held back by up to ``reorder_seconds``, so that later ones overtake it.
        delay: share that is held back by up to ``delay_seconds``.
        api_429, api_500: share of the API's answers that are one of these.
        api_latency_ms: how long each answer of the API takes longer, real milliseconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    duplicate: float = Field(default=0, ge=0, le=1)
    drop: float = Field(default=0, ge=0, le=1)
    reorder: float = Field(default=0, ge=0, le=1)
    reorder_seconds: float = Field(default=60, ge=0)
    delay: float = Field(default=0, ge=0, le=1)
    delay_seconds: float = Field(default=3_600, ge=0)
    api_429: float = Field(default=0, ge=0, le=1)
    api_500: float = Field(default=0, ge=0, le=1)
    api_latency_ms: float = Field(default=0, ge=0, le=60_000)
