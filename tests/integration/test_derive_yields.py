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
from tests.support.servers import own_redis
from workers import derive
from workers.broker import create_broker, create_redis
from workers.derive import derive_tenant
from workers.wake_ups import wake_derivations


def is_marked(deployment: Deployment) -> bool:
    with deployment.context.engine.connect() as connection:
        return bool(connection.execute(text("SELECT EXISTS (SELECT FROM analytics.dirty)")).scalar_one())


def last_mark(deployment: Deployment) -> int:
    with deployment.context.engine.connect() as connection:
        return int(connection.execute(text("SELECT max(dirty_id) FROM analytics.dirty")).scalar_one())


def mark(deployment: Deployment) -> None:
    """Mark everything, of which there is an EVSE."""
    deployment.deliver(sample("HardwareStatusNotification.evse"))
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
    """Mark everything some times, and again whenever a round has taken its marks."""
    engine = deployment.context.engine

    def mark_everything() -> None:
        with engine.begin() as connection:
            for _ in range(times):
                mark_all(connection, "demo")

    def mark_again(_connection: Any, _cursor: Any, statement: str, *_further: Any) -> None:
        if "DELETE FROM analytics.dirty" in statement:
            mark_everything()

    mark_everything()
    event.listen(engine, "after_cursor_execute", mark_again)
    try:
        yield
    finally:
        event.remove(engine, "after_cursor_execute", mark_again)


@pytest.fixture
def derived(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """A deployment of which nothing is marked, whose rounds are followed by a long rest if by any."""
    monkeypatch.setattr(derive, "TIME_BUDGET_SECONDS", 0.5)
    monkeypatch.setattr(derive, "REST_FACTOR", 1e6)
    monkeypatch.setattr(derive, "MAX_REST_SECONDS", 60)
    deployment.deliver(sample("HardwareStatusNotification.evse"))
    for tenant in ("demo", "other"):
        derive_tenant(deployment.context, tenant)
    deployment.context.redis.flushdb()
    return deployment


@pytest.mark.parametrize("times", [1, 2])
def test_a_tenant_rests_if_a_round_took_several_marks_of_its_entities(derived: Deployment, times: int) -> None:
    broker = create_broker(derived.context.redis)
    with changing(derived, times):
        derive_tenant(derived.context, "demo")
        assert is_marked(derived)
        # No process is woken while it rests, and one that is awake derives nothing
        assert wake_derivations(derived.context, broker) == (times == 1)
        if times > 1:
            before = last_mark(derived)
            derive_tenant(derived.context, "demo")
            assert last_mark(derived) == before
            # Without Redis's memory it does not rest
            derived.context.redis.flushdb()
            assert wake_derivations(derived.context, broker) == 1


def test_a_tenant_is_derived_without_a_rest_while_redis_is_away(
    derived: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_redis() as server, create_redis(server.url) as away, changing(derived, 2):
        server.kill()
        monkeypatch.setattr(derived.context, "redis", away)
        before = last_mark(derived)
        derive_tenant(derived.context, "demo")
        assert last_mark(derived) > before, "a round took what was marked"


def test_a_round_that_took_as_many_marks_as_it_may_is_followed_by_the_next_one(
    derived: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derive, "TIME_BUDGET_SECONDS", 60)
    monkeypatch.setattr(rounds, "MAX_ENTITIES", 1)
    monkeypatch.setattr(derive, "MARKS_PER_ENTITY", 0.5)
    with derived.context.engine.begin() as connection:
        marks = "INSERT INTO analytics.dirty (tenant, kind, entity_id) SELECT 'demo', 'evse', id FROM generate_series(1, 3) id"
        connection.execute(text(marks))
    derive_tenant(derived.context, "demo")
    assert not is_marked(derived)


def test_several_marks_of_an_entity_count_once(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MAX_ENTITIES", 40)
    with deployment.context.engine.begin() as connection:
        marks = "INSERT INTO analytics.dirty (tenant, kind, entity_id) SELECT 'demo', :kind, :id FROM generate_series(1, 50)"
        for kind, entity_id in (("evse", 1), ("evse", 2)):
            connection.execute(text(marks), {"kind": kind, "id": entity_id})
    taken = [derive_round(deployment.context.engine, "demo") for _ in range(2)]
    assert [(done.marks, done.hit_limit) for done in taken if done is not None] == [(50, True), (50, False)]
