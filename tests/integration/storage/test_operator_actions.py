"""What operators do is recorded, also if it fails."""

from __future__ import annotations

import pytest

from storage.operator_actions import list_actions, recorded
from tests.support.service import Service


def test_an_action_is_recorded_with_who_did_it_and_how_many_it_affected(service: Service) -> None:
    with recorded(service.engine, "demo", "anna", "replay", {"state": "failed"}) as action:
        with service.engine.connect() as connection:
            (under_way,) = list_actions(connection, ["demo"], limit=10)
        assert (under_way.ended_at, under_way.affected) == (None, None)
        action.affected = 7
    with service.engine.connect() as connection:
        (done,) = list_actions(connection, ["demo", "other"], limit=10)
        assert list_actions(connection, ["other"], limit=10) == []
    assert (done.actor, done.action, done.details, done.affected, done.error) == (
        "anna",
        "replay",
        {"state": "failed"},
        7,
        None,
    )
    assert done.ended_at is not None


def test_an_action_that_fails_is_recorded_with_its_cause_and_without_its_text(service: Service) -> None:
    def act() -> None:
        with recorded(service.engine, "demo", "anna", "replay", {}) as action:
            action.affected = 3
            raise ValueError("a body")

    with pytest.raises(ValueError, match="a body"):
        act()
    with service.engine.connect() as connection:
        (failed,) = list_actions(connection, ["demo"], limit=10)
    assert (failed.affected, failed.error) == (3, "ValueError")
