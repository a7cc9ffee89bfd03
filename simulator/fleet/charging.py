"""The stages of a session: plugged in, charging, idle, stopped, billed, paid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from simulator.fleet import payloads
from simulator.fleet.model import Authorization, Evse, Session, StatusChange, Transaction
from simulator.fleet.resources import instant
from simulator.fleet.vehicles import Vehicle, power_w
from simulator.fleet.world import World

#: The interval of meter samples by the tenant's clock, as chargers are commonly configured.
SAMPLE_EVERY = timedelta(seconds=60)

#: The number of samples after which a session update is sent.
SAMPLES_AN_UPDATE = 5

#: While a charge point is offline, its sessions do not progress; this is the interval of checks.
OFFLINE_RETRY = timedelta(seconds=60)

#: Share of the drivers whose card is rejected; they leave.
REJECTED = 0.03

#: Points in the consumption of a finished session, as AMPECO documents.
MAX_POINTS = 300

FIRST_SESSION, FIRST_AUTHORIZATION, FIRST_TRANSACTION = 77_000, 90_000, 44_000


@dataclass(slots=True)
class _Visit:
    """A vehicle at an EVSE; ``energy_wh`` has fractions, unlike the meter."""

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
    """The simulation of each visit, from the plug to the payment."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._visits: dict[int, _Visit] = {}
        self._next_session = FIRST_SESSION
        self._next_authorization = FIRST_AUTHORIZATION
        self._next_transaction = FIRST_TRANSACTION

    def plug_in(self, evse: Evse, vehicle: Vehicle, *, when_gone: Callable[[], None]) -> None:
        """Plug in a vehicle and authorize its driver; ``when_gone`` is called when the vehicle leaves."""
        self.set_hardware(evse, "preparing")
        authorization = self._authorize(evse, vehicle)
        visit = _Visit(evse, vehicle, authorization, self._world.now + vehicle.stays, when_gone)
        self._visits[evse.id] = visit
        step = self._start if authorization.is_accepted else self._leave
        self._after(self._world.between(15, 90), step, visit)

    def _authorize(self, evse: Evse, vehicle: Vehicle) -> Authorization:
        now = self._world.second
        authorization = Authorization(
            id=self._next_authorization,
            user_id=vehicle.user_id,
            id_tag=f"04{vehicle.user_id:08X}",
            charge_point_id=evse.charge_point_id,
            evse_id=evse.id,
            created_at=now,
            changed_at=now,
            is_accepted=self._world.rng.random() >= REJECTED,
        )
        self._next_authorization += 1
        self._world.tenant.authorizations[authorization.id] = authorization
        self._world.notify(payloads.authorization_changed(authorization, "created"))
        self._world.notify(payloads.authorization_decided(authorization))
        return authorization

    def interrupt(self, evse: Evse) -> None:
        """End the visit at an EVSE, if any, because of a fault."""
        visit = self._visits.get(evse.id)
        if visit is not None:
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
        """Add a hardware status to an EVSE's log, and notify of it."""
        change = StatusChange(self._world.second, status, error_code, info, vendor_error_code)
        evse.hardware.append(change)
        self._world.notify(payloads.hardware_status(evse.charge_point_id, change, evse.id))

    def _after(self, delay: timedelta, step: Callable[[_Visit], None], visit: _Visit) -> None:
        self._world.timeline.after(delay, partial(self._take, step, visit))

    def _take(self, step: Callable[[_Visit], None], visit: _Visit) -> None:
        """Run a step of a visit unless the visit is over; postpone it if the charge point is offline."""
        if visit.is_over:
            return
        if not self._world.tenant.charge_points[visit.evse.charge_point_id].is_online:
            self._after(OFFLINE_RETRY, step, visit)
            return
        step(visit)

    def _start(self, visit: _Visit) -> None:
        evse, now = visit.evse, self._world.second
        session = visit.session = Session(
            id=self._next_session,
            evse_id=evse.id,
            charge_point_id=evse.charge_point_id,
            connector_id=evse.connector_id,
            evse_label=evse.label,
            user_id=visit.vehicle.user_id,
            authorization_id=visit.authorization.id,
            started_at=now,
            meter_start_wh=evse.meter_wh,
            soc_percent=visit.vehicle.soc_percent,
            changed_at=now,
        )
        self._next_session += 1
        self._world.tenant.sessions[session.id] = session
        evse.session_id = session.id
        visit.authorization.session_id = session.id
        visit.authorization.changed_at = now
        self._world.notify(payloads.authorization_changed(visit.authorization, "updated"))
        visit.sampled_at = self._world.now
        self.set_hardware(evse, "charging")
        self._world.notify(payloads.start_stop(session, stopped=False))
        self._world.notify(payloads.start_stop(session, stopped=False, deprecated=True))
        self._update(session)
        self._after(SAMPLE_EVERY, self._sample, visit)

    def _sample(self, visit: _Visit) -> None:
        session = visit.session
        assert session is not None
        if self._world.now >= visit.leaves_at:
            self._stop(visit, "evdisconnected")
            self._after(self._world.between(20, 240), self._leave, visit)
            return
        if not visit.is_idle:
            self._read_meter(visit)
            if session.soc_percent >= visit.vehicle.target_percent:
                visit.is_idle = True
                session.power_w = 0
                session.idle_since = self._world.second
                self.set_hardware(visit.evse, "suspendedEV")
                self._changed(session)
            elif session.samples_taken % SAMPLES_AN_UPDATE == 0:
                self._changed(session)
        self._after(SAMPLE_EVERY, self._sample, visit)

    def _read_meter(self, visit: _Visit) -> None:
        self._measure(visit)
        assert visit.session is not None
        # Not every change of a session is notified, but each one changes `lastUpdatedAt`.
        visit.session.changed_at = self._world.second
        sample = visit.session.add_sample(visit.session.changed_at)
        if self._world.is_sending():
            self._world.notify(payloads.meter_values(visit.session, visit.evse, sample))

    def _measure(self, visit: _Visit) -> None:
        """Update energy, power and state of charge to the present time."""
        session, now = visit.session, self._world.now
        if session is None or visit.is_idle or visit.sampled_at is None:
            return
        hours = (now - visit.sampled_at).total_seconds() / 3_600
        visit.sampled_at = now
        drawn = power_w(
            visit.vehicle, session.soc_percent, visit.evse.current_type, visit.evse.max_power_w
        ) * self._world.rng.uniform(0.97, 1.0)
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
        if not visit.is_idle:
            self._read_meter(visit)
        session.status = "finished"
        session.stopped_at = self._world.second
        session.reason = reason
        session.power_w = 0
        session.billing_status = "pending"
        session.payment_status = "pending"
        session.payment_changed_at = self._world.second
        session.changed_at = self._world.second
        visit.evse.session_id = None
        if reason != "groundfault":
            self.set_hardware(visit.evse, "finishing")
        self._world.notify(payloads.start_stop(session, stopped=True))
        self._world.notify(payloads.start_stop(session, stopped=True, deprecated=True))
        self._update(session)
        self._world.timeline.after(self._world.between(30, 150), partial(self._bill, session))

    def _leave(self, visit: _Visit) -> None:
        visit.is_over = True
        del self._visits[visit.evse.id]
        if visit.evse.status in ("preparing", "finishing"):
            self.set_hardware(visit.evse, "available")
        visit.when_gone()

    def _bill(self, session: Session) -> None:
        now = self._world.second
        session.billing_status = "completed"
        session.thin_samples(MAX_POINTS)
        transaction = Transaction(
            self._next_transaction, session.id, session.user_id, session.amount_with_tax, now, now
        )
        self._next_transaction += 1
        self._world.tenant.transactions[transaction.id] = transaction
        self._notify_transaction(transaction, "created")
        self._changed(session)
        self._world.timeline.after(self._world.between(20, 600), partial(self._pay, session, transaction))

    def _pay(self, session: Session, transaction: Transaction) -> None:
        now = self._world.second
        transaction.status, transaction.finalized_at, transaction.changed_at = "finalized", now, now
        session.payment_status, session.payment_changed_at = "paid", now
        self._notify_transaction(transaction, "updated")
        self._changed(session)

    def _notify_transaction(self, transaction: Transaction, action: str) -> None:
        at = instant(transaction.changed_at)
        self._world.notify(payloads.changed("transaction.changed", "transactionId", transaction.id, action, at))

    def _changed(self, session: Session) -> None:
        session.changed_at = self._world.second
        self._update(session)

    def _update(self, session: Session) -> None:
        if self._world.is_sending():
            authorization = self._world.tenant.authorizations[session.authorization_id]
            self._world.notify(payloads.session_update(session, authorization))
