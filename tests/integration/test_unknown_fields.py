"""Unknown types and fields are counted and shown, in a table that cannot grow without end."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from storage.ids import uuid7
from storage.state.unknown_fields import (
    MAX_NAMES_HELD,
    MAX_NAMES_STORED,
    UnknownFields,
    list_unknown_names,
    record_unknown_fields,
)
from tests.support.commands import run
from tests.support.facts import sample
from tests.support.log import accept, query
from tests.support.replay import replayed
from tests.support.service import Service
from workers.apply.apply import apply_open_batches

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def with_fields(**fields: Any) -> dict[str, Any]:
    return sample("NetworkStatusNotification.offline") | fields


def unknown_fields(engine: Engine) -> dict[tuple[str, str], tuple[int, str | None]]:
    rows = query(engine, "SELECT model, name, times, shape FROM ingest.unknown_field")
    return {(row["model"], row["name"]): (row["times"], row["shape"]) for row in rows}


def test_an_unknown_field_is_counted_with_its_times_and_the_first_who_carried_it(engine: Engine) -> None:
    first, second = accept(engine, with_fields(newField={"cents": 5}), with_fields(newField={"cents": 7}))
    accept(engine, with_fields())
    apply_open_batches(engine)
    (third,) = accept(engine, with_fields(newField={"cents": 9}))
    apply_open_batches(engine)
    (row,) = query(engine, "SELECT * FROM ingest.unknown_field")
    assert (row["what"], row["model"], row["name"]) == ("field", "NetworkStatusChanged", "newField")
    assert (row["times"], row["shape"]) == (3, "object {cents: number}")
    assert (row["first_seen_at"], row["last_seen_at"]) == (first.received_at, third.received_at)
    assert row["notification_id"] == first.notification_id
    assert second.received_at <= third.received_at


def test_an_unknown_type_is_counted_by_its_name_and_shape(engine: Engine) -> None:
    accept(engine, {"notification": "issue.changed", "issueId": 7}, {"notification": 12}, {"no": "name"})
    apply_open_batches(engine)
    assert unknown_fields(engine) == {
        ("", "issue.changed"): (1, "object {notification: text, issueId: number}"),
        ("", "*"): (2, None),
    }


def test_no_value_is_kept_nor_a_key_that_may_be_one(engine: Engine) -> None:
    secret = {"note": "Ann Example", "ann@example.com": 1, "DE89370400440532013000": 2, "pin": "0815"}
    accept(engine, with_fields(**secret), {"notification": "Ann Example wrote"})
    apply_open_batches(engine)
    kept = str(query(engine, "SELECT * FROM ingest.unknown_field"))
    assert all(word not in kept for word in ("Ann", "example.com", "DE89", "0815", "pin"))
    assert unknown_fields(engine) == {
        ("NetworkStatusChanged", "note"): (1, "text"),
        ("NetworkStatusChanged", "*"): (2, None),
        ("", "*"): (1, None),
    }


def test_ever_new_names_do_not_make_the_table_grow(engine: Engine) -> None:
    def letters(number: int) -> str:
        return "".join(chr(97 + int(digit)) for digit in str(number))

    for chunk in range(4):
        accept(engine, with_fields(**{f"new_{letters(chunk)}_{letters(number)}": 1 for number in range(400)}))
        apply_open_batches(engine)
    accept(engine, with_fields(new_a_a=1))
    apply_open_batches(engine)
    found = unknown_fields(engine)
    assert len(found) <= MAX_NAMES_STORED + 1
    assert sum(times for times, _ in found.values()) == 4 * 400 + 1
    assert found["NetworkStatusChanged", "*"][1] is None
    # One that was known before the room was taken is still counted by its name
    assert found["NetworkStatusChanged", "new_a_a"][0] == 2


def test_what_one_transaction_holds_is_bounded() -> None:
    seen = UnknownFields()
    for number in range(5_000):
        one = UnknownFields()
        one.see_type("".join(chr(97 + int(digit)) for digit in str(number)), {}, NOW, uuid7())
        seen.add(one)
    assert len(seen.sightings()) <= MAX_NAMES_HELD + 1
    assert sum(one.times for one in seen.sightings()) == 5_000


def test_where_nothing_is_unknown_no_statement_is_made(engine: Engine) -> None:
    class NoConnection:
        def execute(self, *_: object) -> None:
            raise AssertionError("a statement")

    record_unknown_fields(NoConnection(), "t", UnknownFields())  # type: ignore[arg-type]


def test_a_replay_counts_nothing_twice(engine: Engine) -> None:
    accept(engine, with_fields(newField=1), {"notification": "issue.changed"})
    apply_open_batches(engine)
    before = query(engine, "SELECT * FROM ingest.unknown_field ORDER BY name")
    assert replayed(engine).seen == 2
    assert query(engine, "SELECT * FROM ingest.unknown_field ORDER BY name") == before


def test_what_a_release_has_learned_is_no_longer_shown(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("""
            INSERT INTO ingest.unknown_field (tenant, what, model, name, times, first_seen_at, last_seen_at)
            VALUES ('t', 'type', '', 'BootNotification', 1, now(), now()),
                   ('t', 'field', 'Session', 'billingStatus', 1, now(), now()),
                   ('t', 'field', 'Session', 'operatorId', 1, now(), now())
            """)
        )
        assert [one.name for one in list_unknown_names(connection)] == ["operatorId"]


def test_status_and_metrics_show_what_is_unknown(service: Service, tmp_path: Path) -> None:
    service.post(with_fields(newField=1))
    service.post({"notification": "issue.changed", "issueId": 7})
    service.apply()
    environment = {
        "DATABASE_URL": str(service.settings.database_url),
        "REDIS_URL": str(service.settings.redis_url),
        "TENANTS_FILE": str(service.settings.tenants_file),
    }
    shown = run(tmp_path, "status", **environment).stdout
    assert "field NetworkStatusChanged.newField" in shown
    assert "type issue.changed" in shown
    document = json.loads(run(tmp_path, "status", "--json", **environment).stdout)
    assert {one["name"]: one["shape"] for one in document["unknown"]} == {
        "newField": "number",
        "issue.changed": "object {notification: text, issueId: number}",
    }
    metrics = service.admin.get("/metrics").text
    assert 'ampeco_unknown_names{tenant="demo"} 2.0' in metrics
