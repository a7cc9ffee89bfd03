"""A simulated tenant whose clock and whose deliveries a test controls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from pydantic import SecretStr
from sqlalchemy import text
from starlette.types import Receive, Scope, Send

from ampeco.api.client import Client
from ampeco.signature import sign
from simulator.app import Simulator
from simulator.settings import Faults, TenantSettings
from storage.inbox import batches
from storage.schema.tables import metadata
from storage.sync import refresh_queue, sync_runs
from tests.support.comparison import SHOWN, differences
from tests.support.service import TOKEN, Service, running, serving
from workers.api.context import Context, create_context
from workers.api.pause import recovered
from workers.api.rate_limit import CallDeferredError
from workers.sync.reconcile import sync_pages
from workers.sync.refresh import refresh_tenant
from workers.sync.schedule import since

OTHER_TOKEN = "the-token-after-the-rotation"


class Stage:
    """An ASGI app with the API of the current tenant, whose clock does not run by itself."""

    def __init__(self, size: int, start: datetime, foreign_evses: int = 0) -> None:
        self._size = size
        self._foreign_evses = foreign_evses
        self._start = start
        self.simulator = self.enter(1)

    def enter(self, seed: int) -> Simulator:
        """Make a new tenant the current one."""
        settings = TenantSettings(
            seed=seed,
            start=self._start,
            charge_points=self._size,
            evses=2 * self._size,
            locations=max(self._size // 3, 3),
            sessions_a_day=24,
            foreign_evses=self._foreign_evses,
        )
        self.simulator = Simulator(settings, token=TOKEN)
        return self.simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call of the API."""
        if scope["type"] == "lifespan":
            for moment in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{moment}.complete"})
        else:
            await self.simulator.guard(scope, receive, send)


