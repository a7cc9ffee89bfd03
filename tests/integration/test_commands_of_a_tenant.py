"""What a person does with a tenant at the command line: subscribe, ask for a resend, compare, unsubscribe."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from sqlalchemy import text

from tests.support.commands import run
from tests.support.monitored import PUBLIC_URL, URL, Watch, watching

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def watch(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Watch]:
    with watching(database_url, redis_url, tmp_path) as watch:
        yield watch


@pytest.fixture
def command(watch: Watch, database_url: str, redis_url: str, tmp_path: Path) -> Command:
    """Run a command for the tenant ``demo``."""
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TENANTS_FILE": str(watch.service.settings.tenants_file),
        "RECEIVER_PUBLIC_URL": PUBLIC_URL,
    }
    return lambda *arguments: run(tmp_path, *arguments, "--tenant", "demo", **environment)


def urls(watch: Watch) -> list[str]:
    return [each.callback_url for each in watch.simulator.subscribers.by_id.values()]


def test_a_subscription_is_made_kept_replaced_listed_and_removed(watch: Watch, command: Command) -> None:
    made = command("subscribe")
    assert made.returncode == 0, made.stderr
    (first,) = re.findall(rf"demo: subscription (\d+) created, {re.escape(URL)}, \d+ notifications", made.stdout)
    assert "`ampeco-receiver backfill --tenant demo` reads the existing data" in made.stdout
    assert watch.row()["subscription_id"] == int(first)
    # Again changes nothing, and says so
    assert f"subscription {first} unchanged" in command("subscribe").stdout
    # A new one takes its place, and so does each copy that somebody made
    replaced = command("subscribe", "--replace").stdout
    assert f"another subscription {first} for the same URL removed" in replaced
    assert "backfill" not in replaced
    watch.client.subscribe(URL, ["evse.changed"])
    assert "for the same URL removed" in command("subscribe").stdout
    assert urls(watch) == [URL]
    # All of them are listed, and ours is removed
    watch.client.subscribe("https://somebody.example.com", ["evse.changed"])
    listed = command("subscriptions").stdout
    assert "https://somebody.example.com" in listed
    assert "evse.changed" in listed
    assert re.search(r"demo: subscription \d+ removed", command("unsubscribe").stdout)
    assert urls(watch) == ["https://somebody.example.com"]
    assert "demo: there was no subscription" in command("unsubscribe").stdout


def test_a_tenant_whose_api_is_down_is_named_and_keeps_no_other_waiting(
    watch: Watch, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    tenants_file = watch.service.settings.tenants_file
    both = tmp_path / "both.toml"
    both.write_text(
        f'[tenants.acme]\nbase_url = "http://127.0.0.1:1"\ntoken = "{"x" * 30}"\n' + tenants_file.read_text()
    )

    def command(name: str, *arguments: str) -> CompletedProcess[str]:
        environment = {"TENANTS_FILE": str(both), "RECEIVER_PUBLIC_URL": PUBLIC_URL}
        return run(tmp_path, name, *arguments, DATABASE_URL=database_url, REDIS_URL=redis_url, **environment)

    ended = {name: command(name) for name in ("subscribe", "subscriptions")}
    ended["subscriptions --json"] = command("subscriptions", "--json")
    ended["unsubscribe"] = command("unsubscribe")
    for name, done in ended.items():
        assert done.returncode == 2, name
        assert re.search(r"^ampeco-receiver: acme: AMPECO: .*gave no answer", done.stderr), name
    assert "demo: subscription" in ended["subscribe"].stdout
    assert URL in ended["subscriptions"].stdout
    assert URL in json.dumps(json.loads(ended["subscriptions --json"].stdout))
    assert re.search(r"demo: subscription \d+ removed", ended["unsubscribe"].stdout)
    assert "There is no subscription" not in command("subscriptions", "--tenant", "acme").stdout


def test_a_terminal_shows_that_ampeco_is_asked(watch: Watch, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    tenants_file = str(watch.service.settings.tenants_file)
    process = subprocess.Popen(
        [sys.executable, "-m", "receiver", "subscriptions", "--tenant", "demo"],
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "200", "TENANTS_FILE": tenants_file},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # so Linux ends a terminal that no process has open
        while more := os.read(ours, 4096):
            shown += more
    os.close(ours)
    assert process.wait(60) == 0
    assert b"demo: asking AMPECO" in shown
    assert b"There is no subscription." in shown


def test_a_resend_is_asked_for_once_in_a_quarter_of_an_hour(watch: Watch, command: Command) -> None:
    nothing = command("resend")
    assert nothing.returncode == 1
    assert "demo: there is no managed subscription; `ampeco-receiver subscribe` makes one" in nothing.stderr
    command("subscribe")
    asked = command("resend", "--since", "2026-03-04T07:00:00Z")
    assert asked.returncode == 0, asked.stderr
    assert "AMPECO sends the undelivered notifications again" in asked.stdout
    later = command("resend")
    assert later.returncode == 1
    assert re.search(r"AMPECO may be asked once in 15 minutes; the workers will ask at \d\d:\d\d UTC", later.stdout)
    # And a refusal of AMPECO is shown as it is
    watch.simulator.subscribers.by_id.clear()
    with watch.service.engine.begin() as connection:
        connection.execute(text("DELETE FROM ingest.resend"))
    refused = command("resend")
    assert refused.returncode == 1
    assert "AMPECO refused: " in refused.stdout


def test_completeness_says_what_was_compared(command: Command) -> None:
    assert "demo: nothing was compared with AMPECO yet" in command("completeness").stdout
    compared = command("reconcile")
    assert compared.returncode == 0, compared.stdout
    shown = command("completeness").stdout
    assert re.search(r"demo: of [\d,]+ entities compared in .*, [\d.]+ % were as AMPECO shows them", shown)
    assert re.search(r"demo +reconcile +\d+", shown)


def test_derive_brings_the_tables_of_reports_up_to_date(watch: Watch, command: Command) -> None:
    assert command("reconcile").returncode == 0
    derived = command("derive")
    assert derived.returncode == 0, derived.stderr
    (changed,) = re.findall(r"demo: ([\d,]+) rows changed", derived.stdout)
    states = watch.service.query("SELECT DISTINCT evse_id FROM analytics.evse_state_interval WHERE tenant = 'demo'")
    assert len(states) == watch.service.count("charging.evse WHERE tenant = 'demo'") > 0
    assert int(changed.replace(",", "")) >= len(states)
    # Again there is nothing to do, and everything again comes to the same
    assert "demo: 0 rows changed" in command("derive").stdout
    assert "demo: 0 rows changed" in command("derive", "--all").stdout
    assert watch.service.count("analytics.dirty") == 0
