"""The load: notifications of an active fleet, shaped like the samples, each one distinct.

Every entity has a clock of its own that advances with each notification about it, so that each one
changes its entity: to apply a repeated body changes nothing, and costs less than a real one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

SAMPLES = Path(__file__).parents[1] / "ampeco" / "samples"

SESSIONS = 500
EVSES = 200
EVSES_OF_A_CHARGE_POINT = 2
CHARGE_POINTS = EVSES // EVSES_OF_A_CHARGE_POINT

#: The percentages of notifications that a tenant with running sessions sends.
MIX = {"meter values": 40, "session update": 30, "hardware status": 20, "network status": 5, "start or stop": 5}

#: The step of an entity's clock with each notification about it. AMPECO's times have no fractions of a second,
#: and two different snapshots of the same second would be conflicting and request a read.
STEP = timedelta(seconds=10)

#: How far the load is in the past, so that its clocks never overtake ours.
PAST = timedelta(hours=6)

HARDWARE_STATUSES = ("available", "preparing", "charging", "suspendedEV", "finishing", "faulted")
NETWORK_STATUSES = ("available", "temporarily unavailable")

#: Fixed, so that two runs send the same kinds of notification in the same order.
SEED = 20260304


def began_at() -> datetime:
    """Return the time at which the fleet's clocks start."""
    return (datetime.now(UTC) - PAST).replace(microsecond=0)


@dataclass(slots=True)
class _Session:
    session_id: int
    evse_id: int
    started_at: datetime
    at: datetime
    energy_wh: int = 0

    def step(self) -> str:
        self.at += STEP
        self.energy_wh += 120
        return self.at.isoformat()


class Fleet:
    """A tenant's fleet; each body continues the history of its entity."""

    def __init__(self, begins_at: datetime) -> None:
        # With a fixed seed the mix is the same on every machine and in every run.
        self._random = random.Random(SEED)
        self._next_session_id = 1_000_000
        self._evse_at = [begins_at] * EVSES
        self._charge_point_at = [begins_at] * CHARGE_POINTS
        self._sessions = [self._new_session(begins_at) for _ in range(SESSIONS)]
        self._pending_start: set[int] = set()
        self._makers = {
            "meter values": self._meter_values,
            "session update": self._session_update,
            "hardware status": self._hardware_status,
            "network status": self._network_status,
            "start or stop": self._start_or_stop,
        }
        self._shapes = {
            name: orjson.loads((SAMPLES / f"{name}.json").read_bytes())
            for name in (
                "SessionMeterValuesNotification",
                "SessionUpdateNotification.active",
                "HardwareStatusNotification.evse",
                "NetworkStatusNotification.available",
                "session.start.stop.notification.start",
                "session.start.stop.notification.stop",
            )
        }

    def bodies(self, count: int) -> Iterator[bytes]:
        """Generate the next ``count`` bodies."""
        kinds, weights = list(MIX), list(accumulate(MIX.values()))
        for _ in range(count):
            kind = self._random.choices(kinds, cum_weights=weights)[0]
            yield orjson.dumps(self._makers[kind]())

    def _shape(self, name: str) -> dict[str, Any]:
        return deepcopy(self._shapes[name])

    def _new_session(self, at: datetime) -> _Session:
        self._next_session_id += 1
        return _Session(self._next_session_id, self._random.randint(1, EVSES), at, at)

    def _session(self) -> _Session:
        return self._random.choice(self._sessions)

    def _meter_values(self) -> dict[str, Any]:
        session, body = self._session(), self._shape("SessionMeterValuesNotification")
        at = session.step()
        body |= _place(session.evse_id)
        body["sessionId"] = session.session_id
        body["externalSessionId"] = f"EXT-{session.session_id}"
        for sample in body["meterValues"]:
            sample["timestamp"] = at
            if sample["unit"] == "Wh":
                sample["value"] = session.energy_wh
        return body

    def _session_update(self) -> dict[str, Any]:
        session, body = self._session(), self._shape("SessionUpdateNotification.active")
        at, shown = session.step(), body["session"]
        shown |= _place(session.evse_id)
        shown |= {
            "id": str(session.session_id),
            "connectorId": session.evse_id,
            "startedAt": session.started_at.isoformat(),
            "energy": session.energy_wh,
            "authorizationId": session.session_id,
            "lastUpdatedAt": at,
        }
        shown["energyConsumption"] = {"total": session.energy_wh, "grid": session.energy_wh}
        shown["authorization"] |= {"id": session.session_id, "lastUpdatedAt": session.started_at.isoformat()}
        shown["chargingPeriods"][0] |= {
            "id": session.session_id,
            "energy": session.energy_wh,
            "startedAt": session.started_at.isoformat(),
        }
        return body

    def _hardware_status(self) -> dict[str, Any]:
        evse_id, body = self._random.randint(1, EVSES), self._shape("HardwareStatusNotification.evse")
        self._evse_at[evse_id - 1] += STEP
        body |= _place(evse_id)
        body["timestamp"] = self._evse_at[evse_id - 1].isoformat()
        body["hardwareStatus"] = self._random.choice(HARDWARE_STATUSES)
        return body

    def _network_status(self) -> dict[str, Any]:
        charge_point_id, body = (
            self._random.randint(1, CHARGE_POINTS),
            self._shape("NetworkStatusNotification.available"),
        )
        self._charge_point_at[charge_point_id - 1] += STEP
        body["chargePointId"] = charge_point_id
        body["timestamp"] = self._charge_point_at[charge_point_id - 1].isoformat()
        body["networkStatus"] = self._random.choice(NETWORK_STATUSES)
        return body

    def _start_or_stop(self) -> dict[str, Any]:
        """Stop a running session; the next time that its place is drawn, start a new one there."""
        place = self._random.randrange(SESSIONS)
        starts = place in self._pending_start
        if starts:
            self._pending_start.discard(place)
            self._sessions[place] = self._new_session(self._sessions[place].at)
        else:
            self._pending_start.add(place)
        session = self._sessions[place]
        body = self._shape(f"session.start.stop.notification.{'start' if starts else 'stop'}")
        at = session.step()
        body |= _place(session.evse_id)
        body |= {
            "sessionId": session.session_id,
            "startedAtTimestamp": session.started_at.isoformat(),
            "lastUpdatedAt": at,
        }
        if not starts:
            body |= {"stoppedAtTimestamp": at, "energyConsumed": session.energy_wh}
        return body


def _place(evse_id: int) -> dict[str, int]:
    return {"evseId": evse_id, "chargePointId": charge_point_of(evse_id)}


def charge_point_of(evse_id: int) -> int:
    """Return the charge point to which an EVSE belongs."""
    return (evse_id - 1) // EVSES_OF_A_CHARGE_POINT + 1
