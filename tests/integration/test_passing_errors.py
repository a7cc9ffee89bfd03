"""What the surroundings or our own code fail at is never recorded against a notification."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from storage import write
from storage.database import create_database_engine
from storage.inbox.batches import LEASE, claim
from storage.log.scope import Scope
from storage.reports.overview import oldest_pending
from storage.state import history, notifications
from tests.support.facts import sample
from tests.support.service import Service, eventually
from workers.apply import apply, share
from workers.apply.apply import apply_open_batches
from workers.apply.postponing import PostponedError, postpone
from workers.maintenance.replay import replay

EVSE = sample("HardwareStatusNotification.evse")
CHARGE_POINT = sample("NetworkStatusNotification.available")


def execute(service: Service, statement: str) -> None:
    with service.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def retry_now(service: Service) -> None:
    execute(service, "UPDATE ingest.batch SET lease_expires_at = NULL")


def batch(service: Service) -> dict[str, Any]:
    (row,) = service.query(
        "SELECT attempts, failures, probing_notification_id, applied_at, last_error FROM ingest.batch"
    )
    return row


def attempt(service: Service, engine: Engine | None = None) -> str | None:
    """Apply what is open, and return what it was put off for, where it was."""
    retry_now(service)
    try:
        apply_open_batches(engine or service.engine)
    except PostponedError as error:
        return str(error)
    return None


def test_a_connection_that_only_reads_fails_no_notification(service: Service) -> None:
    # Given a pool of which one connection leads to a server that only reads, as after a failover
    engine = create_database_engine(service.settings.required_database_url(), application_name="ro", pool_size=3)
    with engine.connect() as first, engine.connect() as second, engine.connect() as third:
        second.execute(text("SET default_transaction_read_only = on"))
        second.commit()
        first.execute(text("SELECT 1"))
        third.execute(text("SELECT 1"))
    service.post(EVSE)

    def is_applied() -> bool:
        with contextlib.suppress(DBAPIError, PostponedError):
            apply_open_batches(engine)
        return batch(service)["applied_at"] is not None

    # Then it is applied once another connection is met, and is recorded nowhere
    eventually(is_applied)
    engine.dispose()
    assert service.count("ingest.outcome") == 0


#: What breaks, how it is repaired, and what the batch says until then.
TROUBLES = {
    "a missing grant": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE insufficient_privilege USING MESSAGE = 'permission denied for table evse'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON charging.evse EXECUTE FUNCTION refuse()",
        "DROP FUNCTION refuse() CASCADE",
        "InsufficientPrivilege: permission denied for table evse",
    ),
    "an older schema": (
        "ALTER TABLE charging.evse RENAME COLUMN error_code TO error_number",
        "ALTER TABLE charging.evse RENAME COLUMN error_number TO error_code",
        "UndefinedColumn: ",
    ),
    "a later schema": (
        "ALTER TABLE charging.evse ADD COLUMN needed int NOT NULL",
        "ALTER TABLE charging.evse DROP COLUMN needed",
        'NotNullViolation: null value in column "needed"',
    ),
    "a constraint of somebody else's": (
        "ALTER TABLE charging.evse ADD CONSTRAINT mine CHECK (evse_id < 0)",
        "ALTER TABLE charging.evse DROP CONSTRAINT mine",
        "CheckViolation: ",
    ),
    "a missing table": (
        "ALTER TABLE charging.evse_status_observation RENAME TO elsewhere",
        "ALTER TABLE charging.elsewhere RENAME TO evse_status_observation",
        "UndefinedTable: ",
    ),
    "a row without a partition": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN CREATE TEMP TABLE days (d date) PARTITION BY RANGE (d); INSERT INTO days VALUES (now()); END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON charging.evse EXECUTE FUNCTION refuse()",
        "DROP FUNCTION refuse() CASCADE",
        'CheckViolation: no partition of relation "days" found for row',
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_is_wrong_with_the_database_is_waited_for(service: Service, trouble: str) -> None:
    broken, repaired, reason = TROUBLES[trouble]
    for body in (EVSE, CHARGE_POINT, EVSE | {"evseId": 903}):
        service.post(body)
    execute(service, broken)
    # When it is tried more often than a notification that ends its worker would be
    for _ in range(10):
        error = attempt(service)
        assert error is not None
        assert error.startswith(reason)
    # Then nothing is recorded against a notification, no attempt counts, and the reason can be asked for
    assert service.count("ingest.outcome") == 0
    open_ones = service.query(
        "SELECT attempts, failures, probing_notification_id FROM ingest.batch WHERE applied_at IS NULL"
    )
    assert open_ones
    assert all(
        (one["attempts"], one["probing_notification_id"]) == (0, None) and one["failures"] >= 2 for one in open_ones
    )
    with service.engine.connect() as connection:
        pending = oldest_pending(connection)
    assert (pending.reason or "").startswith(reason)
    # And what is sound does not wait for it
    assert service.count("charging.charge_point WHERE network_status = 'available'") == 1
    # When it is put right, then all is applied
    execute(service, repaired)
    assert attempt(service) is None
    assert {state for state, _ in service.states().values()} == {"applied"}
    assert service.count("charging.evse") == 2
    assert all(
        one["failures"] == 0 and one["last_error"] is None for one in service.query("SELECT * FROM ingest.batch")
    )


def test_a_retry_waits_longer_each_time_and_never_long(service: Service) -> None:
    service.post(EVSE)
    execute(service, "ALTER TABLE charging.evse RENAME TO elsewhere")
    waits = []
    for _ in range(7):
        assert attempt(service) is not None
        (row,) = service.query("SELECT extract(epoch FROM lease_expires_at - now()) AS seconds FROM ingest.batch")
        waits.append(float(row["seconds"]))
    assert waits[0] < waits[2] < waits[4]
    assert all(wait <= 10 for wait in waits)


@pytest.mark.parametrize("took_seconds", [45, 3_600])
def test_an_attempt_that_was_interrupted_for_long_is_made_again_within_a_lease(
    service: Service, took_seconds: float
) -> None:
    # Given a batch claimed by a process that is stopped, and continues later
    service.post(EVSE)
    with service.engine.begin() as connection:
        batches = claim(connection, max_batches=1, max_notifications=10, max_bytes=10_000)
    # When its attempt ends in vain
    postpone(service.engine, batches, TimeoutError("stopped"), took_seconds=took_seconds)
    # Then the next one is due as soon as if the process had died
    (row,) = service.query("SELECT lease_expires_at - now() AS wait FROM ingest.batch")
    assert row["wait"] <= LEASE


@contextlib.contextmanager
def broken_code(monkeypatch: pytest.MonkeyPatch, fail: Callable[[Any], None]) -> Iterator[None]:
    """Have this release fail while it writes."""
    sound = history.observe

    def observe(connection: Connection, tenant: str, observations: Any, **options: Any) -> Any:
        fail(observations)
        return sound(connection, tenant, observations, **options)

    with monkeypatch.context() as patched:
        patched.setattr(write, "observe", observe)
        yield


def test_code_that_fails_at_one_notification_holds_up_no_other(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(observations: Any, **options: Any) -> None:
        if any(row["evse_id"] == 902 for row in observations.get("evse_status_observation", ())):
            raise TypeError("'NoneType' object is not subscriptable")

    # Given a release that fails at one of four notifications, of which two came together with it
    service.post(CHARGE_POINT)
    for body in (EVSE, EVSE | {"evseId": 903}, EVSE | {"evseId": 904}):
        service.post(body)
    together(service, number=2)
    with broken_code(monkeypatch, fail):
        for _ in range(4):
            assert attempt(service) == "TypeError: 'NoneType' object is not subscriptable"
        # Then the others are in the state, and its batch alone is open
        assert service.query("SELECT evse_id FROM charging.evse ORDER BY 1") == [{"evse_id": 903}, {"evse_id": 904}]
        assert service.count("charging.charge_point") == 1
        assert service.count("ingest.batch WHERE applied_at IS NULL") == 1
        assert service.count("ingest.outcome") == 0
    # When a release comes that does not fail, then it needs no replay
    assert attempt(service) is None
    assert service.count("charging.evse") == 3
    assert service.count("ingest.batch WHERE applied_at IS NULL") == 0


def together(service: Service, *, number: int) -> None:
    """Put the last notifications into one batch."""
    ids = [row["batch_id"] for row in service.query("SELECT batch_id FROM ingest.batch ORDER BY 1")][-number:]
    with service.engine.begin() as connection:
        connection.execute(
            text("UPDATE ingest.notification SET batch_id = :first WHERE batch_id = ANY(:ids)"),
            {"first": ids[0], "ids": ids},
        )
        connection.execute(
            text(
                "UPDATE ingest.batch SET notifications = :number, last_received_at = now() + interval '1 minute'"
                " WHERE batch_id = :first"
            ),
            {"first": ids[0], "number": number},
        )
        connection.execute(text("DELETE FROM ingest.batch WHERE batch_id = ANY(:others)"), {"others": ids[1:]})


def test_a_few_batches_that_fail_for_good_hold_up_no_other(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(observations: Any, **options: Any) -> None:
        if any(row["evse_id"] < 910 for row in observations.get("evse_status_observation", ())):
            raise RuntimeError("a release that fails")

    for number in range(900, 930):
        service.post(EVSE | {"evseId": number})
    with broken_code(monkeypatch, fail):
        eventually(lambda: attempt(service) and service.count("charging.evse") == 20, seconds=60)
    assert service.count("ingest.outcome") == 0


def test_a_machine_without_memory_fails_no_notification(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.post(EVSE)
    with monkeypatch.context() as patched:

        def parse(_body: Any) -> Any:
            raise MemoryError

        patched.setattr(apply, "parse", parse)
        for _ in range(4):
            assert attempt(service) == "MemoryError: "
    assert attempt(service) is None
    assert list(service.states().values()) == [("applied", None)]


def test_what_postgres_refuses_fails_alone_as_before(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a release that lets a number through that no column holds
    sound = notifications.changes_from_notification

    def changes_from_notification(payload: Any, body: Any, notification_id: UUID) -> Any:
        found = sound(payload, body, notification_id)
        for row in found.observations.get("evse_status_observation", ()):
            row["evse_id"] = 2**63 if row["evse_id"] == 902 else row["evse_id"]
        return found

    for number in range(900, 905):
        service.post(EVSE | {"evseId": number})
    with monkeypatch.context() as patched:
        patched.setattr(apply, "changes_from_notification", changes_from_notification)
        service.apply()
    (failed,) = service.query("SELECT reason FROM ingest.outcome")
    assert failed["reason"] == "refused by Postgres"
    assert service.count("charging.evse") == 4


def test_a_worker_that_waited_for_postgres_is_held_up_by_no_notification(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker whose time is up while it waits, one by one
    from dramatiq.middleware import TimeLimitExceeded

    service.post(EVSE)
    execute(service, "UPDATE ingest.batch SET attempts = 5")

    def write(*_: Any) -> int:
        raise TimeLimitExceeded

    with monkeypatch.context() as patched:
        patched.setattr(apply, "write", write)
        for _ in range(4):
            retry_now(service)
            with pytest.raises(TimeLimitExceeded):
                apply_open_batches(service.engine)
        assert batch(service)["probing_notification_id"] is None
        # But one that computed all the time was
        patched.setattr(share, "POISON_THRESHOLD_SECONDS", 0.0)
        patched.setattr(apply, "POISON_THRESHOLD_SECONDS", 0.0)
        for _ in range(2):
            retry_now(service)
            with pytest.raises(TimeLimitExceeded):
                apply_open_batches(service.engine)
    assert attempt(service) is None
    assert [reason for _, reason in service.states().values()] == ["its worker ended while applying it"]


def test_a_worker_that_was_killed_once_blames_no_notification(service: Service) -> None:
    # Given a batch of which a worker was killed while it tried a notification alone
    for number in (902, 903):
        service.post(EVSE | {"evseId": number})
    together(service, number=2)
    execute(
        service,
        "UPDATE ingest.batch SET attempts = 3, probing_notification_id = (SELECT max(notification_id::text)::uuid FROM ingest.notification)",
    )
    # When the next worker tries it, then it is applied
    assert attempt(service) is None
    assert {state for state, _ in service.states().values()} == {"applied"}


def test_a_replay_stops_at_a_trouble_of_the_database_and_fails_nothing(service: Service) -> None:
    service.post(EVSE)
    service.apply()
    (row,) = service.query("SELECT received_at FROM ingest.notification")
    execute(service, "ALTER TABLE charging.evse_status_observation RENAME TO elsewhere")
    scope = Scope("demo", row["received_at"], row["received_at"].replace(year=row["received_at"].year + 1))
    with pytest.raises(DBAPIError):
        list(replay(service.engine, scope))
    assert service.count("ingest.outcome") == 0
