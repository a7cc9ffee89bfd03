"""Every process of the service is listed with what it runs, and leaves the list of the living when it stops."""

from __future__ import annotations

import signal
from pathlib import Path

from sqlalchemy import Engine

from storage.processes import ListedProcess, list_processes
from tests.support.processes import end, processes
from tests.support.service import eventually


def test_receivers_and_workers_register_and_stop(
    database_url: str, redis_url: str, tmp_path: Path, engine: Engine
) -> None:
    def listed() -> dict[str, ListedProcess]:
        with engine.connect() as connection:
            return {process.name: process for process in list_processes(connection)}

    with processes(database_url, redis_url, tmp_path) as service:
        # Given a receiver and a worker
        running = {"serve": service.serve(), "work refresh": service.work("refresh")}
        found = eventually(lambda: len(known := listed()) == len(running) and known)
        assert {name: process.pid for name, process in running.items()} == {name: found[name].pid for name in found}
        assert all(process.is_alive for process in found.values())
        # When both are stopped in order
        for process in running.values():
            end(process, signal.SIGTERM)
        # Then neither counts as alive, nor as lost
        assert [(process.is_alive, process.is_lost) for process in listed().values()] == [(False, False)] * 2
