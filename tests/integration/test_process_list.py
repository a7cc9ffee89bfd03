"""Every process is listed with what it runs; when it stops, or is killed, others take over what it had claimed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from sqlalchemy import Engine
from starlette.responses import StreamingResponse

from storage.monitoring.processes import LOST_AFTER, ListedProcess, list_processes
from tests.support.ampeco import FakeAmpeco
from tests.support.log import execute, query
from tests.support.processes import end, processes
from tests.support.service import eventually, running, write_tenants


def test_receivers_and_workers_register_and_stop(
    database_url: str, redis_url: str, tmp_path: Path, engine: Engine
) -> None:
    def listed() -> dict[str, ListedProcess]:
        with engine.connect() as connection:
            return {process.name: process for process in list_processes(connection)}

    with processes(database_url, redis_url, tmp_path) as service:
        # Given a receiver and a worker
        started = {"serve": service.serve(), "work refresh": service.work("refresh")}
        found = eventually(lambda: len(known := listed()) == len(started) and known, seconds=60)
        assert {name: process.pid for name, process in started.items()} == {name: found[name].pid for name in found}
        assert all(process.is_alive for process in found.values())
        # When both are stopped in order
        for process in started.values():
            end(process, signal.SIGTERM)
        # Then neither counts as alive, nor as lost
        assert [(process.is_alive, process.is_lost) for process in listed().values()] == [(False, False)] * 2


def test_what_a_killed_reader_had_claimed_is_read_by_another_once_it_counts_as_lost(
    database_url: str, redis_url: str, tmp_path: Path, engine: Engine
) -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.1)

    # Given a process whose read hangs, and is killed
    ampeco = FakeAmpeco()
    evse = "evses/v2.1/902"
    ampeco.answers[evse] = lambda _: StreamingResponse(drip(), media_type="application/json")
    with running(ampeco.app) as api_url, processes(database_url, redis_url, tmp_path) as service:
        write_tenants(tmp_path, api_url=api_url)
        execute(
            engine,
            "INSERT INTO ingest.refresh_request (tenant, kind, entity_id, reason)"
            " VALUES ('demo', 'evse', 902, 'changed')",
        )
        reader = service.work("refresh")
        eventually(lambda: ampeco.calls[evse], seconds=60)
        end(reader)
        (held,) = query(engine, "SELECT leased_by IS NOT NULL AS is_held FROM ingest.refresh_request")
        assert held["is_held"]
        # When it was not seen for a while, and another process runs
        execute(engine, "UPDATE ingest.process SET seen_at = seen_at - :age", age=LOST_AFTER)
        del ampeco.answers[evse]
        service.work("refresh")
        # Then that one reads what the dead one had claimed, long before its lease would have run out
        eventually(lambda: not query(engine, "SELECT FROM ingest.refresh_request WHERE kind = 'evse'"), seconds=60)
    assert query(engine, "SELECT physical_reference FROM charging.evse") == [{"physical_reference": "QC-418-1"}]
