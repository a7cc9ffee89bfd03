"""``doctor`` shows what is right, what is wrong, and what to do; what is wrong hides nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from receiver.doctor.redis_server import look_at_redis
from runtime.heartbeat import registered
from storage.clock import clock
from storage.sync.inaccessible_kinds import record_inaccessible
from tests.support.commands import ROOT, run
from tests.support.monitored import Watch, watching
from tests.support.servers import own_redis
from tests.support.service import TOKEN, eventually, write_tenants
from workers.broker import QUEUES, create_redis
from workers.monitoring.subscriptions import callback_url

NO_SERVER = "127.0.0.1:1"


class Patient:
    """A deployment with one tenant, which ``doctor`` examines."""

    def __init__(self, watch: Watch, directory: Path) -> None:
        self.watch = watch
        self._directory = directory
        settings = watch.service.settings
        self.environment = {
            "DATABASE_URL": settings.required_database_url(),
            "REDIS_URL": settings.required_redis_url(),
            "TENANTS_FILE": str(self._only_demo(settings.tenants_file)),
            "RECEIVER_PUBLIC_URL": watch.service.url,
        }

    @staticmethod
    def _only_demo(path: Path) -> Path:
        # The simulator is one tenant, so it accepts no token of another.
        own = path.with_name("demo.toml")
        own.write_text(path.read_text().partition("[tenants.other]")[0])
        return own

    def examine(self, **changes: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Return the exit code, and each diagnosis by the name of its check."""
        environment = {name: value for name, value in (self.environment | changes).items() if value}
        done = run(self._directory, "doctor", "--json", **environment)
        document = json.loads(done.stdout)
        assert document["is_ok"] == (done.returncode == 0)
        assert TOKEN not in done.stdout + done.stderr
        return done.returncode, {diagnosis["check"]: diagnosis for diagnosis in document["checks"]}


@pytest.fixture
def patient(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Patient]:
    with watching(database_url, redis_url, tmp_path, speed=1) as watch:  # its clock agrees with ours
        watch.subscribe(url=callback_url(watch.service.url, "demo"))
        with registered(database_url, f"work {'+'.join(QUEUES)}"):
            eventually(lambda: watch.service.count("ingest.process WHERE name LIKE 'work %'"))
            eventually(lambda: watch.service.count("ingest.process WHERE name = 'serve'"))
            yield Patient(watch, tmp_path)


def not_ok(diagnoses: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: diagnosis["state"] for name, diagnosis in diagnoses.items() if diagnosis["state"] != "ok"}


def test_a_sound_deployment_passes_every_check(patient: Patient) -> None:
    code, diagnoses = patient.examine()
    assert code == 0, diagnoses
    # The server of the tests does without fsync, and is none that doctor starts itself.
    assert not_ok(diagnoses) == {"durability": "warning", "disk": "not checked"}
    page = (ROOT / "docs" / "operations" / "commands.md").read_text()
    section = page.partition("## What doctor checks")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| ", section, re.MULTILINE)
    documented = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    # Some deployments have more checks.
    assert [name for name in documented if name not in ("embedded servers", "kafka", "consumers")] == list(diagnoses)
    assert all(diagnosis["advice"] is None for diagnosis in diagnoses.values() if diagnosis["state"] == "ok")


def test_without_postgres_everything_else_is_still_checked(patient: Patient) -> None:
    code, diagnoses = patient.examine(DATABASE_URL=f"postgresql://u:s3cret@{NO_SERVER}/d")
    assert code == 1
    assert diagnoses["postgres"]["state"] == "failed"
    assert "DATABASE_URL" in diagnoses["postgres"]["advice"]
    need_it = {"migrations", "log", "partitions", "durability", "permissions", "receivers", "workers of apply"}
    assert {diagnoses[name]["state"] for name in need_it} == {"not checked"}
    assert {diagnoses[name]["state"] for name in ("redis", "API", "tenant clock", "callback URL")} == {"ok"}
    assert "s3cret" not in json.dumps(diagnoses)


def test_without_redis_everything_else_is_still_checked(patient: Patient) -> None:
    code, diagnoses = patient.examine(REDIS_URL=f"redis://{NO_SERVER}")
    assert code == 1
    assert diagnoses["redis"]["state"] == "failed"
    assert diagnoses["redis persistence"]["state"] == "not checked"
    assert diagnoses["redis persistence"]["detail"] == "Redis does not take writes"
    assert {diagnoses[name]["state"] for name in ("postgres", "log", "API", "receivers")} == {"ok"}


def test_a_redis_that_forgets_or_evicts_messages_is_a_warning() -> None:
    def states() -> dict[str, str]:
        return {diagnosis.check: diagnosis.state for diagnosis in look_at_redis(client)}

    with own_redis() as server, create_redis(server.url) as client:
        client.config_set("appendonly", "no")
        client.config_set("save", "60 1")
        client.config_set("maxmemory-policy", "noeviction")
        assert set(states().values()) == {"ok"}
        client.config_set("save", "")
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert states() == {
            "redis": "ok",
            "redis version": "ok",
            "redis persistence": "warning",
            "redis memory": "warning",
        }
        # A hosted Redis may refuse the commands that show it
        client.acl_setuser("default", enabled=True, commands=["-config"])
        assert states()["redis persistence"] == "not checked"
        client.acl_setuser("default", enabled=True, commands=["-info"])
        assert set(states().values()) == {"ok", "not checked"}


