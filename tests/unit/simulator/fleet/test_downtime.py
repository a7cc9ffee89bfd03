"""Downtime periods follow the outages, and operators add, change and delete others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from simulator.app import Simulator
from simulator.fleet.downtime import AT_START
from simulator.fleet.fleet import Fleet
from simulator.fleet.model import Evse, Record, StatusChange
from tests.unit.simulator.support import RESOURCES, START, TOKEN, call, small

EVSE_PERIODS = "evse-downtime-periods"
CHARGE_POINT_PERIODS = "charge-point-downtime-periods"
DOWN = ("faulted", "unavailable")

#: No outage is longer, unless one begins while another lasts.
LONGEST_OUTAGE = timedelta(hours=6)


@pytest.fixture(scope="module")
def month() -> Fleet:
    """A tenant after a month with few vehicles."""
    fleet = Fleet(small(charge_points=12, evses=24, sessions_a_day=0.2))
    fleet.advance(START + timedelta(days=30))
    return fleet


def periods(fleet: Fleet, kind: str, entry_mode: str) -> list[Record]:
    return [row for row in fleet.tenant.records[kind].values() if row.fields["entryMode"] == entry_mode]


def outages(changes: list[tuple[datetime, bool]]) -> Iterator[tuple[datetime, datetime | None]]:
    """The beginning and the end of each outage, from the times at which an entity went down or came back."""
    since = None
    for at, is_down in changes:
        if is_down and since is None:
            since = at
        elif not is_down and since is not None:
            yield since, at
            since = None
    if since is not None:
        yield since, None


def states(network: list[StatusChange], *hardware: list[StatusChange]) -> list[tuple[datetime, bool]]:
    """Whether something is down after each change of the network's or of any hardware's status."""
    logs = [[(one.at, one.status != "available") for one in network]]
    logs += [[(one.at, one.status in DOWN) for one in log] for log in hardware]
    present: dict[int, bool] = defaultdict(bool)
    changes = []
    for at, number, is_down in sorted((at, number, down) for number, log in enumerate(logs) for at, down in log):
        present[number] = is_down
        changes.append((at, any(present.values())))
    return changes


def spans(records: list[Record]) -> list[tuple[datetime, datetime | None]]:
    def moment(text: str | None) -> datetime | None:
        return None if text is None else datetime.fromisoformat(text)

    return [(datetime.fromisoformat(row.fields["startedAt"]), moment(row.fields["endedAt"])) for row in records]


def test_each_outage_of_a_charge_point_opens_one_period_and_ends_it(month: Fleet) -> None:
    by_charge_point = defaultdict(list)
    for period in periods(month, CHARGE_POINT_PERIODS, "automatic"):
        by_charge_point[period.fields["chargePointId"]].append(period)
    assert sum(map(len, by_charge_point.values())) > 20
    for charge_point in month.tenant.live_charge_points():
        expected = list(outages(states(charge_point.network, charge_point.hardware)))
        assert spans(by_charge_point[charge_point.id]) == expected


def test_each_outage_of_an_evse_or_of_its_charge_point_opens_one_period_and_ends_it(month: Fleet) -> None:
    by_evse = defaultdict(list)
    for period in periods(month, EVSE_PERIODS, "automatic"):
        by_evse[period.fields["evseId"]].append(period)
    assert sum(map(len, by_evse.values())) > 40
    for evse in month.tenant.live_evses():
        charge_point = month.tenant.charge_points[evse.charge_point_id]
        if all(period.fields["chargePointId"] == charge_point.id for period in by_evse[evse.id]):
            begun = [
                (max(start, evse.created_at), end)
                for start, end in outages(states(charge_point.network, charge_point.hardware, evse.hardware))
                if end is None or end > evse.created_at
            ]
            assert spans(by_evse[evse.id]) == begun


def test_a_period_shows_the_statuses_of_its_beginning(month: Fleet) -> None:
    rows = periods(month, EVSE_PERIODS, "automatic")
    assert {row.fields["statuses"]["hardware"] for row in rows} >= {"faulted", "available"}
    assert {row.fields["statuses"]["network"] for row in rows} == {"available", "temporarily unavailable"}
    assert all(
        row.changed_at == datetime.fromisoformat(row.fields["startedAt"]) for row in rows if not row.fields["endedAt"]
    )


def test_the_period_of_a_removed_evse_ends(month: Fleet) -> None:
    still_open = {
        row.fields["evseId"] for row in periods(month, EVSE_PERIODS, "automatic") if not row.fields["endedAt"]
    }
    live = {evse.id for evse in month.tenant.live_evses()}
    assert still_open <= live


def test_a_fault_opens_a_period_and_the_recovery_ends_it() -> None:
    fleet = Fleet(small())
    evse = fleet.tenant.live_evses()[0]
    before = len(fleet.tenant.records[EVSE_PERIODS])
    report(fleet, evse, "faulted")
    (period,) = list(fleet.tenant.records[EVSE_PERIODS].values())[before:]
    assert period.fields["evseId"] == evse.id
    assert period.fields["endedAt"] is None
    report(fleet, evse, "unavailable")
    assert len(fleet.tenant.records[EVSE_PERIODS]) == before + 1
    report(fleet, evse, "available")
    assert period.fields["endedAt"] == "2026-03-04T00:00:00+00:00"
    assert period.changed_at == START


def report(fleet: Fleet, evse: Evse, status: str) -> None:
    """Let an EVSE report a status now."""
    fleet._charging.set_hardware(evse, status)


def test_operators_add_change_exempt_and_delete_periods(month: Fleet) -> None:
    for kind in (EVSE_PERIODS, CHARGE_POINT_PERIODS):
        by_hand = periods(month, kind, "manual")
        assert {row.fields["type"] for row in by_hand} == {"exempt"}
        assert all(row.fields["noticeId"] in month.tenant.records["downtime-period-notices"] for row in by_hand)
        assert any(row.is_deleted for row in by_hand)
        assert any(row.changed_at > START for row in by_hand[:AT_START])  # they were added before
        by_themselves = periods(month, kind, "automatic")
        assert {row.fields["type"] for row in by_themselves} == {"downtime", "exempt"}
        assert not any(row.is_deleted for row in by_themselves)


def test_a_deleted_period_is_shown_no_more() -> None:
    simulator = Simulator(small(), token=TOKEN)
    path = f"{RESOURCES}/{EVSE_PERIODS}/v1.0"
    period = next(iter(simulator.fleet.tenant.records[EVSE_PERIODS].values()))
    assert call(simulator, "GET", f"{path}/{period.id}").json()["data"]["entryMode"] == "manual"
    period.is_deleted = True
    assert call(simulator, "GET", f"{path}/{period.id}").status_code == 404
    assert period.id not in {row["id"] for row in call(simulator, "GET", path).json()["data"]}


def test_periods_are_filtered_by_change_time_and_duration(month: Fleet) -> None:
    simulator = Simulator(small(), token=TOKEN)
    simulator.fleet.tenant.records = month.tenant.records
    live = month.tenant.live_records(EVSE_PERIODS)

    def listed(**filters: Any) -> set[int]:
        query = "&".join(f"filter[{name}]={value}" for name, value in filters.items())
        following, ids = f"{RESOURCES}/{EVSE_PERIODS}/v1.0?{query}", set()
        while following:
            page = call(simulator, "GET", following).json()
            ids |= {row["id"] for row in page["data"]}
            following = page["links"]["next"]
        return ids

    changed = START + timedelta(days=20)
    assert listed(lastUpdatedAfter="2026-03-24T00:00:00Z") == {row.id for row in live if row.changed_at >= changed}
    assert listed(entryMode="manual", type="exempt") == {row.id for row in live if row.fields["entryMode"] == "manual"}
    minutes = {
        row.id: (end - start).total_seconds() / 60
        for row, (start, end) in zip(live, spans(live), strict=True)
        if end is not None
    }
    assert listed(durationLessThan=30) == {key for key, value in minutes.items() if value <= 30}
    assert listed(durationGreaterThan=30) == {key for key, value in minutes.items() if value >= 30}
    evse_id = live[0].fields["evseId"]
    assert listed(evseId=evse_id) == {row.id for row in live if row.fields["evseId"] == evse_id}
