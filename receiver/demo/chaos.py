"""Chaos: run the simulator with faults against a deployment, and check every promise in the database.

The simulator sends notifications twice, late and out of order, and its API fails. During the run the operator may
kill processes, stop servers and fill disks. In the end every notification that was answered with 2xx must be in the log
as it was sent, and be applied, and the state must be that of the tenant.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ampeco.api.client import Client
from ampeco.tenants import Tenant
from receiver.demo.simulator_process import Acknowledged, SimulatorProcess
from receiver.terminal import errors
from runtime.errors import cause
from storage.reports import verification
from workers.monitoring import subscriptions

#: The fault profiles: faults of the simulator that are set together for some seconds.
FAULT_PROFILE: dict[str, dict[str, float]] = {
    "calm": {},
    "everything twice": {"duplicate": 1},
    "everything out of order": {"reorder": 1, "reorder_seconds": 600},
    "a third late by up to an hour": {"delay": 0.3, "delay_max_seconds": 3_600},
    "twice, late and out of order": {"duplicate": 0.5, "reorder": 0.5, "delay": 0.2, "delay_max_seconds": 1_800},
    "API: half of it 429": {"api_429": 0.5},
    "API: half of it 500": {"api_500": 0.5},
    "API: slow": {"api_latency_ms": 2_000},
}
NO_FAULTS: dict[str, float] = {
    "duplicate": 0,
    "reorder": 0,
    "delay": 0,
    "api_429": 0,
    "api_500": 0,
    "api_latency_ms": 0,
}

MIN_FAULTS_SECONDS, MAX_FAULTS_SECONDS = 5.0, 20.0

POLL_SECONDS = 1.0

#: Most ids in one query of the log.
IDS_TOGETHER = 2_000

#: The simulator runs through six hours at its start; all of their facts must be newer than those that are stored.
WARM_UP = timedelta(hours=7)


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a run.

    Attributes:
        tenant: the tenant that the simulator replaces.
        against: the URL at which the simulator reaches the receiver.
        seconds: how long faults are injected.
        settle_seconds: longest wait until everything is delivered, applied and read.
        host: the address that the simulator listens on.
        seed: the seed for the choice of the fault profiles.
        options: further options of the simulator.
    """

    tenant: Tenant
    against: str
    seconds: float
    settle_seconds: float
    host: str
    seed: int
    options: dict[str, str]


@dataclass
class Verdict:
    """The result of a run.

    Attributes:
        lines: each promise, how often it was checked, and a text for each time that it was broken.
        sent: the number of deliveries by result.
    """

    lines: list[tuple[str, int, list[str]]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)

    def add(self, promise: str, checked: int, broken: list[str]) -> None:
        """Add the result of one promise."""
        self.lines.append((promise, checked, broken))

    @property
    def is_kept(self) -> bool:
        """Whether no promise was broken."""
        return not any(broken for _, _, broken in self.lines)


def run(plan: Plan, engine: Engine, *, pace: Callable[[float], None] = time.sleep) -> Verdict:
    """Run the simulator against the deployment, then check the promises.

    Parameters:
        pace: waits for some seconds; replaced in tests.

    Raises:
        ampeco.errors.ApiError: the simulator rejected the subscription.
        DBAPIError: Postgres could not be read, even after the faults.
    """
    with engine.connect() as connection:
        newest_at, began_at = verification.newest_fact(connection, plan.tenant.name)
    # An earlier run may have left facts with a time ahead of our clock, which only newer facts replace.
    start = max(began_at, newest_at + WARM_UP) if newest_at else began_at
    with (
        SimulatorProcess(
            plan.tenant, host=plan.host, start=start.replace(microsecond=0), options=plan.options
        ) as simulator,
        Client(plan.tenant.url, plan.tenant.api_token()) as client,
        _subscribed(client, plan) as subscription_id,
    ):
        ledger: list[Acknowledged] = []

        def collect() -> None:
            ledger.extend(simulator.acknowledged(after=len(ledger)))

        _inject_faults(plan, simulator, collect, pace)
        _finish_deliveries(plan, simulator, subscription_id, pace)
        collect()
        _wait_until_applied(plan, engine, pace)
        verdict = Verdict()
        deliveries = simulator.deliveries()
        verdict.sent = {
            name: int(deliveries[name]) for name in ("sent", "acknowledged", "refused", "unreachable", "duplicated")
        }
        _check_log(plan, engine, ledger, verdict)
        failed = int(deliveries["failed_by_subscription"].get(str(subscription_id), 0))
        verdict.add("Every notification is acknowledged", len(ledger), ["given up by its sender"] * failed)
        _check_state(plan, engine, client, began_at, verdict)
    return verdict


@contextmanager
def _subscribed(client: Client, plan: Plan) -> Iterator[int]:
    url = subscriptions.callback_url(plan.against, plan.tenant.name)
    yield subscriptions.subscribe(client, plan.tenant, url).subscription_id


def _inject_faults(
    plan: Plan, simulator: SimulatorProcess, collect: Callable[[], None], pace: Callable[[float], None]
) -> None:
    chance = random.Random(plan.seed)  # noqa: S311 - faults, not a secret
    ends_at = time.monotonic() + plan.seconds
    while (left := ends_at - time.monotonic()) > 0:
        fault_profile = chance.choice(list(FAULT_PROFILE))
        simulator.set_faults(**NO_FAULTS | FAULT_PROFILE[fault_profile])
        lasts_until = time.monotonic() + min(left, chance.uniform(MIN_FAULTS_SECONDS, MAX_FAULTS_SECONDS))
        while time.monotonic() < lasts_until:
            pace(POLL_SECONDS)
            collect()
        counts = simulator.deliveries()
        errors.print(
            f"{max(ends_at - time.monotonic(), 0):5.0f} s left; faults until now: {fault_profile}."
            f" Deliveries: {counts['acknowledged']:,} acknowledged, {counts['refused']:,} refused,"
            f" {counts['unreachable']:,} unreachable, {counts['queued']:,} waiting",
            highlight=False,
            soft_wrap=True,
        )
    simulator.set_faults(**NO_FAULTS)


