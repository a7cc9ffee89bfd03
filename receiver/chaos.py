"""Chaos: a simulated tenant against a deployment, and every promise held against the database.

The simulator sends twice, late and out of order, and its API fails; whoever runs this kills,
stops and fills meanwhile what they like. In the end every 2xx must be in the log as
sent and settled, and the state must be the tenant's.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rich.table import Table
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from ampeco.client import Client
from ampeco.tenants import Tenant
from receiver.simulator_process import Acknowledged, SimulatorProcess
from receiver.terminal import console
from storage import verification
from workers import subscriptions
from workers.errors import cause

#: What goes wrong, for some seconds at a time; each is a set of the simulator's faults.
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

#: Ids that one query asks the log for.
IDS_TOGETHER = 2_000

#: The simulator lives six hours before anybody looks; all of that must be news.
WARM_UP = timedelta(hours=7)

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done; ``against`` is the receiver as the simulator reaches it."""

    tenant: Tenant
    against: str
    seconds: float
    settle_seconds: float
    host: str
    seed: int
    options: dict[str, str]


@dataclass
class Verdict:
    """What became of it: one line a promise, with how often it was kept and how often not."""

    lines: list[tuple[str, int, list[str]]] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)

    def add(self, promise: str, checked: int, broken: list[str]) -> None:
        self.lines.append((promise, checked, broken))

    @property
    def is_kept(self) -> bool:
        return not any(broken for _, _, broken in self.lines)

    def table(self) -> Table:
        """For people."""
        table = Table("Promise", title="Chaos", title_justify="left")
        for heading in ("Checked", "Broken"):
            table.add_column(heading, justify="right")
        table.add_column("For example", overflow="fold")
        for promise, checked, broken in self.lines:
            style = "[red]" if broken else "[green]"
            table.add_row(promise, f"{checked:,}", f"{style}{len(broken):,}", "\n".join(broken[:EXAMPLES]))
        table.caption = ", ".join(f"{name} {count:,}" for name, count in self.sent.items())
        return table


def run(plan: Plan, engine: Engine, *, pace: Callable[[float], None] = time.sleep) -> Verdict:
    """Let the simulator live against the deployment, then compare.

    Raises:
        ampeco.errors.ApiError: the simulator refused to be subscribed to.
        DBAPIError: Postgres could not be read, even when all was over.
    """
    with engine.connect() as connection:
        newest_at, began_at = verification.newest_fact(connection, plan.tenant.name)
    # An earlier run may have left facts from ahead of our clock, which stand until newer ones come.
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
        _let_it_end(plan, simulator, subscription_id, pace)
        collect()
        _settle(plan, engine, pace)
        verdict = Verdict()
        deliveries = simulator.deliveries()
        verdict.sent = {
            name: int(deliveries[name]) for name in ("sent", "acknowledged", "refused", "unreachable", "duplicated")
        }
        _check_log(plan, engine, ledger, verdict)
        failed = int(deliveries["failed_by_subscription"].get(str(subscription_id), 0))
        verdict.add("Taken in the end", len(ledger), ["given up by its sender"] * failed)
        _check_state(plan, engine, client, began_at, verdict)
    return verdict


@contextmanager
def _subscribed(client: Client, plan: Plan) -> Iterator[int]:
    url = subscriptions.callback_url(plan.against, plan.tenant.name)
    yield subscriptions.subscribe(client, plan.tenant, url).subscription_id


def _inject_faults(
    plan: Plan, simulator: SimulatorProcess, collect: Callable[[], None], pace: Callable[[float], None]
) -> None:
    chance = random.Random(plan.seed)  # noqa: S311 - weather, not a secret
    ends_at = time.monotonic() + plan.seconds
    while (left := ends_at - time.monotonic()) > 0:
        fault_profile = chance.choice(list(FAULT_PROFILE))
        simulator.set_faults(**NO_FAULTS | FAULT_PROFILE[fault_profile])
        lasts_until = time.monotonic() + min(left, chance.uniform(MIN_FAULTS_SECONDS, MAX_FAULTS_SECONDS))
        while time.monotonic() < lasts_until:
            pace(POLL_SECONDS)
            collect()
        told = simulator.deliveries()
        console.print(
            f"{max(ends_at - time.monotonic(), 0):5.0f} s to go, was: {fault_profile}."
            f" Acknowledged {told['acknowledged']:,}, refused {told['refused']:,}, unreachable {told['unreachable']:,},"
            f" waiting {told['queued']:,}",
            highlight=False,
            soft_wrap=True,
        )
    simulator.set_faults(**NO_FAULTS)


