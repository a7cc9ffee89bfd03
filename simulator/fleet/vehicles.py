"""Vehicles: when they arrive, and the power that they draw."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

#: How busy each hour of a day is, from 0 to 1: quiet nights, peaks in the morning and the evening.
BUSYNESS = (
    *(0.12, 0.08, 0.06, 0.06, 0.10, 0.22),
    *(0.45, 0.75, 0.90, 0.80, 0.70, 0.72),
    *(0.80, 0.75, 0.70, 0.75, 0.88, 1.00),
    *(0.98, 0.85, 0.65, 0.45, 0.30, 0.20),
)
_MEAN_BUSYNESS = sum(BUSYNESS) / len(BUSYNESS)

#: Common vehicles: battery in kWh, maximum AC power in W, maximum DC power in W.
_KINDS = ((42, 7_400, 85_000), (58, 11_000, 120_000), (77, 11_000, 170_000), (95, 22_000, 220_000))


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A vehicle, its driver, and how long and how far it charges."""

    battery_wh: int
    most_ac_w: int
    most_dc_w: int
    soc_percent: float
    target_percent: float
    stays: timedelta
    user_id: int


def arrival_delay(rng: random.Random, now: datetime, arrivals_a_day: float) -> timedelta:
    """Draw the time until the next vehicle arrives at a free EVSE, by the busyness of the hours until then."""
    highest_rate = arrivals_a_day / 86_400 / _MEAN_BUSYNESS
    seconds = 0.0
    while True:
        seconds += rng.expovariate(highest_rate)
        if rng.random() < BUSYNESS[(now + timedelta(seconds=seconds)).hour]:
            return timedelta(seconds=seconds)


def arrive(rng: random.Random, current_type: str) -> Vehicle:
    """Draw a vehicle that arrives; it stays for minutes at a DC charger, for hours at an AC one."""
    battery_kwh, most_ac_w, most_dc_w = rng.choice(_KINDS)
    soc = rng.uniform(8, 60)
    if current_type == "dc":
        stays = timedelta(minutes=rng.triangular(12, 70, 28))
        target = rng.uniform(max(soc + 10, 70), 90)
    else:
        stays = timedelta(minutes=rng.triangular(35, 480, 110))
        target = rng.uniform(max(soc + 10, 80), 100)
    return Vehicle(battery_kwh * 1000, most_ac_w, most_dc_w, soc, target, stays, rng.randrange(5_000, 9_000))


def power_w(vehicle: Vehicle, soc_percent: float, current_type: str, max_power_w: int) -> float:
    """Return the power that the vehicle draws at a state of charge, in W.

    AC power is constant until the battery is nearly full. DC power falls with the state of charge, as
    batteries require.
    """
    if current_type == "ac":
        drawn = min(vehicle.most_ac_w, max_power_w)
        return drawn * (1.0 if soc_percent < 97 else 0.4)
    if soc_percent < 15:
        share = 0.75 + 0.25 * soc_percent / 15
    elif soc_percent < 45:
        share = 1.0
    elif soc_percent < 80:
        share = 1.0 - 0.6 * (soc_percent - 45) / 35
    else:
        share = max(0.4 - 0.35 * (soc_percent - 80) / 20, 0.05)
    return min(vehicle.most_dc_w * share, max_power_w)
