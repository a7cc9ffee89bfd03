"""The log of security events: each event that is notified, and each boot."""

from __future__ import annotations

from typing import Any

from simulator.fleet.records.record import add
from simulator.fleet.world import World

SECURITY_EVENTS = "security-events"
FIRST_SECURITY_EVENT = 500_000

_STARTUP = "StartupOfTheDevice"


class SecurityEvents:
    """The part of the fleet that logs security events."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._last: dict[str, Any] = {}
        world.tenant.records[SECURITY_EVENTS] = {}
        world.follow("BootNotification", lambda body: self._log(body, _STARTUP, "power up"))
        world.follow("SecurityEventNotification", lambda body: self._log(body, body["type"], body["techInfo"]))

    def _log(self, body: dict[str, Any], type_: str, tech_info: str) -> None:
        fields = {
            "chargePoint": body["chargePointId"],
            "type": type_,
            "techInfo": tech_info,
            "timestamp": body["timestamp"],
        }
        if fields != self._last:  # a boot and the notification of its security event are one event
            add(self._world.tenant, SECURITY_EVENTS, FIRST_SECURITY_EVENT, fields, self._world.second)
            self._last = fields
