"""Outages: charge points that lose their connection or are maintained, and EVSEs that fault."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from simulator.fleet import payloads
from simulator.fleet.charging import Charging
from simulator.fleet.model import ChargePoint, Evse, StatusChange
from simulator.fleet.world import World

#: The mean time between two events of each sort, for each charge point or EVSE.
OFFLINE_EVERY = timedelta(days=3)  # a charge point
FAULT_EVERY = timedelta(days=6)  # an EVSE
MAINTENANCE_EVERY = timedelta(days=25)  # a charge point

#: The shortest and the longest duration of each, in seconds.
_OFFLINE_SECONDS = (120, 2_400)
_FAULT_SECONDS = (300, 7_200)
_MAINTENANCE_SECONDS = (900, 5_400)

#: Share of the returns after which the charge point has restarted, not only reconnected.
_RESTARTED = 0.5

_FAULTS = (
    ("GroundFailure", "RCD trip", "E-217"),
    ("ConnectorLockFailure", None, "E-031"),
    ("OverCurrentFailure", "phase L2", "E-112"),
    ("HighTemperature", None, "E-090"),
)


class Outages:
    """The simulation of outages and recoveries; deleted entities have neither."""

    def __init__(self, world: World, charging: Charging) -> None:
        self._world = world
        self._charging = charging

    def expect_any(self, charge_point: ChargePoint) -> None:
        """Schedule a charge point's next loss of connection and its next maintenance."""
        self._expect_offline(charge_point)
        self._expect_maintenance(charge_point)

    def expect_fault(self, evse: Evse) -> None:
        """Schedule an EVSE's next fault."""
        self._world.expect(FAULT_EVERY, partial(self._fault, evse))

    def _expect_offline(self, charge_point: ChargePoint) -> None:
        self._world.expect(OFFLINE_EVERY, partial(self._go_offline, charge_point))

    def _expect_maintenance(self, charge_point: ChargePoint) -> None:
        self._world.expect(MAINTENANCE_EVERY, partial(self._begin_maintenance, charge_point))

    def _go_offline(self, charge_point: ChargePoint) -> None:
        if charge_point.is_deleted:
            return
        self._set_network(charge_point, "temporarily unavailable")
        self._world.timeline.after(self._world.between(*_OFFLINE_SECONDS), partial(self._return, charge_point))

    def _return(self, charge_point: ChargePoint) -> None:
        if charge_point.is_deleted:
            return
        self._set_network(charge_point, "available")
        if self._world.rng.random() < _RESTARTED:
            charge_point.booted_at = self._world.second
            self._world.notify(payloads.boot(charge_point))
            self._world.notify(payloads.security_event(charge_point))
        self._expect_offline(charge_point)

    def _set_network(self, charge_point: ChargePoint, status: str) -> None:
        change = StatusChange(self._world.second, status)
        charge_point.network.append(change)
        self._world.notify(payloads.network_status(charge_point.id, change))

    def _fault(self, evse: Evse) -> None:
        if evse.is_deleted:
            return
        online = self._world.tenant.charge_points[evse.charge_point_id].is_online
        if not online or evse.status in ("preparing", "finishing"):
            self._world.timeline.after(self._world.between(600, 3_600), partial(self._fault, evse))
            return
        self._charging.interrupt(evse)
        error_code, info, vendor_error_code = self._world.rng.choice(_FAULTS)
        self._charging.set_hardware(evse, "faulted", error_code, info, vendor_error_code)
        self._world.timeline.after(self._world.between(*_FAULT_SECONDS), partial(self._recover, evse))

    def _recover(self, evse: Evse) -> None:
        if evse.is_deleted:
            return
        if not self._world.tenant.charge_points[evse.charge_point_id].is_online:
            self._world.timeline.after(self._world.between(60, 600), partial(self._recover, evse))
            return
        self._charging.set_hardware(evse, "available")
        self.expect_fault(evse)

    def _begin_maintenance(self, charge_point: ChargePoint) -> None:
        if charge_point.is_deleted:
            return
        if not charge_point.is_online:
            self._expect_maintenance(charge_point)
            return
        self._set_hardware(charge_point, "unavailable")
        after = self._world.between(*_MAINTENANCE_SECONDS)
        self._world.timeline.after(after, partial(self._end_maintenance, charge_point))

    def _end_maintenance(self, charge_point: ChargePoint) -> None:
        if charge_point.is_deleted:
            return
        if not charge_point.is_online:  # it reports the end when it is online again
            self._world.timeline.after(self._world.between(60, 600), partial(self._end_maintenance, charge_point))
            return
        self._set_hardware(charge_point, "available")
        self._expect_maintenance(charge_point)

    def _set_hardware(self, charge_point: ChargePoint, status: str) -> None:
        change = StatusChange(self._world.second, status)
        charge_point.hardware.append(change)
        self._world.notify(payloads.hardware_status(charge_point.id, change))
