"""Whatever a body holds, it is applied or fails by itself: what our models accept, Postgres accepts."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example, given, settings
from sqlalchemy import Connection, text

from ampeco.model import Model
from storage.inbox.batches import LoggedBody
from tests.support.facts import sample
from tests.support.hostile import NAMES, VALUES, hostile_bodies, places, replaced
from workers.apply import apply
from workers.apply.apply import Parsed, parse_all, write

NOW = datetime(2026, 3, 4, 8, tzinfo=UTC)

#: About a charge point that no sample speaks of.
GOOD = sample("NetworkStatusNotification.available") | {"chargePointId": 987_654_321}


def logged(body: Any) -> LoggedBody:
    # As JSON may spell it: lone halves of surrogate pairs are escaped.
    return LoggedBody(uuid4(), uuid4(), NOW, json.dumps(body).encode())


def apply_together(connection: Connection, *bodies: Any) -> list[str]:
    """Apply bodies in one chunk that Postgres must take; returns the states of those that were set aside."""
    settled = parse_all([logged(body) for body in bodies])
    settled_outcomes: list[str] = [outcome.state for outcome in settled.outcomes]
    settled.outcomes.clear()  # their batches do not exist
    with connection.begin_nested():
        write(connection, "t", settled)
    return settled_outcomes


@given(body=hostile_bodies())
@settings(max_examples=300)
@example(body={"notification": "SessionUpdateNotification"})
def test_a_hostile_body_is_applied_or_fails_alone(connection: Connection, body: dict[str, Any]) -> None:
    # Given a hostile body and a good one in one chunk, when the chunk is written, then Postgres takes it
    not_applied = apply_together(connection, body, GOOD)
    # And the neighbour is applied
    assert len(not_applied) <= 1
    stored = connection.execute(text("SELECT network_status FROM charging.charge_point WHERE tenant = 't'")).scalars()
    assert "available" in list(stored)


@given(body=hostile_bodies())
@settings(max_examples=300)
@example(body=sample("SessionUpdateNotification.active"))
@example(body=sample("ChargePointChangedNotification"))
def test_a_body_that_is_parsed_as_it_came_says_what_it_says_cleaned(body: dict[str, Any]) -> None:
    # Given a hostile body, when it is parsed as it came if that is safe, and again after it was cleaned in any case
    notification = logged(body)
    as_it_came = parse_all([notification])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apply, "needs_cleaning", lambda _: True)
        patch.setattr(Model, "read", classmethod(lambda model, sent: model.model_validate(sent)))
        cleaned = parse_all([notification])
    # Then both result in the same rows
    assert shown(as_it_came) == shown(cleaned)


def shown(parsed: Parsed) -> list[Any]:
    """What is written of parsed notifications; of errors not the lines of our code."""
    changes = {part.name: getattr(parsed.changes, part.name) for part in fields(parsed.changes)}
    changes["unknown_fields"] = parsed.changes.unknown_fields.sightings()
    outcomes = [replace(outcome, traceback=None) for outcome in parsed.outcomes]
    return [changes, outcomes, parsed.applied, parsed.ahead]


@pytest.mark.parametrize("name", NAMES)
def test_each_hostile_value_in_each_place_is_borne(connection: Connection, name: str) -> None:
    body = sample(name)
    bodies = [
        replaced(body, path, value)
        for number, path in enumerate(places(body))
        if path != ("notification",)
        # Every place meets a part of the values, every value every few places.
        for value in VALUES[number % 8 :: 8]
    ]
    for start in range(0, len(bodies), 200):
        apply_together(connection, *bodies[start : start + 200], GOOD)