class Tenant:
    """A tenant, the service that follows it, and the faults between them."""

    def __init__(self, stage: Stage, api_url: str, service: Service, context: Context) -> None:
        self._stage = stage
        self.service = service
        self.context = context
        self.client = Client(api_url, SecretStr(TOKEN))
        self.signing_token = TOKEN
        #: The bodies of notifications that are not delivered yet.
        self.under_way: list[bytes] = []
        self.delivered: list[bytes] = []

    @property
    def simulator(self) -> Simulator:
        """The simulator of the current tenant."""
        return self._stage.simulator

    @property
    def now(self) -> datetime:
        """The tenant's time."""
        return self.simulator.fleet.now

    def begin_again(self, seed: int) -> None:
        """Replace this tenant with another one, of which the service has stored nothing."""
        self._stage.enter(seed)
        self.signing_token = TOKEN
        self.under_way, self.delivered = [], []
        self.forget_everything()

    def live(self, minutes: float) -> None:
        """Advance the tenant's clock; its notifications are then under way."""
        notifications = self.simulator.fleet.advance(self.now + timedelta(minutes=minutes))
        self.under_way += [notification.body for notification in notifications]

    def deliver(self, share: float, chance: Random, *, in_order: bool) -> int:
        """Deliver a share of the notifications under way; return their number."""
        count = round(len(self.under_way) * share)
        if not in_order:
            chance.shuffle(self.under_way)
        chosen, self.under_way = self.under_way[:count], self.under_way[count:]
        for body in chosen:
            self._send(body)
        self.delivered += chosen
        return count

    def repeat(self, count: int, chance: Random) -> None:
        """Deliver notifications again that were delivered at any earlier time."""
        for body in chance.sample(self.delivered, min(count, len(self.delivered))):
            self._send(body)

    def lose(self, share: float, chance: Random) -> None:
        """Lose a share of the notifications under way."""
        chance.shuffle(self.under_way)
        del self.under_way[: round(len(self.under_way) * share)]

    def _send(self, body: bytes) -> None:
        headers = {"X-Signature": sign(body, self.signing_token)}
        answer = self.service.client.post(f"{self.service.url}/notifications/demo", content=body, headers=headers)
        assert answer.status_code == 202, answer.text

    def set_faults(self, **faults: Any) -> None:
        """Set the fault profile; without arguments there are no faults."""
        self.simulator.fault_injector.faults = Faults(**faults)

    def refuse_token(self, refused: bool) -> None:
        """Make the API refuse the token, as after a rotation without our knowledge."""
        self.simulator.guard.token = OTHER_TOKEN if refused else TOKEN

    def refresh(self) -> None:
        """Make the requested reads, as if all of them were due."""
        self.hasten()
        refresh_tenant(self.context, "demo")

    def kill_worker(self) -> None:
        """Leave behind the leases of a worker that is killed during its work."""
        with self.service.engine.begin() as connection:
            batches.claim(connection, max_batches=3, max_notifications=50, max_bytes=1_000_000)
        with self.service.engine.begin() as connection:
            refresh_queue.claim(connection, "demo", limit=10)
        with self.service.engine.begin() as connection:
            sync_runs.begin(connection, "demo", "session", "reconcile", self.now - timedelta(hours=1))

    def sync_run(self, *, full: bool, pages: int | None = None, kinds: Sequence[str] = SHOWN) -> None:
        """Reconcile kinds that the tenant lists, by default all; stop after ``pages`` pages of a kind, if given."""
        self.hasten()
        for kind in kinds:
            with self.service.engine.begin() as connection:
                cursor = sync_runs.cursors(connection, ["demo"]).get(("demo", kind))
                changed_since = None if full else since(kind, cursor)
                sync_run = sync_runs.begin(connection, "demo", kind, "reconcile", changed_since)
            assert sync_run is not None
            with contextlib.suppress(CallDeferredError):  # an API that is down, or refuses the token
                for done, _ in enumerate(sync_pages(self.context, sync_run, reason="reconcile"), start=1):
                    if pages is not None and done >= pages:
                        return

    def settle(self) -> None:
        """Apply every accepted notification and make every requested read, without faults."""
        self.set_faults()
        self.refuse_token(False)
        self.hasten()
        self.service.apply()
        for _ in range(30):
            self.refresh()
            if not self.service.count("ingest.refresh_request"):
                return
        raise AssertionError(f"still requested: {self.service.query('SELECT * FROM ingest.refresh_request')}")

    def reconcile(self) -> None:
        """Run one full reconcile, and the reads that it requests."""
        self.finish_sync_runs()
        self.sync_run(full=True)
        self.settle()

    def finish_sync_runs(self) -> None:
        """Finish unfinished sync runs, as the next worker would."""
        self.sync_run(full=False)

    def differences(self) -> tuple[int, list[str]]:
        """Compare the stored entities with the tenant's; return their number, and the differences."""
        with self.service.engine.connect() as connection:
            return differences(connection, "demo", self.client)

    def forget_everything(self) -> None:
        """Empty the database and Redis."""
        with self.service.engine.begin() as connection:
            tables = ", ".join(str(table) for table in metadata.sorted_tables)
            connection.execute(text(f"TRUNCATE {tables}"))
        self.context.redis.flushdb()

    def hasten(self) -> None:
        """End every lease, pause and delay."""
        with self.service.engine.begin() as connection:
            connection.execute(text("UPDATE ingest.batch SET lease_expires_at = NULL WHERE applied_at IS NULL"))
            connection.execute(text("UPDATE ingest.refresh_request SET lease_expires_at = NULL, due_at = now()"))
            free = "UPDATE ingest.sync_run SET lease_expires_at = NULL, retry_at = NULL WHERE finished_at IS NULL"
            connection.execute(text(free))
            connection.execute(text("DELETE FROM ingest.inaccessible_kind"))
        for key in self.context.redis.scan_iter("ampeco-receiver:*"):
            self.context.redis.delete(key)
        recovered(self.context.redis, "demo")


@contextlib.contextmanager
def tenant(
    database_url: str, redis_url: str, directory: Path, *, start: datetime, size: int = 3, foreign_evses: int = 0
) -> Iterator[Tenant]:
    """Run a tenant with ``size`` charge points, whose clock the test advances, and a service with an empty database."""
    stage = Stage(size, start, foreign_evses)
    with (
        running(stage) as api_url,
        serving(database_url, redis_url, directory, api_url=api_url, signing_tokens=[OTHER_TOKEN]) as service,
        create_context(service.settings, process="tests") as context,
    ):
        # The pages are small, so that even a small tenant has several.
        context.make_client = lambda tenant, **shared: Client(tenant.url, tenant.api_token(), per_page=10, **shared)
        made = Tenant(stage, api_url, service, context)
        with made.client:
            yield made
