"""Derive the states of EVSEs: combine the statuses of EVSE, charge point and network into stretches of time.

A status holds until the next one. While the network status is not ``available``, the EVSE is ``offline``, whatever it
reported before. Else a charge point that is faulted or unavailable makes its EVSEs so. In a period without a receiver,
which no status log covers, the state is ``unknown``: it is never assumed to have stayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from analytics.schema.evse_state import STATE_OF_STATUS
from storage.documents import to_json
from storage.ids import made_at

#: A charge point's clock that is further ahead than this is wrong: its status counts from when it arrived.
MAX_AHEAD = timedelta(days=1)

#: The end of the present stretch, as Postgres spells it.
OPEN = "infinity"

Source = Literal["evse", "charge_point", "network"]

#: Which of two observations of one time counts: the one with the higher rank.
_RANKS = {"notification": 0, "status_log": 1, "read": 2}

#: The network status with which an EVSE is reachable.
ONLINE = "available"


class Observation(NamedTuple):
    """A status that one source reported.

    Attributes:
        at: from when it counts.
        source: what reported it.
        origin: notification, status_log or read.
        status: the word; None: never reported.
        observed_at: its time by the charge point's clock.
        notification_id: the notification that reported it, if one did.
    """

    at: datetime
    source: Source
    origin: str
    status: str | None
    observed_at: datetime
    notification_id: UUID | None


@dataclass(frozen=True, slots=True)
class Period:
    """A period of time; ``ended_at`` is None while it lasts."""

    began_at: datetime
    ended_at: datetime | None

    def contains(self, moment: datetime) -> bool:
        """Tell whether a moment is in it; its end is not."""
        return self.began_at <= moment and (self.ended_at is None or moment < self.ended_at)


@dataclass(slots=True)
class Evse:
    """What is known of one EVSE from a time on.

    Attributes:
        evse_id: its id.
        charge_point_id: its charge point.
        starts_at: the beginning of the first stretch to derive; None: at the first observation.
        previous_ended_at: the end of the stretch before it, if there is one.
        ended_at: when it was found deleted; None while it exists.
        observations: those that count from then on, and the last one of each source before.
        covered: periods that status logs cover, for the EVSE and for the network.
    """

    evse_id: int
    charge_point_id: int | None
    starts_at: datetime | None
    previous_ended_at: datetime | None
    ended_at: datetime | None
    observations: list[Observation] = field(default_factory=list)
    covered: list[Period] = field(default_factory=list)


def state_of(hardware: str | None, charge_point: str | None, network: str | None) -> str:
    """Return the state that three words make."""
    if network is not None and network != ONLINE:
        return "offline"
    if charge_point in ("faulted", "unavailable") and hardware != "faulted":
        return charge_point
    return STATE_OF_STATUS.get(hardware or "", "unknown")


def stretches(evse: Evse, gaps: Sequence[Period]) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``analytics.evse_state_interval`` of one EVSE, oldest first.

    Parameters:
        evse: what is known of it.
        gaps: the periods without a receiver, oldest first.
    """
    observations = sorted(evse.observations, key=lambda each: (each.at, _RANKS[each.origin], each.status or ""))
    if not observations and evse.starts_at is None:
        return
    starts_at = observations[0].at if evse.starts_at is None else evse.starts_at
    if evse.ended_at is not None and evse.ended_at <= starts_at:
        return
    times = {each.at for each in observations}
    times |= {edge for gap in gaps for edge in (gap.began_at, gap.ended_at) if edge is not None}
    times |= {edge for period in evse.covered for edge in (period.began_at, period.ended_at) if edge is not None}
    last = evse.ended_at
    inner = sorted(time for time in times if time > starts_at and (last is None or time < last))
    words: dict[Source, Observation] = {}
    waiting = iter(observations)
    following = next(waiting, None)
    row: dict[str, Any] | None = None
    for began_at in (starts_at, *inner):
        while following is not None and following.at <= began_at:
            words[following.source] = following
            following = next(waiting, None)
        values = _values(words, _coverage(evse, gaps, words, began_at))
        if row is not None and _equal(row, values):
            continue
        if row is not None:
            yield row | {"ended_at": began_at}
        previous = evse.previous_ended_at if row is None else began_at
        row = {
            "evse_id": evse.evse_id,
            "began_at": began_at,
            "previous_ended_at": previous,
            "charge_point_id": evse.charge_point_id,
            "evidence": {source: _evidence(words[source]) for source in sorted(words)},
            **values,
        }
    assert row is not None
    yield row | {"ended_at": OPEN if last is None else last}


