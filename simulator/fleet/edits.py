"""Edits of master data by the tenant's staff: renamed, relabelled, added and removed entities."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from simulator.fleet import payloads
from simulator.fleet.build import FIRST_CHARGE_POINT, FIRST_EVSE, add_charge_point, add_evse
from simulator.fleet.model import ChargePoint, Evse
from simulator.fleet.resources import instant
from simulator.fleet.world import World

#: The mean time between two events of each sort in the whole tenant.
EDIT_EVERY = timedelta(hours=2)  # a charge point, an EVSE or a location is edited
REBUILD_EVERY = timedelta(hours=18)  # an EVSE is removed, or added
RESITE_EVERY = timedelta(days=4)  # a charge point is removed with its EVSEs, or added with one


class Edits:
    """The simulation of edits, one entity at a time.

    Parameters:
        when_sited: called with a new charge point, to schedule its outages.
        when_built: called with a new EVSE, to schedule its vehicles and faults.
    """

    def __init__(
        self,
        world: World,
        *,
        when_sited: Callable[[ChargePoint], None],
        when_built: Callable[[Evse], None],
    ) -> None:
        self._world = world
        self._tenant = world.tenant
        self._rng = world.rng
        self._when_sited = when_sited
        self._when_built = when_built
        # The tenant keeps its size: an entity that is removed is later replaced.
        self._wanted_charge_points = len(world.tenant.charge_points)
        self._wanted_evses = len(world.tenant.evses)
        self._next_charge_point_id = FIRST_CHARGE_POINT + len(world.tenant.charge_points)
        self._next_evse_id = FIRST_EVSE + len(world.tenant.evses)

    def expect(self) -> None:
        """Schedule the first event of each sort."""
        self._world.expect(EDIT_EVERY, self._edit)
        self._world.expect(REBUILD_EVERY, self._rebuild)
        self._world.expect(RESITE_EVERY, self._resite)

    def _edit(self) -> None:
        self._rng.choice((self._rename_charge_point, self._relabel_evse, self._edit_location))()
        self._world.expect(EDIT_EVERY, self._edit)

    def _rename_charge_point(self) -> None:
        charge_point = self._rng.choice(self._tenant.live_charge_points())
        charge_point.name = f"{charge_point.name.split(' (')[0]} ({self._rng.choice('ABCDEFGH')})"
        charge_point.changed_at = self._world.second
        self._notify_charge_point(charge_point, "updated")

    def _relabel_evse(self) -> None:
        evses = self._tenant.live_evses()
        if not evses:
            return
        evse = self._rng.choice(evses)
        evse.label = f"EV-{evse.charge_point_id}-{evse.number}{self._rng.choice('abcdefgh')}"
        self._notify_evse(evse, "updated")

    def _edit_location(self) -> None:
        live = [location for location in self._tenant.locations.values() if not location.is_deleted]
        location = self._rng.choice(live)
        location.street = f"{self._rng.randrange(1, 200)} {location.street.split(' ', 1)[1]}"
        location.changed_at = self._world.second
        charge_points = [point.id for point in self._tenant.live_charge_points() if point.location_id == location.id]
        self._world.notify(payloads.location_changed(location, charge_points))

    def _rebuild(self) -> None:
        """Remove an EVSE, or add one in place of one that was removed."""
        live = self._tenant.live_evses()
        free = [evse for evse in live if evse.status == "available"]
        if len(live) >= self._wanted_evses and len(free) > 1:
            self._remove_evse(self._rng.choice(free))
        else:
            self._build_evse(self._rng.choice(self._tenant.live_charge_points()))
        self._world.expect(REBUILD_EVERY, self._rebuild)

    def _resite(self) -> None:
        """Remove a charge point with no EVSE in use, or add one in place of one that was removed."""
        live = self._tenant.live_charge_points()
        idle = [point for point in live if all(evse.status == "available" for evse in self._tenant.evses_of(point.id))]
        if len(live) >= self._wanted_charge_points and idle and len(live) > 1:
            charge_point = self._rng.choice(idle)
            for evse in self._tenant.evses_of(charge_point.id):
                self._remove_evse(evse)
            charge_point.is_deleted = True
            charge_point.changed_at = self._world.second
            self._notify_charge_point(charge_point, "deleted")
        else:
            now = self._world.second
            charge_point = add_charge_point(self._rng, self._tenant, self._next_charge_point_id, now, now)
            self._next_charge_point_id += 1
            self._notify_charge_point(charge_point, "created")
            self._world.notify(payloads.boot(charge_point))
            self._build_evse(charge_point)
            self._when_sited(charge_point)
        self._world.expect(RESITE_EVERY, self._resite)

    def _build_evse(self, charge_point: ChargePoint) -> None:
        now = self._world.second
        evse = add_evse(self._rng, self._tenant, charge_point.id, self._next_evse_id, now, now)
        self._next_evse_id += 1
        self._notify_evse(evse, "created")
        self._when_built(evse)

    def _remove_evse(self, evse: Evse) -> None:
        evse.is_deleted = True
        self._notify_evse(evse, "deleted")

    def _notify_charge_point(self, charge_point: ChargePoint, action: str) -> None:
        at = instant(charge_point.changed_at)
        self._world.notify(payloads.changed("chargePoint.changed", "chargePointId", charge_point.id, action, at))
        evses = self._tenant.evses_of(charge_point.id)
        self._world.notify(payloads.charge_point_changed(charge_point, evses, action))

    def _notify_evse(self, evse: Evse, action: str) -> None:
        evse.changed_at = self._world.second
        self._world.notify(payloads.changed("evse.changed", "evseId", evse.id, action, instant(evse.changed_at)))