def _finish_deliveries(
    plan: Plan, simulator: SimulatorProcess, subscription_id: int, pace: Callable[[float], None]
) -> None:
    """Stop the simulator's clock, and wait until everything is delivered; resend once what the simulator gave up."""
    simulator.pause()
    _wait_until_sent(plan, simulator, pace)
    if simulator.deliveries()["failed_by_subscription"].get(str(subscription_id)):
        simulator.resend(subscription_id)
        _wait_until_sent(plan, simulator, pace)


def _wait_until_sent(plan: Plan, simulator: SimulatorProcess, pace: Callable[[float], None]) -> None:
    deadline = time.monotonic() + plan.settle_seconds
    while time.monotonic() < deadline:
        deliveries = simulator.deliveries()
        if not deliveries["queued"] and not deliveries["held"]:
            return
        pace(POLL_SECONDS)


def _wait_until_applied(plan: Plan, engine: Engine, pace: Callable[[float], None]) -> None:
    """Wait until no notification is pending and no read is requested; Postgres may still be restarting."""
    deadline = time.monotonic() + plan.settle_seconds
    last_line = ""
    while time.monotonic() < deadline:
        try:
            with engine.connect() as connection:
                pending, unread = verification.unfinished(connection, plan.tenant.name)
        except DBAPIError as error:
            line = f"Postgres does not answer: {cause(error)}"
        else:
            if not pending and not unread:
                return
            line = f"Waiting for {pending:,} pending notifications and {unread:,} requested reads"
        if line != last_line:
            errors.print(line, highlight=False)
            last_line = line
        pace(POLL_SECONDS)


def _check_log(plan: Plan, engine: Engine, ledger: list[Acknowledged], verdict: Verdict) -> None:
    lost, changed, pending, failed = [], [], [], []
    nameless = [entry.sha256 for entry in ledger if entry.notification_id is None]
    named = {entry.notification_id: entry.sha256 for entry in ledger if entry.notification_id is not None}
    ids = sorted(named)
    for first in range(0, len(ids), IDS_TOGETHER):
        some_ids = ids[first : first + IDS_TOGETHER]
        with engine.connect() as connection:
            rows = verification.kept(connection, plan.tenant.name, some_ids)
        for notification_id in some_ids:
            row = rows.get(notification_id)
            if row is None:
                lost.append(str(notification_id))
            elif row.sha256 != named[notification_id]:
                changed.append(str(notification_id))
            elif row.state == "pending":
                pending.append(str(notification_id))
            elif row.state == "failed":
                failed.append(f"{notification_id}: {row.reason}")
    verdict.add("Every 2xx has an id", len(ledger), nameless)
    verdict.add("Every 2xx is in the log", len(ids), lost)
    verdict.add("… exactly as it was sent", len(ids), changed)
    verdict.add("… and applied or ignored", len(ids), pending)
    verdict.add("… and did not fail", len(ids), failed)
    with engine.connect() as connection:
        _, unread = verification.unfinished(connection, plan.tenant.name)
    verdict.add("Every requested read was made", 1, [f"{unread} entities are unread; see status"] if unread else [])


def _check_state(plan: Plan, engine: Engine, client: Client, since: datetime, verdict: Verdict) -> None:
    """Compare the stored entities that the notifications were about with what the tenant's API shows."""
    with engine.connect() as connection:
        sessions, evses, charge_points = (
            verification.shown(connection, plan.tenant.name, kind, since=since)
            for kind in ("session", "evse", "charge_point")
        )
    # The energy is compared only at equal times, because it changes without notifications; everything else is sent.
    verdict.add(
        "Sessions are as the tenant shows them",
        len(sessions),
        _differences(
            "session",
            {
                session_id: (row["status"], row["stopped_at"], row["state_at"] and row["energy_wh"])
                for session_id, row in sessions.items()
            },
            {
                answer.resource.id: (
                    answer.resource.status,
                    answer.resource.stopped_at,
                    answer.resource.energy_wh
                    if sessions.get(answer.resource.id, {}).get("state_at") == answer.resource.last_updated_at
                    else sessions.get(answer.resource.id, {}).get("energy_wh"),
                )
                for answer in client.sessions()
            },
        ),
    )
    verdict.add(
        "EVSEs have the tenant's statuses",
        len(evses),
        _differences(
            "EVSE",
            {evse_id: (row["hardware_status"],) for evse_id, row in evses.items()},
            {answer.resource.id: (answer.resource.hardware_status,) for answer in client.evses()},
        ),
    )
    verdict.add(
        "Charge points have the tenant's statuses",
        len(charge_points),
        _differences(
            "charge point",
            {charge_point_id: (row["network_status"],) for charge_point_id, row in charge_points.items()},
            {answer.resource.id: (answer.resource.network_status,) for answer in client.charge_points()},
        ),
    )


def _differences(kind: str, ours: dict[int, tuple[object, ...]], theirs: dict[int, tuple[object, ...]]) -> list[str]:
    return [
        f"{kind} {entity_id}: {_joined(values)}, the tenant shows {_joined(theirs.get(entity_id, ('nothing',)))}"
        for entity_id, values in sorted(ours.items())
        if values != theirs.get(entity_id)
    ]


def _joined(values: tuple[object, ...]) -> str:
    return ", ".join(str(value) for value in values)
