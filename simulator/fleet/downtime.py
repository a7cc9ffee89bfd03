"""Downtime periods of charge points and EVSEs, and what operators do with them.

A period opens by itself when a charge point goes offline, or it or an EVSE reports that it is faulted
or unavailable, and ends when nothing of that is left. Operators add exempt periods by hand, change and
delete them, and give notices to periods that opened by themselves.

It has a random generator of its own, so that it does not change what the seed makes of the rest.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from simulator.fleet.model import ChargePoint, Evse, Record
from simulator.fleet.records.record import Fields, add
from simulator.fleet.resources import instant
from simulator.fleet.world import World

EVSE_PERIODS, CHARGE_POINT_PERIODS = "evse-downtime-periods", "charge-point-downtime-periods"
FIRST_EVSE_PERIOD, FIRST_CHARGE_POINT_PERIOD = 300_000, 200_000

#: The mean time between two events of each sort in the whole tenant.
ADD_EVERY = timedelta(hours=18)  # an exempt period is added by hand
EDIT_EVERY = timedelta(hours=12)  # a period that was added by hand is changed
EXEMPT_EVERY = timedelta(hours=12)  # a period that opened by itself is exempted
DELETE_EVERY = timedelta(hours=48)  # a period that was added by hand is deleted

#: Periods that were added by hand before the start, of each sort.
AT_START = 3

_DOWN = frozenset({"faulted", "unavailable"})


class Downtime:
    """The simulation of downtime periods."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._tenant = world.tenant
        self._rng = random.Random(f"downtime {seed}")  # noqa: S311 - a simulation, not a secret
        self._open_of_evse: dict[int, Record] = {}
        self._open_of_charge_point: dict[int, Record] = {}
        self._tenant.records |= {EVSE_PERIODS: {}, CHARGE_POINT_PERIODS: {}}
        world.follow("HardwareStatusNotification", self._hardware_changed)
        world.follow("NetworkStatusNotification", lambda body: self._charge_point_changed(body["chargePointId"]))
        world.follow("chargePoint.changed", lambda body: self._charge_point_changed(body["chargePointId"]))
        world.follow("evse.changed", lambda body: self._look_at_evse(self._tenant.evses[body["evseId"]]))
        for number in range(AT_START):
            at = world.second - timedelta(days=3 + number)
            self._add_by_hand(self._rng.choice(self._tenant.live_evses()), at)
            self._add_by_hand(self._rng.choice(self._tenant.live_charge_points()), at)

    def expect(self) -> None:
        """Schedule the first event of each sort."""
        for every, action in (
            (ADD_EVERY, self._plan),
            (EDIT_EVERY, self._edit),
            (EXEMPT_EVERY, self._exempt),
            (DELETE_EVERY, self._delete),
        ):
            self._again(every, action)

    def _again(self, mean: timedelta, action: Callable[[], None]) -> None:
        def act() -> None:
            action()
            self._again(mean, action)

        self._world.timeline.after(timedelta(seconds=self._rng.expovariate(1 / mean.total_seconds())), act)

    def _hardware_changed(self, body: dict[str, Any]) -> None:
        if "evseId" in body:
            self._look_at_evse(self._tenant.evses[body["evseId"]])
        else:
            self._charge_point_changed(body["chargePointId"])

    def _charge_point_changed(self, charge_point_id: int) -> None:
        charge_point = self._tenant.charge_points[charge_point_id]
        is_down = not charge_point.is_deleted and _is_down(charge_point)
        period = self._open_of_charge_point.get(charge_point_id)
        if is_down and period is None:
            self._open_of_charge_point[charge_point_id] = self._open(charge_point)
        elif not is_down and period is not None:
            self._end(self._open_of_charge_point.pop(charge_point_id))
        for evse in self._tenant.evses_of(charge_point_id):
            self._look_at_evse(evse)

    def _look_at_evse(self, evse: Evse) -> None:
        charge_point = self._tenant.charge_points[evse.charge_point_id]
        is_down = not evse.is_deleted and (evse.status in _DOWN or _is_down(charge_point))
        period = self._open_of_evse.get(evse.id)
        if period is not None and (not is_down or period.fields["chargePointId"] != charge_point.id):
            self._end(self._open_of_evse.pop(evse.id))
            period = None
        if is_down and period is None:
            self._open_of_evse[evse.id] = self._open(evse)

    def _open(self, hardware: ChargePoint | Evse) -> Record:
        now = self._world.second
        return self._add(hardware, now, {"startedAt": instant(now), "endedAt": None}, "automatic", "downtime")

    def _end(self, period: Record) -> None:
        period.fields["endedAt"] = instant(self._world.second)
        period.changed_at = self._world.second

    def _add(self, hardware: ChargePoint | Evse, at: datetime, times: Fields, entry_mode: str, type_: str) -> Record:
        if isinstance(hardware, Evse):
            kind, first_id = EVSE_PERIODS, FIRST_EVSE_PERIOD
            charge_point = self._tenant.charge_points[hardware.charge_point_id]
            fields: Fields = {"evseId": hardware.id}
        else:
            kind, first_id = CHARGE_POINT_PERIODS, FIRST_CHARGE_POINT_PERIOD
            charge_point, fields = hardware, {}
        fields |= {
            "chargePointId": charge_point.id,
            **times,
            "locationId": charge_point.location_id,
            "entryMode": entry_mode,
            "type": type_,
            "statuses": {
                "system": "enabled",
                "network": charge_point.network[-1].status,
                "hardware": hardware.hardware[-1].status,
            },
        }
        return add(self._tenant, kind, first_id, fields, at)

    def _plan(self) -> None:
        """Exempt some hours that are about to begin, of an EVSE or a charge point."""
        hardware: list[Any] = self._rng.choice((self._tenant.live_evses(), self._tenant.live_charge_points()))
        if hardware:
            self._add_by_hand(self._rng.choice(hardware), self._world.second)

    def _add_by_hand(self, hardware: ChargePoint | Evse, at: datetime) -> None:
        start = at + timedelta(minutes=self._rng.randrange(0, 240))
        end = start + timedelta(minutes=self._rng.randrange(30, 480))
        times: Fields = {"startedAt": instant(start), "endedAt": instant(end)}
        self._add(hardware, at, times, "manual", "exempt").fields["noticeId"] = self._notice_id()

    def _edit(self) -> None:
        """Let a period that was added by hand end later, or for another reason."""
        period = self._choose("manual")
        if period is not None:
            ends_at = datetime.fromisoformat(period.fields["endedAt"])
            period.fields["endedAt"] = instant(ends_at + timedelta(minutes=self._rng.randrange(15, 120)))
            period.fields["noticeId"] = self._notice_id()
            period.changed_at = self._world.second

    def _exempt(self) -> None:
        """Give a period that opened by itself the notice of an exempt one."""
        period = self._choose("automatic")
        if period is not None:
            period.fields |= {"noticeId": self._notice_id(), "type": "exempt"}
            period.changed_at = self._world.second

    def _delete(self) -> None:
        period = self._choose("manual")
        if period is not None:
            period.is_deleted = True

    def _choose(self, entry_mode: str) -> Record | None:
        kind = self._rng.choice((EVSE_PERIODS, CHARGE_POINT_PERIODS))
        periods = [row for row in self._tenant.live_records(kind) if row.fields["entryMode"] == entry_mode]
        return self._rng.choice(periods) if periods else None

    def _notice_id(self) -> int:
        notices = self._tenant.live_records("downtime-period-notices")
        return self._rng.choice([notice.id for notice in notices if notice.fields["type"] == "exempt"])


def _is_down(charge_point: ChargePoint) -> bool:
    return not charge_point.is_online or charge_point.hardware[-1].status in _DOWN
