"""Notifications that Hypothesis draws."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from tests.support.facts import sample

BEGAN = datetime(2026, 3, 4, 7, tzinfo=UTC)


def at(seconds: int) -> str:
    """Return the time some seconds after the first one."""
    return (BEGAN + timedelta(seconds=seconds)).isoformat()


#: Few different times, so that equal ones are common.
times = st.integers(0, 4)


@st.composite
def session_notifications(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a notification of one session."""
    kind = draw(st.sampled_from(["start", "stop", "update", "final update", "meter", "old start", "old stop"]))
    if kind in ("start", "stop", "old start", "old stop"):
        word = kind.removeprefix("old ")
        name = "SessionStartStopNotification" if kind.startswith("old") else "session.start.stop.notification"
        body = sample(f"{name}.{word}")
        body["lastUpdatedAt"] = at(draw(times))
        body["meterStop"] = draw(st.sampled_from([1_222_730, 1_222_731]))
        return body
    if kind == "meter":
        body = sample("SessionMeterValuesNotification")
        for value in body["meterValues"]:
            value["timestamp"] = at(draw(times))
        return body
    body = sample(
        "SessionUpdateNotification.finished" if kind == "final update" else "SessionUpdateNotification.active"
    )
    body["session"]["lastUpdatedAt"] = at(draw(times))
    body["session"]["energyConsumption"] = {"total": draw(st.sampled_from([5230, 5231])), "grid": 1}
    body["session"]["chargingPeriods"][0]["energy"] = draw(st.sampled_from([5230, 5231]))
    return body


@st.composite
def fleet_notifications(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a notification of an EVSE, a charge point or a location."""
    name = draw(
        st.sampled_from(
            [
                "HardwareStatusNotification.evse",
                "HardwareStatusNotification.faulted",
                "HardwareStatusNotification.chargepoint",
                "NetworkStatusNotification.available",
                "NetworkStatusNotification.offline",
                "BootNotification",
                "LocationChangedNotification",
                "ChargePointChangedNotification",
            ]
        )
    )
    body = sample(name)
    moment = at(draw(times))
    if name == "LocationChangedNotification":
        body["lastUpdatedAt"] = body["location"]["lastUpdatedAt"] = moment
        body["location"]["city"] = draw(st.sampled_from(["Varna", "Sofia"]))
    elif name == "ChargePointChangedNotification":
        body["lastUpdatedAt"] = body["chargePoint"]["lastUpdatedAt"] = moment
        body["chargePoint"]["name"] = draw(st.sampled_from(["Quayside 1", "Quayside 2"]))
    else:
        body["timestamp"] = moment
    return body
