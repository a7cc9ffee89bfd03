"""The tenant's life is plausible, and the same for the same seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import orjson
import pytest

from simulator.app import Simulator
from simulator.fleet.fleet import Fleet, Notification
from simulator.settings import TenantSettings
from tests.unit.simulator.support import RESOURCES, START, TOKEN, Day, call, small

DAY = timedelta(days=1)


def bodies(notifications: list[Notification], name: str) -> list[dict[str, Any]]:
    return [orjson.loads(one.body) for one in notifications if one.name == name]


def lived(settings: TenantSettings, step: timedelta) -> list[Notification]:
    fleet = Fleet(settings)
    notifications: list[Notification] = []
    while fleet.now < settings.start + DAY:
        notifications += fleet.advance(min(fleet.now + step, settings.start + DAY))
    return notifications


@pytest.fixture(scope="module")
def quiet_month() -> list[Notification]:
    """A month with few vehicles, for what happens rarely."""
    return Fleet(small(charge_points=20, evses=30, sessions_a_day=0.2)).advance(START + 30 * DAY)


@pytest.fixture(scope="module")
def small_day() -> list[Notification]:
    """A day of the small tenant, lived at once."""
    return Fleet(small()).advance(START + DAY)


def test_a_day_is_the_same_twice_byte_for_byte(day: Day) -> None:
    again = Fleet(TenantSettings(start=START)).advance(START + DAY)
    assert again == day.notifications


@pytest.mark.parametrize("step", [timedelta(seconds=7, milliseconds=300), timedelta(hours=5)])
def test_a_day_is_the_same_in_whatever_steps_it_is_lived(step: timedelta, small_day: list[Notification]) -> None:
    assert lived(small(), step) == small_day


def test_another_seed_gives_another_day(small_day: list[Notification]) -> None:
    assert Fleet(small(seed=2)).advance(START + DAY) != small_day


def test_asking_the_api_changes_nothing_in_the_tenants_life(small_day: list[Notification]) -> None:
    asked = Simulator(small(), token=TOKEN)
    notifications = []
    for hour in range(1, 25):
        notifications += asked.fleet.advance(START + timedelta(hours=hour))
        assert call(asked, "GET", f"{RESOURCES}/sessions/v1.0").status_code == 200
        call(asked, "GET", f"{RESOURCES}/evses/v2.1/{hour}")
    assert notifications == small_day


def test_the_tenant_begins_with_sessions_that_were_not_notified() -> None:
    fleet = Fleet(TenantSettings(start=START + timedelta(hours=12)))
    assert {session.status for session in fleet.tenant.sessions.values()} == {"active", "finished"}
    assert fleet.advance(fleet.now) == []


def test_every_kind_of_notification_is_sent_within_ten_days(quiet_month: list[Notification]) -> None:
    assert {one.name for one in quiet_month if one.at <= START + 10 * DAY} == {
        *("session.start.stop.notification", "SessionStartStopNotification", "SessionUpdateNotification"),
        *("SessionMeterValuesNotification", "HardwareStatusNotification", "NetworkStatusNotification"),
        *("BootNotification", "SecurityEventNotification", "chargePoint.changed", "evse.changed"),
        *("LocationChangedNotification", "ChargePointChangedNotification", "authorization.changed"),
        *("AuthorizationNotification", "transaction.changed", "reservation.changed"),
        *("TariffChangedNotification", "UserChangedNotification", "cdr.received"),
    }


def test_master_data_is_created_updated_and_deleted_in_time(quiet_month: list[Notification]) -> None:
    for name in ("chargePoint.changed", "evse.changed"):
        assert {body["action"] for body in bodies(quiet_month, name)} == {"created", "updated", "deleted"}
    assert any("evseId" not in body for body in bodies(quiet_month, "HardwareStatusNotification"))


def test_notifications_are_sent_in_the_order_of_their_times(day: Day) -> None:
    assert all(earlier.at <= later.at for earlier, later in pairwise(day.notifications))


def test_more_vehicles_come_by_day_than_by_night(day: Day) -> None:
    starts = Counter(
        datetime.fromisoformat(body["startedAtTimestamp"]).hour
        for body in bodies(day.notifications, "session.start.stop.notification")
        if body["action"] == "start"
    )
    assert sum(starts[hour] for hour in range(8, 20)) > 3 * sum(starts[hour] for hour in range(6))


def test_energy_never_falls_within_a_session_and_power_stays_within_its_evse(day: Day) -> None:
    energies: dict[str, list[int]] = defaultdict(list)
    for body in bodies(day.notifications, "SessionUpdateNotification"):
        energies[body["session"]["id"]].append(body["session"]["energyConsumption"]["total"])
    assert energies
    assert all(values == sorted(values) for values in energies.values())
    tenant = day.fleet.tenant
    assert all(one.peak_w <= tenant.evses[one.evse_id].max_power_w for one in tenant.sessions.values())


def test_energy_is_the_integral_of_power(day: Day) -> None:
    for session in day.fleet.tenant.sessions.values():
        if session.status != "active":
            continue  # later its samples are thinned
        energy_wh, at = 0.0, session.started_at
        for sample in session.samples:
            energy_wh += sample.power_w * (sample.at - at).total_seconds() / 3_600
            at = sample.at
        assert energy_wh == pytest.approx(session.energy_wh, rel=0.03, abs=5)


def test_the_register_agrees_with_the_energy(day: Day) -> None:
    for body in bodies(day.notifications, "session.start.stop.notification"):
        if body["action"] == "stop":
            assert body["meterStop"] - body["meterStart"] == body["energyConsumed"]


def test_an_evse_has_one_session_at_a_time(day: Day) -> None:
    running: dict[int, int] = {}
    for body in bodies(day.notifications, "session.start.stop.notification"):
        evse, session = body["evseId"], body["sessionId"]
        if body["action"] == "start":
            assert evse not in running
            running[evse] = session
        else:
            assert running.pop(evse, session) == session


def test_a_session_goes_through_the_evses_statuses_in_order(day: Day) -> None:
    follows = {
        "available": {"preparing", "faulted"},
        "preparing": {"charging", "available"},
        "charging": {"suspendedEV", "finishing", "faulted"},
        "suspendedEV": {"finishing", "faulted"},
        "finishing": {"available"},
        "faulted": {"available"},
    }
    for evse in day.fleet.tenant.evses.values():
        for earlier, later in pairwise(evse.hardware):
            assert later.status in follows[earlier.status]


def test_a_fast_chargers_power_falls_as_the_battery_fills(day: Day) -> None:
    tenant = day.fleet.tenant
    falls = 0
    for session in tenant.sessions.values():
        if tenant.evses[session.evse_id].current_type == "dc" and session.soc_percent > 75:
            falls += session.samples[-1].power_w < session.peak_w * 0.8
    assert falls > 20


def test_every_stopped_session_is_billed_and_paid() -> None:
    fleet = Fleet(small())
    fleet.advance(START + DAY)
    stopped = [one for one in fleet.tenant.sessions.values() if one.stopped_at is not None]
    fleet.advance(START + DAY + timedelta(hours=1))
    assert len(stopped) > 20
    assert {(one.billing_status, one.payment_status) for one in stopped} == {("completed", "paid")}
    paid = {one.session_id: one for one in fleet.tenant.transactions.values() if one.status == "finalized"}
    assert all(paid[one.id].amount == one.amount_with_tax for one in stopped)


def test_a_refused_card_starts_no_session(day: Day) -> None:
    refused = [one for one in day.fleet.tenant.authorizations.values() if not one.is_accepted]
    assert refused
    assert all(one.session_id is None for one in refused)


def test_an_offline_charge_point_sends_no_session_until_it_returns(day: Day) -> None:
    offline: set[int] = set()
    seen = 0
    for one in day.notifications:
        body = orjson.loads(one.body)
        if one.name == "NetworkStatusNotification":
            (offline.discard if body["networkStatus"] == "available" else offline.add)(body["chargePointId"])
            seen += 1
        elif one.name in ("SessionMeterValuesNotification", "session.start.stop.notification"):
            assert body["chargePointId"] not in offline
    assert seen > 5


def test_a_finished_sessions_consumption_is_thinned_to_three_hundred_points(day: Day) -> None:
    finished = [one for one in day.fleet.tenant.sessions.values() if one.billing_status == "completed"]
    assert max(one.samples_taken for one in finished) > 300
    assert max(len(one.samples) for one in finished) == 300
    assert all(one.samples[-1].energy_wh == one.energy_wh for one in finished)
