"""From a living tenant to the database: what the tenant shows is what is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import text

from ampeco.api.client import Client
from ampeco.resources.kinds import KINDS
from simulator.app import Simulator
from simulator.settings import Faults, TenantSettings
from storage.schema.entities import MIRRORS
from tests.support.service import TOKEN, eventually, running, serving
from workers.api.context import create_context
from workers.monitoring import subscriptions as subscribing
from workers.sync.refresh import refresh_tenant


def test_a_tenants_sessions_and_evses_end_as_its_api_shows_them(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    # Given a tenant that lives fast, and whose notifications come twice and out of order
    faults = Faults(duplicate=0.2, reorder=0.2)
    start = datetime(2026, 3, 4, 8, tzinfo=UTC)
    settings = TenantSettings(seed=7, start=start, charge_points=6, evses=12, locations=2, sessions_a_day=30)
    simulator = Simulator(settings, token=TOKEN, speed=1_200, faults=faults)
    with (
        running(simulator.guard) as api_url,
        serving(database_url, redis_url, tmp_path, api_url=api_url) as service,
        create_context(service.settings, process="tests") as context,
        Client(api_url, SecretStr(TOKEN)) as client,
    ):
        tenant = service.settings.tenants["demo"]
        url = subscribing.callback_url(service.url, "demo")
        # When the service subscribes, twice, then there is one subscription
        assert subscribing.subscribe(client, tenant, url).action == "created"
        assert subscribing.subscribe(client, tenant, url).action == "unchanged"
        assert len(client.subscriptions()) == 1

        # And when hours have passed and the tenant rests
        eventually(lambda: service.count("ingest.notification") > 600, seconds=60)
        assert service.client.post(f"{api_url}/control/pause").status_code == 204

        def delivered() -> bool:
            deliveries = service.client.get(f"{api_url}/control/state").json()["deliveries"]
            return bool(deliveries["queued"] == deliveries["held"] == 0)

        eventually(delivered, seconds=60)
        service.apply()
        while service.count("ingest.refresh_request"):
            with service.engine.begin() as connection:
                # No process makes sync runs here, so nothing may wait for one.
                connection.execute(
                    text(
                        "UPDATE ingest.refresh_request SET due_at = now(), lease_expires_at = NULL,"
                        " requested_at = now() - interval '1 hour'"
                    )
                )
            refresh_tenant(context, "demo")

        # Then every session that we know is as the API shows it
        shown = {answer.resource.id: answer.resource for answer in client.sessions()}
        kept = service.query("SELECT * FROM charging.session WHERE tenant = 'demo'")
        assert len(kept) > 5
        for row in kept:
            session = shown[row["session_id"]]
            if row["state_at"] != session.last_updated_at:
                continue  # it changed without a notification, which only reconciling can find
            assert (row["status"], row["energy_wh"]) == (session.status, session.energy_wh)
            assert (row["stopped_at"], row["payment_status"]) == (session.stopped_at, session.payment_status)
            assert row["amount_with_tax"] == session.amount_with_tax
        # And every EVSE that we know
        evses = {answer.resource.id: answer.resource for answer in client.evses()}
        known = service.query("SELECT * FROM charging.evse WHERE tenant = 'demo' AND deleted_at IS NULL")
        assert {row["evse_id"]: row["hardware_status"] for row in known} == {
            row["evse_id"]: evses[row["evse_id"]].hardware_status for row in known
        }
        # And every entity of commerce that we know, whole
        for kind in ("authorization", "transaction", "reservation", "tariff", "user"):
            listed = {answer.resource.id: answer.raw for answer in client.list(KINDS[kind])}
            matches = MIRRORS[kind].matches("kept", tenant="'demo'")
            rows = service.query(f"SELECT * FROM charging.{MIRRORS[kind].name} AS kept WHERE {matches}")
            assert rows or kind in ("reservation", "tariff", "user"), kind  # few of these are sent in a few hours
            assert {row[MIRRORS[kind].key]: row["raw"] for row in rows} == {
                row[MIRRORS[kind].key]: listed[row[MIRRORS[kind].key]] for row in rows
            }
        assert "password-hash" not in repr(service.query("SELECT * FROM charging.resource"))
        # And nothing failed
        assert service.query("SELECT * FROM ingest.outcome WHERE state = 'failed'") == []
        # And unsubscribing leaves nothing behind
        assert len(subscribing.unsubscribe(client, url)) == 1
        assert client.subscriptions() == ()
