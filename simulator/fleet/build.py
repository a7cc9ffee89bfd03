"""Build the tenant's locations, charge points and EVSEs."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from simulator.fleet.makes import MAKES
from simulator.fleet.model import ChargePoint, Evse, Location, StatusChange, Tenant
from simulator.settings import TenantSettings

_PLACES = ("Quayside", "Station", "Market", "Harbour", "Airport", "Museum", "Stadium", "Park", "Mill", "Library")
_KINDS = ("Hub", "Garage", "Square", "Plaza")
_CITIES = (("Varna", 43.2045, 27.9191), ("Sofia", 42.6977, 23.3219), ("Plovdiv", 42.1354, 24.7453))

#: Ids of different kinds begin far apart, so that a confusion of kinds is obvious.
FIRST_LOCATION, FIRST_CHARGE_POINT, FIRST_EVSE, FIRST_CONNECTOR = 60, 400, 10_000, 100_000

#: The roaming partner of foreign EVSEs, their first id, and how many EVSEs one of its charge points has.
ROAMING_OPERATOR = 7
FIRST_FOREIGN = 5_000_000
FOREIGN_EVSES_EACH = 10

#: Every fourth charge point belongs to a partner, of the partners in turn.
PARTNERED, FIRST_PARTNER, PARTNERS = 4, 30, 3

#: The contract of the first partner; those of the others follow in the same order.
FIRST_CONTRACT = 4_300

#: Every second charge point is a DC one.
_DC_POWERS = (50_000, 75_000, 150_000)
_AC_POWERS = (7_400, 11_000, 22_000)


def build(rng: random.Random, settings: TenantSettings, now: datetime) -> Tenant:
    """Create the tenant with its locations, charge points and EVSEs."""
    tenant = Tenant()
    old = (now - timedelta(days=270)).replace(microsecond=0)
    for number in range(settings.locations):
        city, latitude, longitude = _CITIES[number % len(_CITIES)]
        place = f"{_PLACES[number % len(_PLACES)]} {_KINDS[number // len(_PLACES) % len(_KINDS)]}"
        tenant.locations[FIRST_LOCATION + number] = Location(
            id=FIRST_LOCATION + number,
            name=place if number < len(_PLACES) * len(_KINDS) else f"{place} {number}",
            street=f"{rng.randrange(1, 200)} {place} Street",
            city=city,
            latitude=round(latitude + rng.uniform(-0.05, 0.05), 6),
            longitude=round(longitude + rng.uniform(-0.05, 0.05), 6),
            changed_at=old + timedelta(minutes=number),
        )
    for number in range(settings.charge_points):
        created = old + timedelta(hours=number % 2_000)
        add_charge_point(rng, tenant, FIRST_CHARGE_POINT + number, created, now - timedelta(days=1))
    for number in range(settings.evses):
        charge_point_id = FIRST_CHARGE_POINT + number % settings.charge_points
        add_evse(rng, tenant, charge_point_id, FIRST_EVSE + number, old, now - timedelta(hours=1))
    _add_foreign(tenant, settings.foreign_evses, old)
    return tenant


def _add_foreign(tenant: Tenant, evses: int, since: datetime) -> None:
    """Add EVSEs of a roaming partner, and a charge point for every ten of them."""
    location_id = next(iter(tenant.locations))
    for number in range(evses):
        charge_point_id = FIRST_FOREIGN + number // FOREIGN_EVSES_EACH
        if charge_point_id not in tenant.foreign_charge_points:
            tenant.foreign_charge_points[charge_point_id] = ChargePoint(
                id=charge_point_id,
                name=f"Partner {charge_point_id}",
                location_id=location_id,
                vendor="",
                model="",
                serial_number=f"RP-{charge_point_id}",
                firmware="",
                created_at=since,
                changed_at=since,
                booted_at=since,
                network=[StatusChange(since, "available")],
                hardware=[StatusChange(since, "available")],
                roaming_operator_id=ROAMING_OPERATOR,
            )
        evse_id = FIRST_FOREIGN + number
        tenant.foreign_evses[evse_id] = Evse(
            id=evse_id,
            charge_point_id=charge_point_id,
            number=number % FOREIGN_EVSES_EACH + 1,
            connector_id=evse_id,
            current_type="ac",
            max_power_w=22_000,
            label=f"RP*{evse_id}",
            created_at=since,
            changed_at=since,
            meter_wh=0,
            hardware=[StatusChange(since, "available")],
            roaming_operator_id=ROAMING_OPERATOR,
        )


def add_charge_point(
    rng: random.Random, tenant: Tenant, charge_point_id: int, created: datetime, online_since: datetime
) -> ChargePoint:
    """Add a charge point without EVSEs to the tenant, and return it."""
    number = charge_point_id - FIRST_CHARGE_POINT
    location_id = FIRST_LOCATION + number % len(tenant.locations)
    while tenant.locations[location_id].is_deleted:
        location_id = FIRST_LOCATION + (location_id + 1 - FIRST_LOCATION) % len(tenant.locations)
    vendor, model, firmware = MAKES[number % len(MAKES)]
    tenant.evse_ids[charge_point_id] = []
    charge_point = tenant.charge_points[charge_point_id] = ChargePoint(
        id=charge_point_id,
        name=f"{tenant.locations[location_id].name} {number // len(tenant.locations) + 1}",
        location_id=location_id,
        vendor=vendor,
        model=model,
        serial_number=f"{vendor[:2].upper()}-{rng.randrange(10**6):06d}-{charge_point_id}",
        firmware=firmware,
        created_at=created,
        changed_at=created,
        booted_at=created,
        network=[StatusChange(online_since, "available")],
        hardware=[StatusChange(online_since, "available")],
        partner_id=partner_of(tenant, charge_point_id),
    )
    return charge_point


def partner_of(tenant: Tenant, charge_point_id: int) -> int | None:
    """Return the partner that owns a new charge point; None if the operator owns it."""
    number = charge_point_id - FIRST_CHARGE_POINT
    partner = tenant.partners.get(FIRST_PARTNER + number // PARTNERED % PARTNERS)
    return None if number % PARTNERED or partner is None or partner.is_deleted else partner.id


def contract_id(partner_id: int) -> int:
    """Return the id of a partner's contract."""
    return FIRST_CONTRACT + partner_id - FIRST_PARTNER


def add_evse(
    rng: random.Random, tenant: Tenant, charge_point_id: int, evse_id: int, created: datetime, free_since: datetime
) -> Evse:
    """Add an EVSE to a charge point, and return it."""
    siblings = tenant.evse_ids[charge_point_id]
    siblings.append(evse_id)
    number = len(siblings)
    current_type = "dc" if charge_point_id % 2 else "ac"
    evse = tenant.evses[evse_id] = Evse(
        id=evse_id,
        charge_point_id=charge_point_id,
        number=number,
        connector_id=FIRST_CONNECTOR + evse_id,
        current_type=current_type,
        max_power_w=rng.choice(_DC_POWERS if current_type == "dc" else _AC_POWERS),
        label=f"EV-{charge_point_id}-{number}",
        created_at=created.replace(microsecond=0),
        changed_at=created.replace(microsecond=0),
        meter_wh=rng.randrange(10_000, 2_000_000),
        hardware=[StatusChange(free_since.replace(microsecond=0), "available")],
    )
    return evse
