"""A diagnosis says how bad something is, what was seen, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ampeco.resources.charging import Subscription
from ampeco.tenants import Tenant
from receiver.doctor import surroundings
from receiver.doctor.diagnosis import Diagnosis, attempt, from_check
from receiver.doctor.processes import CHECKS, checks, look_at_processes
from receiver.doctor.surroundings import look_at_callback, look_at_disk
from receiver.doctor.tenants import look_at_clock, look_at_kafka_subscription
from runtime.readiness import Check
from runtime.settings import Settings
from storage.monitoring.processes import ListedProcess
from workers.broker import QUEUES

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def process(name: str, *, is_alive: bool = True, problem: str | None = None, stopped: bool = False) -> ListedProcess:
    return ListedProcess(uuid4(), name, "host", 5, "1.0", NOW, NOW, 1.0, NOW if stopped else None, problem, is_alive)


def states(*processes: ListedProcess) -> dict[str, str]:
    return {diagnosis.check: diagnosis.state for diagnosis in look_at_processes(processes)}


def test_a_consumer_is_needed_only_if_kafka_is_configured() -> None:
    def state(*processes: ListedProcess) -> str:
        found = {each.check: each.state for each in look_at_processes(processes, with_kafka=True)}
        assert tuple(found) == checks(with_kafka=True)
        return found["consumers"]

    assert "consumers" not in states()
    assert checks(with_kafka=False) == CHECKS
    assert state() == "failed"
    assert state(process("consume", is_alive=False)) == "failed"
    assert state(process("consume", problem="kafka: no broker answers")) == "warning"
    assert state(process("consume")) == "ok"


def subscription(**changes: Any) -> Subscription:
    kafka = {"topic": "ampeco-demo", "brokers": ["k:9092"], "saslPassword": "s3cret"}
    return Subscription.model_validate(
        {"id": 1, "via": "kafka", "notifications": ["evse.changed"], "kafka": kafka} | changes
    )


def test_the_subscription_of_a_tenant_with_a_topic_is_one_that_delivers_there() -> None:
    tenant = Tenant.model_validate(
        {
            "name": "demo",
            "base_url": "https://t.example.com",
            "token": "x",
            "kafka_topic": "ampeco-demo",
            "notifications": ["evse.changed"],
        }
    )

    def look(*listed: Subscription) -> Diagnosis:
        return look_at_kafka_subscription(tenant, listed)

    assert look(subscription()).state == "ok"
    assert look().state == "failed"
    assert look(subscription(kafka={"topic": "another"})).state == "failed"
    assert look(subscription(via="webhook")).state == "failed"
    lacking = look(subscription(notifications=[]))
    assert (lacking.state, "evse.changed" in lacking.detail) == ("failed", True)
    assert look(subscription(notifications=[]), subscription(id=2)).state == "ok"
    assert look(subscription(enabled=False)).state == "failed"
    assert "s3cret" not in str([look(subscription()), lacking])


def test_what_readiness_does_not_require_is_a_warning() -> None:
    assert from_check("x", Check(True, "fine")) == Diagnosis("x", "ok", "fine")
    assert from_check("x", Check(False, "wrong", "do this")) == Diagnosis("x", "failed", "wrong", "do this")
    assert from_check("x", Check(False, "wrong", required=False)).state == "warning"


def test_a_check_that_raises_has_failed_and_those_before_it_stay() -> None:
    def look() -> Iterator[Diagnosis]:
        yield Diagnosis("first", "ok", "fine")
        raise OSError("postgresql://user:s3cret@host is down\nmore")

    first, second = attempt("second", look, "bring it back")
    assert first.state == "ok"
    assert (second.check, second.state, second.advice) == ("second", "failed", "bring it back")
    assert "s3cret" not in second.detail


def test_every_part_of_the_service_needs_a_process_that_is_alive() -> None:
    assert states(process("serve"), process(f"work {'+'.join(QUEUES)}")) == dict.fromkeys(CHECKS, "ok")
    assert states() == dict.fromkeys(CHECKS, "failed")
    assert states(process("serve", is_alive=False), process("work apply", is_alive=False, stopped=True)) == states()
    mixed = states(process("serve"), process("serve", is_alive=False), process("work apply", problem="Redis is down"))
    assert (mixed["receivers"], mixed["workers of apply"], mixed["workers of refresh"]) == ("ok", "warning", "failed")


@pytest.mark.parametrize(("seconds", "state"), [(0, "ok"), (9, "ok"), (-9, "ok"), (60, "warning"), (-60, "warning")])
def test_a_clock_of_a_tenant_may_differ_by_seconds_only(seconds: int, state: str) -> None:
    assert look_at_clock("demo", timedelta(seconds=seconds)).state == state
    assert look_at_clock("demo", None).state == "not checked"


def test_a_disk_that_is_nearly_full_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(data_dir=tmp_path / "not" / "made")
    monkeypatch.setattr(surroundings, "MIN_FREE_SHARE", 0.0)
    assert look_at_disk(settings).state == "ok"
    monkeypatch.setattr(surroundings, "MIN_FREE_SHARE", 1.1)
    assert look_at_disk(settings).state == "warning"
    own_server = Settings(database_url="postgresql://host/database")
    assert look_at_disk(own_server).state == "not checked"


def test_a_url_that_cannot_be_called_is_a_failure() -> None:
    for url in ("http://127.0.0.1:1", "https://:x"):
        assert look_at_callback(url, ["demo"], timeout_seconds=1).state == "failed"
