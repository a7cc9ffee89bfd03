"""Commerce in the fleet: reservations, tariffs, users with their id tags, and partners.

It has a random generator of its own, so that it does not change what the seed makes of the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from simulator.fleet import payloads
from simulator.fleet.build import FIRST_PARTNER, partner_of
from simulator.fleet.model import IdTag, Partner, Reservation, Tariff, Tenant, User
from simulator.fleet.resources import TARIFF_GROUP_ID, instant, tariff_resource, user_resource
from simulator.fleet.world import World

#: The mean time between two events of each sort in the whole tenant.
RESERVE_EVERY = timedelta(hours=3)
REPRICE_EVERY = timedelta(hours=12)
EDIT_USER_EVERY = timedelta(hours=6)

RESERVED_FOR = timedelta(minutes=15)

#: The outcomes of reservations: most drivers arrive, some cancel, some never arrive.
_OUTCOMES = ("done", "done", "done", "canceled", "expired")

#: The users that the API shows; sessions also have users without an account here.
FIRST_USER, USERS = 5_000, 40
FIRST_TARIFF, FIRST_ID_TAG, FIRST_RESERVATION = TARIFF_GROUP_ID, 600, 800

_TARIFFS = (("DC standard", 0.45), ("AC standard", 0.32), ("Night", 0.28))
_PARTNERS = ("Harbour Fleet Ltd", "Mill Estates", "Station Parking")
_NAMES = ("Ana", "Boris", "Elena", "Georgi", "Ivan", "Maria", "Nina", "Petar")


def furnish(tenant: Tenant, now: datetime) -> None:
    """Add tariffs, users, id tags and partners to a tenant."""
    old = (now - timedelta(days=200)).replace(microsecond=0)
    for number, (name, price) in enumerate(_TARIFFS):
        tenant.tariffs[FIRST_TARIFF + number] = Tariff(FIRST_TARIFF + number, name, price, old)
    for number, company in enumerate(_PARTNERS):
        tenant.partners[FIRST_PARTNER + number] = Partner(FIRST_PARTNER + number, company, old)
    for charge_point in tenant.charge_points.values():
        charge_point.partner_id = partner_of(tenant, charge_point.id)
    for number in range(USERS):
        user_id = FIRST_USER + number
        tenant.users[user_id] = User(user_id, _NAMES[number % len(_NAMES)], old, old)
        tag_id = FIRST_ID_TAG + number
        tenant.id_tags[tag_id] = IdTag(tag_id, f"04{user_id:08X}", user_id, old)


class Commerce:
    """The simulation of reservations, price changes and edits of users."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._tenant = world.tenant
        self._rng = random.Random(f"commerce {seed}")  # noqa: S311 - a simulation, not a secret
        self._next_reservation = FIRST_RESERVATION
        furnish(world.tenant, world.now)

    def expect(self) -> None:
        """Schedule the first event of each sort."""
        self._after(RESERVE_EVERY, self._reserve)
        self._after(REPRICE_EVERY, self._reprice)
        self._after(EDIT_USER_EVERY, self._edit_user)

    def _after(self, mean: timedelta, action: Callable[[], None]) -> None:
        self._world.timeline.after(timedelta(seconds=self._rng.expovariate(1 / mean.total_seconds())), action)

    def _reserve(self) -> None:
        evses = [evse for evse in self._tenant.live_evses() if evse.status == "available"]
        if evses:
            evse = self._rng.choice(evses)
            now = self._world.second
            reservation = Reservation(
                id=self._next_reservation,
                charge_point_id=evse.charge_point_id,
                evse_id=evse.id,
                user_id=self._rng.choice([user.id for user in self._tenant.users.values() if not user.is_deleted]),
                reserved_at=now,
                changed_at=now,
                minutes=int(RESERVED_FOR.total_seconds()) // 60,
            )
            self._next_reservation += 1
            self._tenant.reservations[reservation.id] = reservation
            self._world.notify(payloads.reservation_changed(reservation))
            outcome = self._rng.choice(_OUTCOMES)
            ends_after = RESERVED_FOR * (1 if outcome == "expired" else self._rng.uniform(0.1, 0.9))
            self._world.timeline.after(ends_after, partial(self._end, reservation, outcome))
        self._after(RESERVE_EVERY, self._reserve)

    def _end(self, reservation: Reservation, outcome: str) -> None:
        reservation.status = outcome
        reservation.changed_at = self._world.second
        if outcome == "canceled":
            reservation.canceled_at = self._world.second
        self._world.notify(payloads.reservation_changed(reservation))

    def _reprice(self) -> None:
        tariff = self._rng.choice([tariff for tariff in self._tenant.tariffs.values() if not tariff.is_deleted])
        tariff.price_per_kwh = round(tariff.price_per_kwh + self._rng.choice((-0.01, 0.01)), 2)
        tariff.changed_at = self._world.second
        at = instant(tariff.changed_at)
        self._world.notify(payloads.snapshot("TariffChangedNotification", "tariff", tariff_resource(tariff), at))
        self._after(REPRICE_EVERY, self._reprice)

    def _edit_user(self) -> None:
        user = self._rng.choice([user for user in self._tenant.users.values() if not user.is_deleted])
        user.wants_news = not user.wants_news
        user.changed_at = self._world.second
        at = instant(user.changed_at)
        self._world.notify(payloads.snapshot("UserChangedNotification", "user", user_resource(user), at))
        self._after(EDIT_USER_EVERY, self._edit_user)