def _coverage(evse: Evse, gaps: Sequence[Period], words: Mapping[Source, Observation], moment: datetime) -> str:
    is_logged = any(period.contains(moment) for period in evse.covered)
    if not is_logged and any(gap.contains(moment) for gap in gaps):
        return "none"
    is_assumed = "network" not in words or any(word.origin == "read" for word in words.values())
    return "assumed" if is_assumed and not is_logged else "observed"


def _values(words: Mapping[Source, Observation], coverage: str) -> dict[str, Any]:
    hardware, charge_point, network = (
        words[source].status if source in words else None for source in ("evse", "charge_point", "network")
    )
    return {
        "state": "unknown" if coverage == "none" else state_of(hardware, charge_point, network),
        "hardware_status": hardware,
        "charge_point_status": charge_point,
        "network_status": network,
        "coverage": coverage,
    }


def _equal(row: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(row[name] == value for name, value in values.items())


def _evidence(observation: Observation) -> dict[str, Any]:
    evidence = {"observed_at": observation.observed_at, "source": observation.origin}
    notification_id = observation.notification_id
    return evidence if notification_id is None else evidence | {"notification_id": notification_id}


def gaps_between(alive: Sequence[tuple[datetime, datetime]], now: datetime, pause: timedelta) -> list[Period]:
    """Return the periods without a receiver: before the first one, between two, and since the last one if it is over.

    Parameters:
        alive: when receivers were alive, oldest first.
        now: the present time.
        pause: how old the last sign of life may be.
    """
    if not alive:
        return [Period(datetime.min.replace(tzinfo=UTC), None)]
    gaps = [Period(datetime.min.replace(tzinfo=UTC), alive[0][0])]
    gaps += [Period(ended_at, began_at) for (_, ended_at), (began_at, _) in pairwise(alive)]
    if now - alive[-1][1] > pause:
        gaps.append(Period(alive[-1][1], None))
    return gaps


# Indexes: primary keys; that of evse_state_interval backwards from the time of the change. If status logs cover more
# than before, the stretches from the former end of the covered period on change, too.
_EVSES = text("""
SELECT evse.evse_id,
       evse.charge_point_id,
       evse.deleted_at,
       covered.began_at AS covered_from_at,
       covered.ended_at AS covered_until_at,
       progress.evse_id IS NOT NULL
           AND progress.charge_point_id IS NOT DISTINCT FROM evse.charge_point_id
           AND progress.covered_from_at IS NOT DISTINCT FROM covered.began_at
           AND coalesce(progress.covered_until_at <= covered.ended_at, true) AS goes_on,
       before.began_at,
       before.previous_ended_at
  FROM json_to_recordset(CAST(:scope AS json)) AS scope (entity_id bigint, since timestamptz)
  JOIN charging.evse AS evse
    ON evse.tenant = :tenant
   AND evse.evse_id = scope.entity_id
  LEFT JOIN charging.charge_point AS charge_point
    ON charge_point.tenant = :tenant
   AND charge_point.charge_point_id = evse.charge_point_id
  LEFT JOIN analytics.evse_progress AS progress
    ON progress.tenant = :tenant
   AND progress.evse_id = scope.entity_id
  LEFT JOIN LATERAL (
       SELECT greatest(evse.hardware_covered_from_at, charge_point.network_covered_from_at) AS began_at,
              least(evse.hardware_log_at, charge_point.network_log_at) AS ended_at
        WHERE evse.hardware_covered_from_at IS NOT NULL
          AND evse.hardware_log_at IS NOT NULL
          AND charge_point.network_covered_from_at IS NOT NULL
          AND charge_point.network_log_at IS NOT NULL) AS covered ON covered.began_at < covered.ended_at
  LEFT JOIN LATERAL (
       SELECT known.began_at, known.previous_ended_at
         FROM analytics.evse_state_interval AS known
        WHERE known.tenant = :tenant
          AND known.evse_id = scope.entity_id
          AND known.began_at < CASE
              WHEN progress.covered_until_at < covered.ended_at THEN least(scope.since, progress.covered_until_at)
              ELSE scope.since
              END
        ORDER BY known.began_at DESC
        LIMIT 1) AS before ON true
""")

_NOTE_PROGRESS = text("""
INSERT INTO analytics.evse_progress AS known (tenant, evse_id, charge_point_id, covered_from_at, covered_until_at)
SELECT :tenant, evse_id, charge_point_id, covered_from_at, covered_until_at
  FROM json_populate_recordset(NULL::analytics.evse_progress, CAST(:rows AS json)) AS fresh
 ORDER BY evse_id
    ON CONFLICT (tenant, evse_id) DO UPDATE SET
       charge_point_id = excluded.charge_point_id,
       covered_from_at = excluded.covered_from_at,
       covered_until_at = excluded.covered_until_at
 WHERE (known.charge_point_id, known.covered_from_at, known.covered_until_at)
       IS DISTINCT FROM (excluded.charge_point_id, excluded.covered_from_at, excluded.covered_until_at)
""")


def load_evses(connection: Connection, tenant: str, scope: Mapping[int, datetime | None]) -> dict[int, Evse]:
    """Load what is known of EVSEs, by id, without their observations.

    Parameters:
        scope: the ids, each with the time of the change; None: derive everything.
    """
    limits = [{"entity_id": evse_id, "since": since} for evse_id, since in scope.items()]
    evses: dict[int, Evse] = {}
    progress = []
    for row in connection.execute(_EVSES, {"tenant": tenant, "scope": to_json(limits)}):
        is_covered = row.covered_from_at is not None
        evses[row.evse_id] = Evse(
            row.evse_id,
            row.charge_point_id,
            # The words of another charge point, and another covered period, change all stretches.
            row.began_at if row.goes_on else None,
            row.previous_ended_at if row.goes_on else None,
            row.deleted_at,
            covered=[Period(row.covered_from_at, row.covered_until_at)] if is_covered else [],
        )
        columns = ("evse_id", "charge_point_id", "covered_from_at", "covered_until_at")
        progress.append({name: getattr(row, name) for name in columns})
    connection.execute(_NOTE_PROGRESS, {"tenant": tenant, "rows": to_json(progress)})
    return evses


def _observations(source: str, table: str, key: str, status: str) -> str:
    """Return the query of observations from a time on, and of the last one before.

    Index: the table's unique constraint.
    """
    columns = f"scope.evse_id, '{source}' AS source, {status} AS status, observed_at, source AS origin"
    columns += ", notification_id, recorded_at"
    return f"""
SELECT {columns.replace("source AS origin", "observation.source AS origin")}
  FROM json_to_recordset(CAST(:scope AS json)) AS scope (evse_id bigint, charge_point_id bigint, since timestamptz)
  JOIN charging.{table} AS observation
    ON observation.tenant = :tenant
   AND observation.{key} = scope.{key}
   AND observation.observed_at >= coalesce((
       SELECT max(earlier.observed_at)
         FROM charging.{table} AS earlier
        WHERE earlier.tenant = :tenant
          AND earlier.{key} = scope.{key}
          AND earlier.observed_at <= scope.since), '-infinity')
"""  # noqa: S608 - the names are ours


_ALL_OBSERVATIONS = text(
    "UNION ALL".join(
        (
            _observations("evse", "evse_status_observation", "evse_id", "hardware_status"),
            _observations("charge_point", "charge_point_hardware_observation", "charge_point_id", "hardware_status"),
            _observations("network", "charge_point_network_observation", "charge_point_id", "network_status"),
        )
    )
)


def add_observations(connection: Connection, tenant: str, evses: Mapping[int, Evse]) -> None:
    """Load the observations of EVSEs from the beginning of their first stretch on, and those that hold then."""
    scope = [
        {"evse_id": evse.evse_id, "charge_point_id": evse.charge_point_id, "since": evse.starts_at}
        for evse in evses.values()
    ]
    for row in connection.execute(_ALL_OBSERVATIONS, {"tenant": tenant, "scope": to_json(scope)}):
        arrived_at = row.recorded_at if row.notification_id is None else made_at(row.notification_id)
        at = arrived_at if row.observed_at > arrived_at + MAX_AHEAD else row.observed_at
        evses[row.evse_id].observations.append(
            Observation(at, row.source, row.origin, row.status, row.observed_at, row.notification_id)
        )
