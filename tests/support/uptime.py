"""An EVSE whose outages of March 2026 are known to the second, from notifications that were received and applied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from storage.state.changes import ChangeSet
from storage.state.fold import Fact, fact_from_read
from storage.write import write_changes
from tests.support.analytics import derive
from tests.support.facts import sample
from tests.support.service import Service

TENANT = "demo"
EVSE, CHARGE_POINT, LOCATION = 902, 418, 7

#: Another EVSE of the charge point, which never was faulted.
NEIGHBOUR = 903

#: Receivers have been alive since then, and the EVSE has been there since 3 March 2025, a day before.
BEGAN_AT = datetime(2025, 3, 1, tzinfo=UTC)
SEEN_AT = BEGAN_AT + timedelta(days=2)

#: When the EVSE was down, in UTC: faulted for two hours, offline for a day, by AMPECO's account ten minutes less.
FAULTED = datetime(2026, 3, 4, 8, tzinfo=UTC), datetime(2026, 3, 4, 10, tzinfo=UTC)
OFFLINE = datetime(2026, 3, 10, 6, tzinfo=UTC), datetime(2026, 3, 11, 6, tzinfo=UTC)
OUTAGE_S = 2 * 3600 + 24 * 3600

#: The months of which pages are shown.
MONTH = "2026-03"

#: Names that a page must show and not obey.
HOSTILE = "<script>alert(1)</script>" + "\u202e" + "'\"&" + "x" * 10_000


def _read(kind: str, entity_id: int, **values: Any) -> Fact:
    return fact_from_read(kind, entity_id, "master", BEGAN_AT, {**values, "raw": {}}, began_at=BEGAN_AT)


def follow_evse(service: Service, *, name: str = "Forest Road") -> None:
    """Store an EVSE with its place, send what happened to it, apply it and derive everything.

    Parameters:
        name: of its location, its charge point and itself.
    """
    changes = ChangeSet(
        facts=[
            _read("location", LOCATION, name=name, timezone="Europe/Sofia"),
            _read("charge_point", CHARGE_POINT, name=name, location_id=LOCATION, access_type="public"),
            _read("evse", EVSE, label=name, charge_point_id=CHARGE_POINT, max_power_w=100_000),
            _read(
                "charge_point_downtime_period",
                5,
                charge_point_id=CHARGE_POINT,
                type="downtime",
                started_at=OFFLINE[0] + timedelta(minutes=10),
                ended_at=OFFLINE[1],
            ),
        ]
    )
    with service.engine.begin() as connection:
        connection.execute(text("INSERT INTO ingest.uptime VALUES (:at, now())"), {"at": BEGAN_AT})
        write_changes(connection, TENANT, changes)
    send_status(service, "NetworkStatusNotification.available", SEEN_AT)
    send_status(service, "HardwareStatusNotification.evse", SEEN_AT, hardwareStatus="available")
    send_status(service, "HardwareStatusNotification.faulted", FAULTED[0])
    send_status(service, "HardwareStatusNotification.evse", FAULTED[1], hardwareStatus="available")
    send_status(service, "NetworkStatusNotification.offline", OFFLINE[0])
    send_status(service, "NetworkStatusNotification.available", OFFLINE[1])
    service.apply()
    derive(service.engine, TENANT)


def add_neighbour(service: Service) -> None:
    """Store the other EVSE of the charge point, send its status, apply and derive it."""
    neighbour = _read("evse", NEIGHBOUR, label="Brook Road", charge_point_id=CHARGE_POINT, max_power_w=100_000)
    with service.engine.begin() as connection:
        write_changes(connection, TENANT, ChangeSet(facts=[neighbour]))
    send_status(service, "HardwareStatusNotification.evse", SEEN_AT, evseId=NEIGHBOUR, hardwareStatus="available")
    service.apply()
    derive(service.engine, TENANT)


def send_status(service: Service, name: str, moment: datetime, **values: Any) -> None:
    """Send the notification of a sample with another time and other values."""
    assert service.post(sample(name) | {"timestamp": moment.isoformat(), **values}).status_code == 202
