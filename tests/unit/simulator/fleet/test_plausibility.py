"""Several days of a tenant hold together: in what it keeps, in what it shows and in what it sent."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest

from simulator.app import Simulator
from simulator.fleet import resources
from simulator.fleet.fleet import Fleet, Notification
from simulator.fleet.vehicles import arrive
from simulator.settings import Faults
from tests.unit.simulator.support import RESOURCES, START, TOKEN, call, small

DAYS = 4


@dataclass
class Life:
    fleet: Fleet
    sent: list[dict[str, Any]] = field(default_factory=list)
    #: Each `lastUpdatedAt` that a resource showed, hour by hour.
    shown: dict[tuple[str, int], list[datetime]] = field(default_factory=lambda: defaultdict(list))
    #: EVSEs that had more than one active session, at any hour.
    shared: list[int] = field(default_factory=list)


@pytest.fixture(scope="module")
def life() -> Life:
    """Days of a small tenant, looked at every hour, and two hours in which every stopped session is paid."""
    life = Life(Fleet(small()))
    tenant = life.fleet.tenant
    for hour in range(1, DAYS * 24 + 3):
        life.sent += [orjson.loads(one.body) for one in life.fleet.advance(START + timedelta(hours=hour))]
        active = [session.evse_id for session in tenant.sessions.values() if session.status == "active"]
        life.shared += [evse for evse in set(active) if active.count(evse) > 1]
        for kind in ("locations", "charge_points", "evses", "sessions", "authorizations", "transactions"):
            for key, entity in getattr(tenant, kind).items():
                life.shown[kind, key].append(entity.changed_at)
    return life


def named(life: Life, name: str) -> list[dict[str, Any]]:
    return [body for body in life.sent if body["notification"] == name]


def test_no_last_updated_at_goes_back(life: Life) -> None:
    assert len(life.shown) > 500
    for times in life.shown.values():
        assert times == sorted(times)
    latest: dict[tuple[str, Any], datetime] = {}
    for body in life.sent:
        holder, key = _subject(body)
        if "lastUpdatedAt" in holder:
            at = datetime.fromisoformat(holder["lastUpdatedAt"])
            assert at >= latest.get((body["notification"], key), at)
            latest[body["notification"], key] = at
    assert len(latest) > 500


def test_an_evse_never_has_two_active_sessions(life: Life) -> None:
    assert life.shared == []


def test_a_sessions_energy_never_falls_in_any_notification(life: Life) -> None:
    energies: dict[int, list[int]] = defaultdict(list)
    for body in life.sent:
        match body["notification"]:
            case "SessionMeterValuesNotification":
                consumed = next(one for one in body["meterValues"] if one["measurand"] == "Energy Consumed")
                energies[body["sessionId"]].append(consumed["value"])
            case "SessionUpdateNotification":
                energies[int(body["session"]["id"])].append(body["session"]["energyConsumption"]["total"])
            case "session.start.stop.notification":
                energies[body["sessionId"]].append(body["meterStop"] - body["meterStart"])
    assert len(energies) > 100
    assert all(values == sorted(values) for values in energies.values())


def test_an_evses_register_continues_where_the_session_before_left_it(life: Life) -> None:
    register: dict[int, int] = {}
    stops = 0
    for body in named(life, "session.start.stop.notification"):
        if body["action"] == "start":
            assert body["meterStart"] == register.get(body["evseId"], body["meterStart"])
        else:
            assert body["meterStop"] - body["meterStart"] == body["energyConsumed"]
            stops += 1
        register[body["evseId"]] = body["meterStop"]
    assert stops > 100


@pytest.mark.parametrize("current_type", ["ac", "dc"])
def test_power_is_never_above_what_evse_and_vehicle_can_bear(
    current_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given vehicles of which none takes more than 3 kW of AC, or 30 kW of DC
    most = {"ac": 3_000, "dc": 30_000}

    def weak(*given: Any) -> Any:
        vehicle = arrive(*given)
        object.__setattr__(vehicle, "most_ac_w", most["ac"])
        object.__setattr__(vehicle, "most_dc_w", most["dc"])
        return vehicle

    monkeypatch.setattr("simulator.fleet.fleet.arrive", weak)
    # When they charge
    fleet = Fleet(small())
    fleet.advance(START + timedelta(hours=12))
    # Then neither the session nor a sample of it says more
    tenant = fleet.tenant
    sessions = [one for one in tenant.sessions.values() if tenant.evses[one.evse_id].current_type == current_type]
    assert len(sessions) > 10
    for session in sessions:
        bound = min(most[current_type], tenant.evses[session.evse_id].max_power_w)
        assert max([session.peak_w, *(sample.power_w for sample in session.samples)]) <= bound


def test_every_session_that_stopped_ends_billed_and_paid_with_one_finalized_transaction(life: Life) -> None:
    by_session: dict[int, list[Any]] = defaultdict(list)
    for transaction in life.fleet.tenant.transactions.values():
        by_session[transaction.session_id].append(transaction)
    settled = life.fleet.now - timedelta(hours=1)
    stopped = [s for s in life.fleet.tenant.sessions.values() if s.stopped_at is not None and s.stopped_at < settled]
    assert len(stopped) > 100
    for session in stopped:
        assert (session.billing_status, session.payment_status) == ("completed", "paid")
        (transaction,) = by_session[session.id]
        assert (transaction.status, transaction.amount) == ("finalized", session.amount_with_tax)


def test_a_faulted_evse_recovers(life: Life) -> None:
    tenant, faults = life.fleet.tenant, 0
    for evse in tenant.evses.values():
        for number, change in enumerate(evse.hardware):
            if change.status == "faulted" and change.at < life.fleet.now - timedelta(hours=4):
                faults += 1
                assert evse.hardware[number + 1].status == "available"
                assert timedelta(minutes=5) <= evse.hardware[number + 1].at - change.at <= timedelta(hours=3)
    assert faults > 3


def test_a_charge_point_that_went_offline_returns(life: Life) -> None:
    outages = 0
    for charge_point in life.fleet.tenant.charge_points.values():
        for number, change in enumerate(charge_point.network):
            if change.status != "available" and change.at < life.fleet.now - timedelta(hours=1):
                outages += 1
                assert charge_point.network[number + 1].status == "available"
                assert charge_point.network[number + 1].at - change.at <= timedelta(minutes=41)
    assert outages > 2


def test_the_last_notification_of_a_paid_session_is_what_the_api_shows(life: Life) -> None:
    sent = {int(body["session"]["id"]): body["session"] for body in named(life, "SessionUpdateNotification")}
    tenant = life.fleet.tenant
    settled = [one for one in tenant.sessions.values() if one.payment_status == "paid" and one.id in sent]
    assert len(settled) > 100
    for session in settled:
        shown = resources.session_resource(
            session,
            tenant.authorizations[session.authorization_id],
            with_authorization=True,
            with_charging_periods=True,
        )
        assert sent[session.id] == shown


def test_the_statuses_that_were_sent_last_are_those_that_the_api_shows(life: Life) -> None:
    tenant = life.fleet.tenant
    hardware = {body["evseId"]: body for body in named(life, "HardwareStatusNotification") if "evseId" in body}
    network = {body["chargePointId"]: body for body in named(life, "NetworkStatusNotification")}
    assert hardware
    assert network
    for key, body in hardware.items():
        assert (body["hardwareStatus"], body["timestamp"]) == _last(tenant.evses[key].hardware)
    for key, body in network.items():
        assert (body["networkStatus"], body["timestamp"]) == _last(tenant.charge_points[key].network)


def test_faults_and_calls_do_not_change_the_history() -> None:
    # Given one tenant that is left alone, and one that is asked, changed by hand and full of faults
    alone = Fleet(small())
    faults = Faults(drop=0.3, duplicate=0.3, reorder=0.5, delay=0.2, api_429=0.3, api_500=0.2)
    troubled = Simulator(small(), token=TOKEN, faults=faults)
    # When both live the same hours
    sent: list[Notification] = []
    for minutes in range(30, 12 * 60 + 1, 30):
        step = troubled.fleet.advance(START + timedelta(minutes=minutes))
        troubled.delivery.post(step, troubled.fleet.now)
        sent += step
        call(troubled, "GET", f"{RESOURCES}/sessions/v1.0")
        call(troubled, "PATCH", "/control/faults", json={"drop": minutes / 1_000})
    # Then both send the same
    assert troubled.fault_injector.counts["dropped"] > 100
    assert sent == alone.advance(START + timedelta(hours=12))


def test_a_start_in_another_zone_is_the_same_moment() -> None:
    elsewhere = Fleet(small(start="2026-03-04T02:00:00+02:00")).advance(START + timedelta(hours=2))
    assert elsewhere == Fleet(small()).advance(START + timedelta(hours=2))


def _last(log: list[Any]) -> tuple[str, str]:
    return log[-1].status, resources.instant(log[-1].at)


def _subject(body: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """What a notification is about, and its id."""
    for name in ("session", "location", "chargePoint", "tariff", "user"):
        if isinstance(body.get(name), dict):
            return body[name], body[name]["id"]
    keys = ("sessionId", "transactionId", "authorizationId", "reservationId", "evseId", "chargePointId", "id")
    return body, next(body[name] for name in keys if name in body)
