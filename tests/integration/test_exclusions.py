"""What operators enter with ``exclude``: it is let out of outages, until it is withdrawn, and it is never deleted."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from storage.state.changes import ChangeSet
from storage.state.fold import fact_from_read
from storage.write import write_changes
from tests.support.analytics import derive
from tests.support.commands import run
from tests.support.service import write_tenants

TENANT = "demo"
EVSE, CHARGE_POINT, LOCATION = 902, 418, 7


class Operator:
    """Runs ``exclude`` for a tenant."""

    def __init__(self, database_url: str, directory: Path) -> None:
        write_tenants(directory)
        self._directory = directory
        self._environment = {"DATABASE_URL": database_url, "TENANTS_FILE": str(directory / "tenants.toml")}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self._directory, "exclude", "--tenant", TENANT, *arguments, **self._environment)

    def listed(self) -> list[dict[str, Any]]:
        ended = self.run("--list", "--json")
        assert ended.returncode == 0, ended.stderr
        entries: list[dict[str, Any]] = json.loads(ended.stdout)["entries"]
        return entries


@pytest.fixture
def operator(database_url: str, redis_url: str, tmp_path: Path) -> Operator:
    return Operator(database_url, tmp_path)


@pytest.fixture
def down(engine: Engine) -> Engine:
    """An EVSE that was faulted from 8 to 10 o'clock on 4 March."""
    began_at = datetime(2026, 3, 4, tzinfo=UTC)
    facts = [
        fact_from_read(kind, entity_id, "master", began_at, {**values, "raw": {}}, began_at=began_at)
        for kind, entity_id, values in (
            ("location", LOCATION, {"timezone": "Europe/Sofia"}),
            ("charge_point", CHARGE_POINT, {"location_id": LOCATION}),
            ("evse", EVSE, {"charge_point_id": CHARGE_POINT}),
        )
    ]
    changes = ChangeSet(facts=facts)
    for hour, status in ((7, "available"), (8, "faulted"), (10, "available")):
        observed = {"evse_id": EVSE, "hardware_status": status, "observed_at": began_at.replace(hour=hour)}
        changes.observe("evse_status_observation", {**observed, "source": "notification"})
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO ingest.uptime VALUES (:began_at, now())"), {"began_at": began_at})
        write_changes(connection, TENANT, changes)
    return engine


def excluded(engine: Engine) -> tuple[int, list[tuple[str, dict[str, Any]]]]:
    """The excluded seconds of the one outage, and the reason and evidence of each exclusion; after deriving."""
    derive(engine, TENANT)
    with engine.connect() as connection:
        seconds = connection.execute(text("SELECT excluded_s FROM analytics.outage")).scalar_one()
        day = connection.execute(text("SELECT sum(excluded_s) FROM analytics.evse_day")).scalar_one()
        assert day == seconds
        rows = connection.execute(text("SELECT reason, evidence FROM analytics.exclusion ORDER BY source_id"))
        return seconds, [(reason, evidence) for reason, evidence in rows]


@pytest.mark.parametrize(
    "subject", [("--evse", EVSE), ("--charge-point", CHARGE_POINT), ("--location", LOCATION)], ids=lambda each: each[0]
)
def test_an_entry_is_let_out_of_the_outages_that_it_covers_until_it_is_withdrawn(
    operator: Operator, down: Engine, subject: tuple[str, int]
) -> None:
    assert excluded(down) == (0, [])
    option, number = subject
    times = ("--from", "2026-03-04T09:30+01:00", "--to", "2026-03-05")
    ended = operator.run(option, str(number), *times, "--reason", "vandalism", "--evidence", "report 4711")
    assert (ended.returncode, ended.stdout) == (0, "demo: entry 1 is stored.\n"), ended.stderr
    assert excluded(down) == (5400, [("vandalism", {"evidence": "report 4711"})])
    ended = operator.run("--withdraw", "1")
    assert (ended.returncode, ended.stdout) == (0, "demo: entry 1 is withdrawn.\n"), ended.stderr
    assert excluded(down) == (0, [])
    # The entry stays, with everything that was entered
    (entry,) = operator.listed()
    assert entry.pop("recorded_at") < entry.pop("withdrawn_at")
    assert entry.pop("entered_by")
    assert entry == {
        "exclusion_id": 1,
        **dict.fromkeys(("evse_id", "charge_point_id", "location_id")),
        f"{option.removeprefix('--').replace('-', '_')}_id": number,
        "began_at": "2026-03-04T08:30:00+00:00",
        "ended_at": "2026-03-05T00:00:00+00:00",
        "reason": "vandalism",
        "evidence": "report 4711",
    }


def test_an_entry_without_an_end_lasts_and_entries_that_overlap_count_once(operator: Operator, down: Engine) -> None:
    for begin in ("2026-03-04T09:00Z", "2026-03-04T09:45Z"):
        ended = operator.run("--evse", str(EVSE), "--from", begin, "--reason", "power cut [by the utility]")
        assert ended.returncode == 0, ended.stderr
    seconds, exclusions = excluded(down)
    assert (seconds, len(exclusions)) == (3600, 2)
    shown = operator.run("--list").stdout
    assert "power cut [by the utility]" in shown
    assert "evse 902" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--list", "--withdraw", "1"),
        ("--evse", "1", "--from", "2026-03-04", "--reason", "flood", "--list"),
        ("--evse", "1", "--location", "2", "--from", "2026-03-04", "--reason", "flood"),
        ("--from", "2026-03-04", "--reason", "flood"),
        ("--evse", "1", "--reason", "flood"),
        ("--evse", "1", "--from", "2026-03-04", "--reason", " "),
        ("--evse", "1", "--from", "2026-03-04", "--to", "2026-03-04", "--reason", "flood"),
        ("--evse", "0", "--from", "2026-03-04", "--reason", "flood"),
        ("--evse", "9223372036854775808", "--from", "2026-03-04", "--reason", "flood"),
        ("--withdraw", "1"),
    ],
    ids=" ".join,
)
def test_an_entry_that_makes_no_sense_is_refused_and_nothing_is_stored(
    operator: Operator, arguments: tuple[str, ...]
) -> None:
    ended = operator.run(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "Traceback" not in ended.stderr
    assert operator.listed() == []
