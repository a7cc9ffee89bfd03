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

from analytics.schema.evse_state import STATE_OF_STATUS

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
        """Return whether a moment is in it; its end is not."""
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
        exists_from_at: when it was created, or first reported a status, whichever is earlier; None: not known.
        observations: those that count from then on, and the last one of each source before.
        covered: periods that status logs cover, for the EVSE and for the network.
    """

    evse_id: int
    charge_point_id: int | None
    starts_at: datetime | None
    previous_ended_at: datetime | None
    ended_at: datetime | None
    exists_from_at: datetime | None = None
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
    if evse.starts_at is None and evse.exists_from_at is not None:
        starts_at = max(starts_at, evse.exists_from_at)  # its charge point may have reported long before
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
