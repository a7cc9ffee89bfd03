"""Deriving leaves the processor to applying: facts that wait go first."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from storage.state.marks import mark_all
from tests.support.deployment import Deployment
from tests.support.facts import sample
from workers import derive
from workers.derive import derive_tenant


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
