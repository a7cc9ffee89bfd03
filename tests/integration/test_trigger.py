"""``trigger`` sends a sample of any type to the receiver on this machine, and to no other."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from typer.testing import CliRunner

from ampeco.notifications.catalogue import CATALOGUE
from ampeco.samples import samples
from receiver.commands.main import app
from tests.support.commands import run
from tests.support.service import Service, free_port, write_tenants


def environment_of(service: Service) -> dict[str, str]:
    return {
        "TENANTS_FILE": str(service.settings.tenants_file),
        "RECEIVER_HOST": "0.0.0.0",
        "RECEIVER_PORT": service.url.rpartition(":")[2],
    }


def trigger(service: Service, *arguments: str, **environment: str) -> CompletedProcess[str]:
    """Run the command for a receiver."""
    directory = service.settings.tenants_file.parent
    return run(directory, "trigger", *arguments, **environment_of(service) | environment)


def bodies(service: Service) -> list[dict[str, Any]]:
    rows = service.query("SELECT body FROM ingest.notification ORDER BY received_at, notification_id")
    return [json.loads(row["body"]) for row in rows]


def test_a_sample_of_every_type_is_accepted_and_none_fails(service: Service) -> None:
    names = [name for known in CATALOGUE for name in (known.name, *samples()[known.name])]
    for name in names:
        # In this process, because there are so many.
        done = CliRunner().invoke(app, ["trigger", name, "--tenant", "demo"], env=environment_of(service))
        assert done.exit_code == 0, done.output
    while service.apply():
        pass
    documented = {known.name for known in CATALOGUE if samples()[known.name]}
    states = service.query("SELECT notification_type, state FROM ingest.notification_state")
    assert len(states) == len(names)
    assert {row["notification_type"] for row in states} == {known.name for known in CATALOGUE}
    assert {row["state"] for row in states if row["notification_type"] in documented} == {"applied"}


def test_the_answer_names_the_notification_and_how_to_follow_it(service: Service) -> None:
    done = trigger(service, "evse.changed", "--tenant", "demo")
    (row,) = service.query("SELECT notification_id, tenant FROM ingest.notification")
    assert f"answers 202: notification {row['notification_id']} is stored" in done.stdout
    assert "`ampeco-receiver tail --tenant demo`" in done.stdout
    as_json = json.loads(trigger(service, "evse.changed", "--tenant", "demo", "--json").stdout)
    assert (as_json["tenant"], as_json["status"], as_json["error"]) == ("demo", 202, None)


def test_fields_are_set_to_json_or_text(service: Service) -> None:
    changes = ("evseId=5", "action=two words", "new.inner=[1, null]")
    done = trigger(
        service, "evse.changed", "--tenant", "demo", *(part for change in changes for part in ("--set", change))
    )
    assert done.returncode == 0, done.stderr
    (body,) = bodies(service)
    assert (body["evseId"], body["action"], body["new"]) == (5, "two words", {"inner": [1, None]})
    for wrong in ("evseId", "=5", "evseId.a=5", "a..b=5"):
        refused = trigger(service, "evse.changed", "--tenant", "demo", "--set", wrong)
        assert refused.returncode == 2
        assert "--set" in refused.stderr


def test_a_type_that_is_none_is_refused_with_those_that_come_closest(service: Service) -> None:
    refused = trigger(service, "HardwareStatus", "--tenant", "demo")
    assert refused.returncode == 2
    assert "HardwareStatusNotification" in refused.stderr
    assert "--list" in trigger(service, "xyzzy", "--tenant", "demo").stderr
    assert trigger(service).returncode == 2
    assert trigger(service, "evse.changed", "--list").returncode == 2
    assert bodies(service) == []


def test_one_of_several_tenants_has_to_be_named(service: Service) -> None:
    refused = trigger(service, "evse.changed")
    assert refused.returncode == 2
    assert "demo, other" in refused.stderr


def test_a_refusal_of_the_receiver_is_shown(service: Service, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(service.settings.tenants_file.read_text().replace("tenant-token", "wrong-token"))
    refused = trigger(service, "evse.changed", "--tenant", "demo", TENANTS_FILE=str(wrong))
    assert refused.returncode == 1
    assert "demo: the receiver answers 401: The signature does not verify." in refused.stdout


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"RECEIVER_HOST": "192.0.2.1"}, "RECEIVER_HOST is 192.0.2.1, which is no loopback address"),
        ({"RECEIVER_HOST": "receiver.example.com"}, "no loopback address"),
        ({"RECEIVER_PORT": "0"}, "RECEIVER_PORT is 0"),
        ({"RECEIVER_PORT": str(free_port())}, "no receiver answers at http://127.0.0.1:"),
    ],
)
def test_it_sends_to_no_other_machine_and_says_when_no_receiver_answers(
    tmp_path: Path, environment: dict[str, str], problem: str
) -> None:
    write_tenants(tmp_path)
    refused = run(
        tmp_path, "trigger", "evse.changed", "--tenant", "demo", **{"RECEIVER_HOST": "127.0.0.1"} | environment
    )
    assert refused.returncode == 2
    assert problem in refused.stderr
