"""A session's life: plugged in, charging, idle, stopped, billed, paid."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from simulator import payloads
from simulator.model import Authorization, Evse, Sample, Session, StatusChange, Tenant, Transaction
from simulator.resources import instant
from simulator.timeline import Timeline
from simulator.vehicles import Vehicle, power_w

#: A meter sample each minute of the tenant's time, as chargers are commonly set.
SAMPLE_EVERY = timedelta(seconds=60)

#: Every so many samples the session itself is updated.
SAMPLES_AN_UPDATE = 5

#: While a charge point is offline its news waits; this often it is tried again.
OFFLINE_RETRY = timedelta(seconds=60)

FIRST_SESSION, FIRST_AUTHORIZATION, FIRST_TRANSACTION = 77_000, 90_000, 44_000


@dataclass(slots=True)
class _Visit:
    """A vehicle at an EVSE; ``energy_wh`` is kept finer than the meter shows it."""

    evse: Evse
    vehicle: Vehicle
    authorization: Authorization
    leaves_at: datetime
    when_gone: Callable[[], None]
    session: Session | None = None
    energy_wh: float = 0.0
    sampled_at: datetime | None = None
    is_idle: bool = False
    is_over: bool = False


class Charging:
    """Carries each visit from plug to payment."""

    def __init__(
        self,
        tenant: Tenant,
        rng: random.Random,
        timeline: Timeline,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self._tenant = tenant
        self._rng = rng
        self._timeline = timeline
        self._tell = tell
        self._visits: dict[int, _Visit] = {}
        self._next_session = FIRST_SESSION
        self._next_authorization = FIRST_AUTHORIZATION
        self._next_transaction = FIRST_TRANSACTION

    def plug_in(self, evse: Evse, vehicle: Vehicle, *, when_gone: Callable[[], None]) -> None:
        """A vehicle is plugged in, and its driver authorised; ``when_gone`` follows its leave."""
        self.set_hardware(evse, "preparing")
        now = self._second()
        authorization = Authorization(
            id=self._next_authorization,
            user_id=vehicle.user_id,
            id_tag=f"04{vehicle.user_id:08X}",
            charge_point_id=evse.charge_point_id,
            evse_id=evse.id,
            created_at=now,
            changed_at=now,
        )
        self._next_authorization += 1
        self._tenant.authorizations[authorization.id] = authorization
        self._tell(payloads.authorization_changed(authorization))
        visit = _Visit(evse, vehicle, authorization, self._timeline.now + vehicle.stays, when_gone)
        self._visits[evse.id] = visit
        self._after(self._between(15, 90), self._start, visit)

    def interrupt(self, evse: Evse) -> None:
        """A fault ends whatever goes on at the EVSE; the vehicle leaves."""
        visit = self._visits.get(evse.id)
        if visit is not None:
            self._measure(visit)
            self._stop(visit, "groundfault")
            self._leave(visit)

    def set_hardware(
        self,
        evse: Evse,
        status: str,
        error_code: str = "NoError",
        info: str | None = None,
        vendor_error_code: str | None = None,
    ) -> None:
        """An EVSE reports a hardware status."""
        change = StatusChange(self._second(), status, error_code, info, vendor_error_code)
        evse.hardware.append(change)
        self._tell(payloads.hardware_status(evse.charge_point_id, change, evse.id))

    def _second(self) -> datetime:
        return self._timeline.now.replace(microsecond=0)

    def _between(self, low: float, high: float) -> timedelta:
        return timedelta(seconds=self._rng.uniform(low, high))

    def _after(self, delay: timedelta, step: Callable[[_Visit], None], visit: _Visit) -> None:
        self._timeline.after(delay, partial(self._take, step, visit))

    def _take(self, step: Callable[[_Visit], None], visit: _Visit) -> None:
        """Take a step of a visit, unless it is over, or later if its charge point is offline."""
        if visit.is_over:
            return
        if not self._tenant.charge_points[visit.evse.charge_point_id].is_online:
            self._after(OFFLINE_RETRY, step, visit)
            return
        step(visit)

    def _start(self, visit: _Visit) -> None:
        evse, now = visit.evse, self._second()
        session = visit.session = Session(
            id=self._next_session,
            evse_id=evse.id,
            charge_point_id=evse.charge_point_id,
            connector_id=evse.connector_id,
            user_id=visit.vehicle.user_id,
            authorization_id=visit.authorization.id,
            started_at=now,
            meter_start_wh=evse.meter_wh,
            soc_percent=visit.vehicle.soc_percent,
            changed_at=now,
        )
        self._next_session += 1
        self._tenant.sessions[session.id] = session
        evse.session_id = session.id
        visit.authorization.session_id = session.id
        visit.authorization.changed_at = now
        visit.sampled_at = self._timeline.now
        self.set_hardware(evse, "charging")
        self._tell(payloads.start_stop(session, stopped=False))
        self._tell(payloads.start_stop(session, stopped=False, deprecated=True))
        self._update(session)
        self._after(SAMPLE_EVERY, self._sample, visit)

    def _sample(self, visit: _Visit) -> None:
        session = visit.session
        assert session is not None
        if self._timeline.now >= visit.leaves_at:
            self._measure(visit)
            self._stop(visit, "evdisconnected")
            self._after(self._between(20, 240), self._leave, visit)
            return
        if not visit.is_idle:
            self._measure(visit)
            session.samples.append(Sample(self._second(), session.energy_wh, session.power_w))
            self._tell(payloads.meter_values(session, visit.evse, session.samples[-1]))
            if session.soc_percent >= visit.vehicle.target_percent:
                visit.is_idle = True
                session.power_w = 0
                session.idle_since = self._second()
                self.set_hardware(visit.evse, "suspendedEV")
                self._changed(session)
            elif len(session.samples) % SAMPLES_AN_UPDATE == 0:
                self._changed(session)
        self._after(SAMPLE_EVERY, self._sample, visit)

    def _measure(self, visit: _Visit) -> None:
        """Bring energy, power and battery up to now."""
        session, now = visit.session, self._timeline.now
        if session is None or visit.is_idle or visit.sampled_at is None:
            return
        hours = (now - visit.sampled_at).total_seconds() / 3_600
        visit.sampled_at = now
        drawn = power_w(
            visit.vehicle, session.soc_percent, visit.evse.current_type, visit.evse.max_power_w
        ) * self._rng.uniform(0.97, 1.0)
        room = (visit.vehicle.target_percent - session.soc_percent) / 100 * visit.vehicle.battery_wh
        added = min(drawn * hours, max(room, 0.0))
        visit.energy_wh += added
        session.energy_wh = int(visit.energy_wh)
        session.power_w = round(added / hours) if hours else session.power_w
        session.peak_w = max(session.peak_w, session.power_w)
        session.soc_percent = min(session.soc_percent + added / visit.vehicle.battery_wh * 100, 100.0)
        visit.evse.meter_wh = session.meter_start_wh + session.energy_wh

    def _stop(self, visit: _Visit, reason: str) -> None:
        session = visit.session
        if session is None or session.stopped_at is not None:
            return
        session.status = "finished"
        session.stopped_at = self._second()
        session.reason = reason
        session.power_w = 0
        session.billing_status = "pending"
        session.payment_status = "pending"
        session.payment_changed_at = self._second()
        session.changed_at = self._second()
        visit.evse.session_id = None
        if reason != "groundfault":
            self.set_hardware(visit.evse, "finishing")
        self._tell(payloads.start_stop(session, stopped=True))
        self._tell(payloads.start_stop(session, stopped=True, deprecated=True))
        self._update(session)
        self._timeline.after(self._between(30, 150), partial(self._bill, session))

    def _leave(self, visit: _Visit) -> None:
        visit.is_over = True
        del self._visits[visit.evse.id]
        if visit.evse.status == "finishing":
            self.set_hardware(visit.evse, "available")
        visit.when_gone()

    def _bill(self, session: Session) -> None:
        now = self._second()
        session.billing_status = "completed"
        transaction = Transaction(
            self._next_transaction, session.id, session.user_id, session.amount_with_tax, now, now
        )
        self._next_transaction += 1
        self._tenant.transactions[transaction.id] = transaction
        self._tell_transaction(transaction, "created")
        self._changed(session)
        self._timeline.after(self._between(20, 600), partial(self._pay, session, transaction))

    def _pay(self, session: Session, transaction: Transaction) -> None:
        now = self._second()
        transaction.status, transaction.finalized_at, transaction.changed_at = "finalized", now, now
        session.payment_status, session.payment_changed_at = "paid", now
        self._tell_transaction(transaction, "updated")
        self._changed(session)

    def _tell_transaction(self, transaction: Transaction, action: str) -> None:
        at = instant(transaction.changed_at)
        self._tell(payloads.changed("transaction.changed", "transactionId", transaction.id, action, at))

    def _changed(self, session: Session) -> None:
        session.changed_at = self._second()
        self._update(session)

    def _update(self, session: Session) -> None:
        self._tell(payloads.session_update(session, self._tenant.authorizations[session.authorization_id]))
