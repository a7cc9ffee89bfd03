"""What ``--json`` prints is one document with the keys that docs/operations/commands.md lists, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

import migrations
from tests.support.commands import ROOT, run
from tests.support.facts import sample
from tests.support.log import accept
from tests.support.monitored import Watch, watching
from tests.support.programs import receiver_program
from tests.support.service import Service, write_tenants

#: The keys of each command's document, each with those of its own keys or entries that are always the same.
DOCUMENTED: defaultdict[str, dict[str, set[str]]] = defaultdict(dict)
_PAGE = (ROOT / "docs" / "operations" / "commands.md").read_text().partition("## JSON for scripts")[2]
for _command, _key, _contents in re.findall(r"^\| `([a-z -]+)` \| `([a-z_.]+)` \| (.+) \|$", _PAGE, re.MULTILINE):
    DOCUMENTED[_command][_key] = set(re.findall(r"`(\w+)`", _contents))

#: Arguments under which a command prints its document, if it needs any.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "exclude": ("--tenant", "demo", "--list"),
    "subscriptions": ("--tenant", "demo"),  # the simulator is one tenant
    "rebuild": ("--tenant", "demo"),
    "trigger --list": (),
    "trigger": ("evse.changed", "--tenant", "demo"),
}

#: Commands whose document has a test of its own.
ELSEWHERE = {"chaos", "erase", "tail"}  # of tail: tests/integration/test_tail.py


@pytest.fixture
def watch(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Watch]:
    with watching(database_url, redis_url, tmp_path) as watch:
        watch.subscribe()
        yield watch


def environment_of(watch: Watch) -> dict[str, str]:
    settings = watch.service.settings
    return {
        "DATABASE_URL": settings.required_database_url(),
        "REDIS_URL": settings.required_redis_url(),
        "TENANTS_FILE": str(settings.tenants_file),
        "RECEIVER_PORT": watch.service.url.rpartition(":")[2],
    }


def times(document: Any) -> Iterator[str]:
    """Yield each time in a document."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key.endswith("_at") and isinstance(value, str):
                yield value
            yield from times(value)
    elif isinstance(document, list):
        for value in document:
            yield from times(value)


def at(value: Any, path: list[str]) -> Iterator[Any]:
    """Yield what a document contains at a path, each entry of lists by itself."""
    if isinstance(value, list):
        for entry in value:
            yield from at(entry, path)
    elif not path:
        yield value
    elif value is not None:
        yield from at(value[path[0]], path[1:])


def check(command: str, document: dict[str, Any]) -> None:
    """Check a document against the documentation."""
    documented = DOCUMENTED[command]
    assert document.keys() == {path for path in documented if "." not in path}
    for path, keys in documented.items():
        for entry in at(document, path.split(".")):
            if isinstance(entry, dict) and keys:
                assert entry.keys() == keys, path
    for moment in times(document):
        assert datetime.fromisoformat(moment).utcoffset() == timedelta(0), moment


def test_every_command_with_json_is_documented() -> None:
    with_json = {
        name
        for name, command in receiver_program().commands.items()
        if any("--json" in each.opts for each in command.params)
    }
    assert {command.split()[0] for command in DOCUMENTED} == with_json


@pytest.mark.parametrize("command", sorted(DOCUMENTED.keys() - ELSEWHERE))
def test_a_command_prints_its_document_and_nothing_else(command: str, watch: Watch, tmp_path: Path) -> None:
    watch.service.post(sample("evse.changed"))
    watch.service.post({"notification": "fromTheFuture"})
    watch.service.apply()
    done = run(tmp_path, *command.split(), *ARGUMENTS.get(command, ()), "--json", **environment_of(watch))
    assert done.returncode in (0, 1), done.stderr
    check(command, json.loads(done.stdout))


def test_erase_prints_its_document_without_a_question(watch: Watch, tmp_path: Path) -> None:
    body = sample("SessionUpdateNotification.active")
    watch.service.post(body)
    watch.service.apply()
    arguments = ("erase", "--tenant", "demo", "--user", str(body["session"]["userId"]), "--json")
    refused = run(tmp_path, *arguments, **environment_of(watch))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--yes" in refused.stderr
    for option in ("--dry-run", "--yes"):
        done = run(tmp_path, *arguments, option, **environment_of(watch))
        assert done.returncode == 0, done.stderr
        check("erase", json.loads(done.stdout))


def test_chaos_prints_its_document(database_url: str, redis_url: str, tmp_path: Path) -> None:
    write_tenants(tmp_path)
    # A run takes minutes: tests/faults/test_chaos.py makes one.
    code = """
import sys
from receiver.commands.main import main
from receiver.demo import chaos
verdict = chaos.Verdict(sent={"sent": 3})
verdict.add("Every notification is in the log", 3, ["one is not"])
chaos.run = lambda plan, engine: verdict
sys.argv[1:] = ["chaos", "--against", "http://127.0.0.1:1", "--tenant", "demo", "--json"]
main()
"""
    environment = os.environ | {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    check("chaos", document)
    assert document["promises"][0]["broken"] == ["one is not"]


def test_migrate_prints_what_going_back_dropped_without_a_question(
    database_url: str, redis_url: str, engine: Engine, tmp_path: Path
) -> None:
    write_tenants(tmp_path)
    accept(engine, sample("evse.changed"))
    engine.dispose()
    servers = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    refused = run(tmp_path, "migrate", "base", "--json", **servers)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--yes" in refused.stderr
    document = json.loads(run(tmp_path, "migrate", "base", "--yes", "--json", **servers).stdout)
    check("migrate", document)
    assert (document["from"], document["to"]) == (migrations.head(), "base")
    (log,) = [table for table in document["dropped"]["tables"] if table["table"] == "ingest.notification"]
    assert (log["rows"], log["is_estimated"]) == (1, False)


def test_rebuild_prints_what_it_repaired(service: Service, tmp_path: Path) -> None:
    service.post(sample("HardwareStatusNotification.evse"))
    service.apply()
    with service.engine.begin() as connection:
        connection.execute(text("DELETE FROM charging.evse"))
    servers = {
        "DATABASE_URL": service.settings.required_database_url(),
        "REDIS_URL": service.settings.required_redis_url(),
    }
    for options, code in (((), 1), (("--swap",), 0), ((), 0)):
        done = run(tmp_path, "rebuild", "--tenant", "demo", "--json", *options, **servers)
        assert done.returncode == code, done.stderr
        document = json.loads(done.stdout)
        check("rebuild", document)
        (tenant,) = document["tenants"]
        assert tenant["differs"] == (options == ("--swap",) or code == 1)
        assert (tenant["swapped"] is not None) == (options == ("--swap",))