def _let_it_end(plan: Plan, simulator: SimulatorProcess, subscription_id: int, pace: Callable[[float], None]) -> None:
    """Stop the tenant's clock, and wait until all is delivered; what was given up is sent once more."""
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


def _settle(plan: Plan, engine: Engine, pace: Callable[[float], None]) -> None:
    """Wait until nothing is pending and nothing is to be read; Postgres may still be coming back."""
    deadline = time.monotonic() + plan.settle_seconds
    told = ""
    while time.monotonic() < deadline:
        try:
            with engine.connect() as connection:
                unsettled, unread = verification.unfinished(connection, plan.tenant.name)
        except DBAPIError as error:
            now = f"Postgres does not answer: {cause(error)}"
        else:
            if not unsettled and not unread:
                return
            now = f"Settling: {unsettled:,} notifications pending, {unread:,} entities to read"
        if now != told:
            console.print(now, highlight=False)
            told = now
        pace(POLL_SECONDS)


def _check_log(plan: Plan, engine: Engine, ledger: list[Acknowledged], verdict: Verdict) -> None:
    lost, changed, unsettled, failed = [], [], [], []
    nameless = [entry.sha256 for entry in ledger if entry.notification_id is None]
    named = {entry.notification_id: entry.sha256 for entry in ledger if entry.notification_id is not None}
    ids = sorted(named)
    for first in range(0, len(ids), IDS_TOGETHER):
        asked = ids[first : first + IDS_TOGETHER]
        with engine.connect() as connection:
            found = verification.kept(connection, plan.tenant.name, asked)
        for one in asked:
            entry = found.get(one)
            if entry is None:
                lost.append(str(one))
            elif entry.sha256 != named[one]:
                changed.append(str(one))
            elif entry.state == "pending":
                unsettled.append(str(one))
            elif entry.state == "failed":
                failed.append(f"{one}: {entry.reason}")
    verdict.add("Every 2xx gave an id", len(ledger), nameless)
    verdict.add("Every 2xx is in the log", len(ids), lost)
    verdict.add("… exactly as it was sent", len(ids), changed)
    verdict.add("… and settled", len(ids), unsettled)
    verdict.add("… without failing", len(ids), failed)
    with engine.connect() as connection:
        _, unread = verification.unfinished(connection, plan.tenant.name)
    verdict.add(
        "Everything was read that was to be", 1, [f"{unread} entities are unread; see status"] if unread else []
    )


def _check_state(plan: Plan, engine: Engine, client: Client, since: datetime, verdict: Verdict) -> None:
    """Hold what we show against what the tenant's API shows, of everything that it told of."""
    with engine.connect() as connection:
        sessions, evses, charge_points = (
            verification.shown(connection, plan.tenant.name, kind, since=since)
            for kind in ("session", "evse", "charge_point")
        )
    # An energy that moved without a notification is not ours to know; all else is told.
    verdict.add(
        "Sessions are as the tenant shows them",
        len(sessions),
        _differences(
            "session",
            {
                one: (row["status"], row["stopped_at"], row["state_at"] and row["energy_wh"])
                for one, row in sessions.items()
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
            {one: (row["hardware_status"],) for one, row in evses.items()},
            {answer.resource.id: (answer.resource.hardware_status,) for answer in client.evses()},
        ),
    )
    verdict.add(
        "Charge points have the tenant's statuses",
        len(charge_points),
        _differences(
            "charge point",
            {one: (row["network_status"],) for one, row in charge_points.items()},
            {answer.resource.id: (answer.resource.network_status,) for answer in client.charge_points()},
        ),
    )


def _differences(kind: str, ours: dict[int, tuple[object, ...]], theirs: dict[int, tuple[object, ...]]) -> list[str]:
    return [
        f"{kind} {one}: {_told(values)}, the tenant shows {_told(theirs.get(one, ('nothing',)))}"
        for one, values in sorted(ours.items())
        if values != theirs.get(one)
    ]


def _told(values: tuple[object, ...]) -> str:
    return ", ".join(str(value) for value in values)
