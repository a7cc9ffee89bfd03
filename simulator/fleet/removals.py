"""Removals of entities and moves of hardware by the tenant's staff.

It has a random generator of its own, so that it does not change what the seed makes of the rest.
``simulator.fleet.edits`` removes EVSEs and charge points.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Protocol, TypeVar

from simulator.fleet import payloads
from simulator.fleet.model import Evse, Location
from simulator.fleet.resources import instant, tariff_resource, user_resource
from simulator.fleet.world import World

#: The mean time between two events of each sort in the whole tenant.
REMOVE_EVERY = timedelta(days=30)  # an entity is removed, of each kind in turn
MOVE_EVERY = timedelta(days=30)  # two EVSEs swap their connectors, or an EVSE moves to another charge point

#: The number of removable entities of a kind that always remain.
MIN_LEFT = 1


class _Removable(Protocol):
    is_deleted: bool

    @property
    def id(self) -> int: ...


R = TypeVar("R", bound=_Removable)


class Removals:
    """The simulation of removals and moves, one at a time."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._tenant = world.tenant
        self._rng = random.Random(f"removals {seed}")  # noqa: S311 - a simulation, not a secret
        self._turns = [
            self._remove_session,
            self._remove_authorization,
            self._remove_transaction,
            self._remove_reservation,
            self._remove_location,
            self._remove_tariff,
            self._remove_user,
            self._remove_id_tag,
            self._remove_partner,
        ]

    def expect(self) -> None:
        """Schedule the first event of each sort."""
        self._after(REMOVE_EVERY, self._remove)
        self._after(MOVE_EVERY, self._move)

    def _after(self, mean: timedelta, action: Callable[[], None]) -> None:
        self._world.timeline.after(timedelta(seconds=self._rng.expovariate(1 / mean.total_seconds())), action)

    def _remove(self) -> None:
        turn = self._turns.pop(0)
        self._turns.append(turn)
        turn()
        self._after(REMOVE_EVERY, self._remove)

    def _choose(self, entities: Iterable[R]) -> R | None:
        """Choose an entity that is not deleted; None if no more than ``MIN_LEFT`` remain."""
        live = [entity for entity in entities if not entity.is_deleted]
        return self._rng.choice(live) if len(live) > MIN_LEFT else None

    def _remove_session(self) -> None:
        """Remove a paid session with its charging periods; AMPECO sends no notification of it."""
        session = self._choose(row for row in self._tenant.sessions.values() if row.payment_status == "paid")
        if session is not None:
            session.is_deleted = True

    def _remove_authorization(self) -> None:
        """Remove an authorization that was rejected, or whose session is removed."""
        sessions = self._tenant.sessions
        authorization = self._choose(
            row
            for row in self._tenant.authorizations.values()
            if not row.is_accepted or (row.session_id is not None and sessions[row.session_id].is_deleted)
        )
        if authorization is not None:
            authorization.is_deleted, authorization.changed_at = True, self._world.second
            self._world.notify(payloads.authorization_changed(authorization, "deleted"))

    def _remove_transaction(self) -> None:
        transaction = self._choose(row for row in self._tenant.transactions.values() if row.status == "finalized")
        if transaction is not None:
            transaction.is_deleted = True
            self._notify("transaction.changed", "transactionId", transaction.id)

    def _remove_reservation(self) -> None:
        reservation = self._choose(row for row in self._tenant.reservations.values() if row.status != "active")
        if reservation is not None:
            reservation.is_deleted = True

    def _remove_location(self) -> None:
        """Move a location's charge points to other locations, then remove it."""
        location = self._choose(self._tenant.locations.values())
        if location is None:
            return
        remaining = [row for row in self._tenant.locations.values() if not row.is_deleted and row is not location]
        for charge_point in self._tenant.live_charge_points():
            if charge_point.location_id == location.id:
                charge_point.location_id = self._rng.choice(remaining).id
                charge_point.changed_at = self._world.second
                self._notify("chargePoint.changed", "chargePointId", charge_point.id, "updated")
        self._close(location)

    def _close(self, location: Location) -> None:
        location.is_deleted, location.changed_at = True, self._world.second
        self._world.notify(payloads.location_changed(location, []) | {"action": "deleted"})

    def _remove_tariff(self) -> None:
        tariff = self._choose(self._tenant.tariffs.values())
        if tariff is not None:
            tariff.is_deleted, tariff.changed_at = True, self._world.second
            at = instant(tariff.changed_at)
            body = payloads.snapshot("TariffChangedNotification", "tariff", tariff_resource(tariff), at)
            self._world.notify(body | {"action": "deleted"})

    def _remove_user(self) -> None:
        user = self._choose(self._tenant.users.values())
        if user is not None:
            user.is_deleted, user.changed_at = True, self._world.second
            body = payloads.snapshot("UserChangedNotification", "user", user_resource(user), instant(user.changed_at))
            self._world.notify(body | {"action": "deleted"})

    def _remove_id_tag(self) -> None:
        tag = self._choose(self._tenant.id_tags.values())
        if tag is not None:
            tag.is_deleted = True
            self._notify("idTag.changed", "idTagsId", tag.id)

    def _remove_partner(self) -> None:
        partner = self._choose(self._tenant.partners.values())
        if partner is not None:
            partner.is_deleted = True
            for charge_point in self._tenant.live_charge_points():
                if charge_point.partner_id == partner.id:  # from now on it is the operator's own
                    charge_point.partner_id, charge_point.changed_at = None, self._world.second
                    self._notify("chargePoint.changed", "chargePointId", charge_point.id, "updated")
            self._notify("partner.changed", "partnerId", partner.id)

    def _notify(self, name: str, key: str, entity_id: int, action: str = "deleted") -> None:
        self._world.notify(payloads.changed(name, key, entity_id, action, instant(self._world.second)))

    def _move(self) -> None:
        free = [evse for evse in self._tenant.live_evses() if evse.status == "available"]
        if len(free) > 1:
            first, second = self._rng.sample(free, 2)
            if self._rng.random() < 0.5:
                first.connector_id, second.connector_id = second.connector_id, first.connector_id
                changed: tuple[Evse, ...] = (first, second)
            else:
                self._move_evse(first, second.charge_point_id)
                changed = (first,)
            for evse in changed:
                evse.changed_at = self._world.second
                self._notify("evse.changed", "evseId", evse.id, "updated")
        self._after(MOVE_EVERY, self._move)

    def _move_evse(self, evse: Evse, charge_point_id: int) -> None:
        self._tenant.evse_ids[evse.charge_point_id].remove(evse.id)
        self._tenant.evse_ids[charge_point_id].append(evse.id)
        evse.charge_point_id = charge_point_id
        evse.number = len(self._tenant.evse_ids[charge_point_id])
