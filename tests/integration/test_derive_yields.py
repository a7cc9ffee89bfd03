"""Deriving leaves the processor to applying: facts that wait go first, and what changes all the time is derived rarely."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from analytics import derive as rounds
from analytics.derive import derive_round
from storage.state.marks import mark_all
from tests.support.deployment import Deployment
from tests.support.facts import sample
from tests.support.service import eventually
from workers import derive
from workers.broker import create_broker
from workers.derive import derive_tenant, wake_derivations


def is_marked(deployment: Deployment) -> bool:
    with deployment.context.engine.connect() as connection:
        return bool(connection.execute(text("SELECT EXISTS (SELECT FROM analytics.dirty)")).scalar_one())


def mark(deployment: Deployment) -> None:
    """Mark everything, of which there is an EVSE."""
    deployment.tell(sample("HardwareStatusNotification.evse"))
    with deployment.context.engine.begin() as connection:
        mark_all(connection, "demo")


def let_a_batch_wait(deployment: Deployment) -> None:
    with deployment.context.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE ingest.batch SET applied_at = NULL, lease_expires_at = NULL,"
                " committed_at = now() - interval '10 s'"
            )
        )


def test_deriving_waits_while_notifications_wait_but_not_for_ever(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derive, "PATIENCE_SECONDS", 0.3)
    mark(deployment)
    let_a_batch_wait(deployment)
    began = time.monotonic()
    derive_tenant(deployment.context, "demo")
    assert time.monotonic() - began >= 0.3
    assert not is_marked(deployment)


def test_deriving_does_not_wait_if_nothing_else_does(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derive, "PATIENCE_SECONDS", 1e9)
    mark(deployment)
    derive_tenant(deployment.context, "demo")
    assert not is_marked(deployment)


@contextmanager
def changing(deployment: Deployment, times: int) -> Iterator[None]:
    """Mark everything some times whenever a round has taken its marks."""
    engine = deployment.context.engine

    def mark_again(_connection: Any, _cursor: Any, statement: str, *_further: Any) -> None:
        if "DELETE FROM analytics.dirty" in statement:
            with engine.begin() as connection:
                for _ in range(times):
                    mark_all(connection, "demo")

    event.listen(engine, "after_cursor_execute", mark_again)
    yield
    event.remove(engine, "after_cursor_execute", mark_again)


@pytest.mark.parametrize("times", [1, 2])
def test_a_tenant_rests_if_a_round_took_several_marks_of_its_entities(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setattr(derive, "TIME_BUDGET_SECONDS", 0.5)
    monkeypatch.setattr(derive, "REST", 1e6)
    monkeypatch.setattr(derive, "MAX_REST_SECONDS", 1)
    broker = create_broker(deployment.context.redis)
    derive_tenant(deployment.context, "other")  # so that it is not due
    for _ in range(times):
        mark(deployment)
    with changing(deployment, times):
        derive_tenant(deployment.context, "demo")
    assert is_marked(deployment)
    assert wake_derivations(deployment.context, broker) == (times == 1)
    if times > 1:
        eventually(lambda: wake_derivations(deployment.context, broker) == 1)


def test_a_round_that_took_as_much_as_it_may_is_followed_by_the_next_one(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "MAX_ENTITIES", 1)
    mark(deployment)
    with deployment.context.engine.connect() as connection:
        assert connection.execute(text("SELECT count(DISTINCT kind) FROM analytics.dirty")).scalar_one() > 1
    derive_tenant(deployment.context, "demo")
    assert not is_marked(deployment)


def test_a_round_takes_all_marks_of_what_it_derives(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MAX_ENTITIES", 40)
    with deployment.context.engine.begin() as connection:
        marks = "INSERT INTO analytics.dirty (tenant, kind, entity_id) SELECT 'demo', :kind, :id FROM generate_series(1, 50)"
        for kind, entity_id in (("evse", 1), ("evse", 2)):
            connection.execute(text(marks), {"kind": kind, "id": entity_id})
    taken = [derive_round(deployment.context.engine, "demo") for _ in range(2)]
    assert [(done.marks, done.is_full) for done in taken if done is not None] == [(50, True), (50, False)]
