"""Random facts about a small site, as notifications and reads would report them: moves, corrections, ties and removals.

Three locations, two charge points, three EVSEs and five sessions are enough that whatever may concern another entity
does so often.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from random import Random
from typing import Any

from storage.schema.entities import MIRRORS
from storage.state.changes import ChangeSet
from storage.state.fold import Fact, fact_from_notification, fact_from_read
from tests.support.analytics import at, belongs, gone

HOUR = 60
DAY = 24 * HOUR

LOCATIONS, CHARGE_POINTS, EVSES, CONNECTORS = (1, 2, 3), (1, 2), (11, 12, 13), (111, 112)
MODELS, VENDORS, TARIFFS, SNAPSHOTS, NOTICES = (41, 42), (1, 2), (3, 4), (31, 32), (61, 62)
SESSIONS, PERIODS = (1, 2, 3, 4, 5), (51, 52, 53)

#: Kinds of which notifications contain what a read shows.
_NOTIFIED = {"location", "charge_point", "evse", "session", "authorization"}

STATUSES = ("available", "charging", "suspendedEV", "faulted", "unavailable")


class World:
    """Everything that is known of a site in the end, in parts that may be written in any order and together.

    Of an entity's facts no two have the same names, because of reads that repeat each other only some are kept.

    Parameters:
        seed: of two worlds with one seed, all facts are equal.
    """

    def __init__(self, seed: int) -> None:
        self._chance = Random(seed)
        self.parts = [part for parts in (self._places(), self._equipment(), self._visits()) for part in parts]

    def in_another_order(self, chance: Random) -> list[ChangeSet]:
        """Return all parts in a random order, some of them joined."""
        waiting, joined = chance.sample(self.parts, len(self.parts)), []
        while waiting:
            size = chance.choice((1, 1, 2, 5, 15))
            joined.append(together(waiting[:size]))
            waiting = waiting[size:]
        return joined

    def _is(self, share: float) -> bool:
        return self._chance.random() < share

    def _some(self, *counts: int) -> range:
        return range(self._chance.choice(counts))

    def _minute(self) -> float:
        """Return a minute of a week, often one that other facts have too."""
        chance = self._chance
        return chance.randrange(8 * DAY) if chance.random() < 0.5 else HOUR * chance.randrange(48)

    def _fact(self, kind: str, entity_id: int, minutes: float, group: str = "master", **values: Any) -> ChangeSet:
        columns: dict[str, Any] = dict.fromkeys(MIRRORS[kind].group(group).columns) | values
        if columns.get("raw", 0) is None:
            columns["raw"] = {}
        if kind in _NOTIFIED and self._is(0.4):
            fact = fact_from_notification(kind, entity_id, group, at(minutes), columns, partial=self._is(0.3))
        else:
            began_at = at(minutes + self._chance.choice((1, 5)))
            fact = fact_from_read(kind, entity_id, group, at(minutes), columns, began_at=began_at)
        return ChangeSet(facts=[fact])

    def _places(self) -> Iterator[ChangeSet]:
        one_of = self._chance.choice
        for number, timezone in zip(LOCATIONS, ("Europe/Berlin", "Europe/London", None), strict=True):
            for version in self._some(1, 1, 2):
                position: dict[str, Any] = {"latitude": one_of((Decimal(5), None)), "longitude": Decimal(9)}
                minutes = self._minute() if version else 0
                yield self._fact(
                    "location", number, minutes, name=f"L{number}-{version}", timezone=timezone, **position
                )
        for number in VENDORS:
            yield self._fact("charge_point_vendor", number, 0, name=f"V{number}")
        for model, vendor in zip(MODELS, VENDORS, strict=True):
            yield self._fact("charge_point_model", model, 0, name=f"M{model}", vendor_id=vendor)
        for snapshot, tariff in zip(SNAPSHOTS, TARIFFS, strict=True):
            yield self._fact("tariff", tariff, self._minute(), name=f"T{tariff}", currency="EUR")
            yield self._fact("tariff_snapshot", snapshot, self._minute(), name=f"S{snapshot}", tariff_id=tariff)
        for number in NOTICES:
            yield self._fact("downtime_period_notice", number, self._minute(), notice=f"N{number}")

    def _equipment(self) -> Iterator[ChangeSet]:
        one_of = self._chance.choice
        for number in CHARGE_POINTS:
            for version in self._some(1, 2, 3):
                parents: dict[str, Any] = {
                    "location_id": one_of((1, 1, 2, 3, None)),
                    "model_id": one_of((*MODELS, None)),
                }
                minutes = self._minute() if version else 0
                yield self._fact("charge_point", number, minutes, name=f"C{number}-{version}", **parents)
            yield from self._statuses(number)
        for number in EVSES:
            for version in self._some(1, 1, 2, 3):
                power: dict[str, Any] = {
                    "current_type": one_of(("ac", "dc")),
                    "max_power_w": one_of((Decimal(50_000), None)),
                }
                columns: dict[str, Any] = {
                    "label": f"E{number}-{version}",
                    "charge_point_id": one_of((1, 1, 2)),
                    "created_at": one_of((None, at(self._minute()))),
                    **power,
                }
                yield self._fact("evse", number, self._minute() if version else 0, **columns)
            for _ in self._some(0, 2, 5):
                status = {"hardware_status": one_of(STATUSES), "error_code": one_of(("NoError", "GroundFailure"))}
                # The same status at the same time is kept once, with the source that reports it first
                second, source = one_of(tuple(enumerate(("notification", "status_log", "read"))))
                yield self._observed("evse_status_observation", second / 60, evse_id=number, source=source, **status)
        for number in CONNECTORS:
            yield self._fact("connector", number, self._minute(), type=one_of(("type2", "ccs2")))
            for evse in self._chance.sample(EVSES, one_of((1, 2))):
                yield ChangeSet(facts=[belongs("connector", number, evse, self._minute())])
        yield from self._periods()
        for kind, numbers in (("charge_point", CHARGE_POINTS), ("evse", EVSES), ("evse_downtime_period", PERIODS)):
            for number in numbers:
                if self._is(0.2):
                    yield ChangeSet(facts=[gone(kind, number, self._minute())])

    def _statuses(self, charge_point: int) -> Iterator[ChangeSet]:
        common: dict[str, Any] = {"charge_point_id": charge_point, "source": "notification"}
        for _ in self._some(0, 1, 3):
            status = self._chance.choice(("available", "temporarily_unavailable"))
            yield self._observed("charge_point_network_observation", network_status=status, **common)
        for _ in self._some(0, 0, 1, 3):
            status = self._chance.choice(("available", "faulted", "unavailable"))
            error = self._chance.choice(("NoError", "InternalError"))
            yield self._observed(
                "charge_point_hardware_observation", hardware_status=status, error_code=error, **common
            )

    def _observed(self, table: str, later: float = 0, **columns: Any) -> ChangeSet:
        return ChangeSet(observations={table: [{"observed_at": at(self._minute() + later), **columns}]})

    def _periods(self) -> Iterator[ChangeSet]:
        one_of = self._chance.choice
        for number in PERIODS:
            for kind in ("evse_downtime_period", "evse_downtime_period", "charge_point_downtime_period"):
                began = self._minute()
                columns: dict[str, Any] = {
                    "charge_point_id": one_of(CHARGE_POINTS),
                    "location_id": one_of((1, None)),
                    "type": one_of(("exempt", "downtime")),
                    "notice_id": one_of((*NOTICES, None)),
                    "started_at": at(began),
                    "ended_at": one_of((None, at(began + 90))),
                }
                if kind == "evse_downtime_period":
                    columns["evse_id"] = one_of(EVSES)
                yield self._fact(kind, number, self._minute(), **columns)

    def _visits(self) -> Iterator[ChangeSet]:
        for number in SESSIONS:
            began = self._minute()
            for _ in self._some(1, 2, 3):
                if self._is(0.3):
                    began = max(0, began + self._chance.choice((-30, 45, -DAY, DAY)))
                yield self._session(number, began)
            if self._is(0.15):
                yield ChangeSet(facts=[gone("session", number, self._minute())])
            yield from self._samples(number, began)
            yield from self._further(number, began)

    def _session(self, number: int, began: float) -> ChangeSet:
        one_of, minutes = self._chance.choice, began + self._chance.choice((0, 1, 300, 2000, 4000))
        stopped = one_of((None, *(at(began + length) for length in (0, 5, 60, 300, 1500))))
        state = {
            "status": one_of(("finished", "active")),
            "charge_point_id": one_of((1, 1, 2)),
            "evse_id": one_of((*EVSES, 11, None)),
            "started_at": at(began),
            "stopped_at": stopped,
            "energy_wh": one_of((Decimal(0), Decimal(6000), Decimal("123.456"), None)),
        }
        detail = {
            "connector_id": one_of((*CONNECTORS, None)),
            "authorization_id": one_of((70 + number, 71, None)),
            "tariff_snapshot_id": one_of((*SNAPSHOTS, None)),
            "user_id": one_of((5, 6, None)),
            "currency": one_of(("EUR", None)),
            "amount_with_tax": one_of((Decimal(3), None)),
        }
        groups: dict[str, dict[str, Any]] = {"state": state, "detail": detail}
        shown = [self._fact("session", number, minutes, group, **groups[group]) for group in groups if self._is(0.9)]
        return together(shown)

    def _samples(self, session: int, began: float) -> Iterator[ChangeSet]:
        total = 0
        for ordinal in self._some(0, 0, 3, 6):
            total += self._chance.choice((0, 500, 2000, -400))
            sample = {"measurand": "Energy Consumed", "ordinal": 0, "unit": "Wh", "value": total}
            row = {"session_id": session, "measured_at": at(began + 13 * ordinal), **sample}
            yield ChangeSet(observations={"meter_value": [row]})

    def _further(self, session: int, began: float) -> Iterator[ChangeSet]:
        one_of = self._chance.choice
        for _ in self._some(0, 1, 2):
            columns: dict[str, Any] = {
                "method": "id_tag",
                "status": one_of(("accepted", "rejected")),
                "user_id": one_of((5, 6, None)),
                "charge_point_id": one_of(CHARGE_POINTS),
                "evse_id": one_of((11, 12, None)),
                "session_ids": one_of(([session], [], [1])),
                "created_at": at(began - 1),
            }
            yield self._fact("authorization", 70 + session, self._minute(), **columns)
        if self._is(0.5):
            times: dict[str, Any] = {"started_at": at(began), "stopped_at": one_of((None, at(began + 20)))}
            state = one_of(("charging", "idle"))
            yield self._fact("charging_period", 80 + session, self._minute(), charging_state=state, **times)
            for parent in self._chance.sample((session, session % 5 + 1), one_of((1, 2))):
                yield ChangeSet(facts=[belongs("charging_period", 80 + session, parent, self._minute())])
        if self._is(0.3):
            record: dict[str, Any] = {"session_reference": str(session), "is_local": True, "started_at": at(began)}
            energy = one_of((Decimal(6000), Decimal(1)))
            yield self._fact("cdr", 90 + session, self._minute(), energy_wh=energy, currency="EUR", **record)


def together(parts: Iterable[ChangeSet]) -> ChangeSet:
    """Return what one transaction writes if it writes several parts."""
    facts: list[Fact] = []
    observations: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        facts += part.facts
        for table, rows in part.observations.items():
            observations.setdefault(table, []).extend(rows)
    return ChangeSet(facts=facts, observations=observations)
