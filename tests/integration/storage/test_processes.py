"""Which processes run: a lease lasts no longer than the process that holds it."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Connection, text

from storage.ids import uuid7
from storage.monitoring import processes
from storage.monitoring.processes import LOST_AFTER, ListedProcess, Process


def register(connection: Connection, name: str = "work refresh") -> UUID:
    process = Process(uuid7(), name, "host-a", 42, "1.2.3")
    processes.register(connection, process)
    return process.process_id


def seen_ago(connection: Connection, process_id: UUID, age: timedelta) -> None:
    connection.execute(
        text("UPDATE ingest.process SET seen_at = now() - :age WHERE process_id = :id"), {"age": age, "id": process_id}
    )


def listed(connection: Connection) -> dict[UUID, ListedProcess]:
    return {process.process_id: process for process in processes.list_processes(connection)}


def test_a_process_is_alive_until_it_stops_or_is_not_seen_for_a_while(connection: Connection) -> None:
    # Given four processes: one that beats, one that stopped, one that went away, one that came back
    alive, stopped, lost, back = (register(connection, name) for name in ("serve", "work apply", "work refresh", "up"))
    seen_ago(connection, lost, LOST_AFTER + timedelta(seconds=1))
    seen_ago(connection, back, LOST_AFTER + timedelta(seconds=1))
    processes.leave(connection, stopped)
    # When they are listed after a heartbeat of the last one
    assert processes.heartbeat(connection, back, "Redis does not answer")
    found = listed(connection)
    # Then each is what it is
    assert [found[one].is_alive for one in (alive, stopped, lost, back)] == [True, False, False, True]
    assert [found[one].is_lost for one in (alive, stopped, lost, back)] == [False, False, True, False]
    assert (found[back].problem, found[alive].problem) == ("Redis does not answer", None)
    assert (found[alive].host, found[alive].pid, found[alive].version) == ("host-a", 42, "1.2.3")


def test_a_problem_that_is_over_is_shown_no_more(connection: Connection) -> None:
    process = register(connection)
    processes.heartbeat(connection, process, "Redis does not answer")
    processes.heartbeat(connection, process)
    assert listed(connection)[process].problem is None


def test_an_unregistered_process_learns_that_from_its_heartbeat(connection: Connection) -> None:
    process = register(connection)
    seen_ago(connection, process, timedelta(days=2))
    processes.prune(connection, timedelta(days=1))
    assert listed(connection) == {}
    assert not processes.heartbeat(connection, process)


def test_a_lease_ends_with_its_time_or_with_its_holder(connection: Connection) -> None:
    # Given holders in every state
    alive, stopped, lost = (register(connection) for _ in range(3))
    processes.leave(connection, stopped)
    seen_ago(connection, lost, LOST_AFTER + timedelta(seconds=1))

    def has_ended(holder: UUID | None, expires: str | None) -> bool:
        statement = text(f"""
            SELECT {processes.lease_ended("held")}
              FROM (SELECT now() + CAST(:expires AS interval) AS lease_expires_at, CAST(:holder AS uuid) AS leased_by)
                   AS held
        """)
        return bool(connection.execute(statement, {"holder": holder, "expires": expires}).scalar_one())

    # Then only what a living process took, or an older release that names none, is still leased
    assert not has_ended(alive, "1 minute")
    assert not has_ended(None, "1 minute")
    assert has_ended(alive, "-1 second")
    assert has_ended(stopped, "1 minute")
    assert has_ended(lost, "1 minute")
    assert has_ended(uuid7(), "1 minute")
    assert has_ended(None, None)