def test_a_token_that_is_rejected_fails_and_its_subscription_is_not_checked(patient: Patient, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(Path(patient.environment["TENANTS_FILE"]).read_text().replace(TOKEN, "another"))
    code, diagnoses = patient.examine(TENANTS_FILE=str(wrong))
    assert code == 1
    assert diagnoses["API"]["state"] == "failed"
    assert "answered 401" in diagnoses["API"]["detail"]
    assert "token" in diagnoses["API"]["advice"]
    assert diagnoses["API"]["tenant"] == "demo"
    assert diagnoses["tenant clock"]["state"] == "ok", "a refusal has a date, too"
    assert diagnoses["subscription"]["state"] == "not checked"


def test_a_subscription_that_differs_or_is_gone_fails_with_the_command_that_repairs_it(patient: Patient) -> None:
    url = callback_url(patient.watch.service.url, "demo")
    (subscription_id,) = patient.watch.simulator.subscribers.by_id
    patient.watch.client.update_subscription(subscription_id, url, ["evse.changed"])
    code, diagnoses = patient.examine()
    assert code == 1
    assert diagnoses["subscription"]["state"] == "failed"
    assert "it lacked" in diagnoses["subscription"]["detail"]
    assert "ampeco-receiver subscribe" in diagnoses["subscription"]["advice"]
    patient.watch.client.unsubscribe(subscription_id)
    assert "it was not there" in patient.examine()[1]["subscription"]["detail"]


def test_reads_that_are_forbidden_are_a_warning_that_names_them(patient: Patient) -> None:
    with patient.watch.service.engine.begin() as connection:
        record_inaccessible(connection, "demo", "tariff", "forbidden", "answered 403")
    code, diagnoses = patient.examine()
    assert code == 0, "a warning does not fail"
    assert diagnoses["permissions"]["state"] == "warning"
    assert "tariff" in diagnoses["permissions"]["detail"]
    # And none once its group is left out, as the advice says
    file = Path(patient.environment["TENANTS_FILE"])
    file.write_text(file.read_text().replace("[tenants.demo]", '[tenants.demo]\nmirror = ["fleet", "sessions"]'))
    assert patient.examine()[1]["permissions"]["state"] == "ok"


def test_a_queue_without_a_worker_fails(patient: Patient) -> None:
    with patient.watch.service.engine.begin() as connection:
        connection.execute(text("UPDATE ingest.process SET name = 'work apply' WHERE name LIKE 'work %'"))
    code, diagnoses = patient.examine()
    assert code == 1
    assert diagnoses["workers of apply"]["state"] == "ok"
    assert diagnoses["workers of refresh"]["state"] == "failed"
    assert "work --queue refresh" in diagnoses["workers of refresh"]["advice"]


def test_partitions_that_are_not_made_ahead_are_a_warning(patient: Patient) -> None:
    tomorrow = clock.now() + timedelta(days=1)
    with patient.watch.service.engine.begin() as connection:
        connection.execute(text(f"DROP TABLE ingest.notification_{tomorrow:%Y%m%d}"))
    _, diagnoses = patient.examine()
    assert diagnoses["partitions"]["state"] == "warning"
    assert diagnoses["log"]["state"] == "ok", "today has its partition"


def test_a_database_that_is_not_migrated_fails_and_names_the_command(
    empty_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    write_tenants(tmp_path)
    done = run(tmp_path, "doctor", DATABASE_URL=empty_database_url, REDIS_URL=redis_url)
    assert done.returncode == 1
    assert "failed       migrations: the database is at revision none" in done.stdout
    assert "→ run `ampeco-receiver migrate`" in done.stdout
    assert "not checked  log: the tables are not those of this release" in done.stdout
    assert "not checked  callback URL: RECEIVER_PUBLIC_URL is not set" in done.stdout


def test_a_public_url_that_leads_elsewhere_fails(patient: Patient) -> None:
    code, diagnoses = patient.examine(RECEIVER_PUBLIC_URL=f"http://{NO_SERVER}")
    assert code == 1
    assert diagnoses["callback URL"]["state"] == "failed"
    assert patient.examine(RECEIVER_PUBLIC_URL="")[1]["callback URL"]["state"] == "not checked"


def test_settings_that_are_wrong_are_findings_too(patient: Patient) -> None:
    code, diagnoses = patient.examine(RECEIVER_PORT="eighty")
    assert code == 1
    assert list(diagnoses) == ["settings"]
    assert "RECEIVER_PORT" in diagnoses["settings"]["detail"]
    code, diagnoses = patient.examine(TENANTS_FILE="nowhere.toml", RECEIVER_WAITING_ROM="5")
    assert code == 1
    assert diagnoses["settings"]["state"] == "warning"
    assert diagnoses["tenants"]["state"] == "failed"
    assert diagnoses["postgres"]["state"] == "ok"
