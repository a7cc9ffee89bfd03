"""Secrets go in, and come out nowhere: not in a log, a row, a page, a message or a command line."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import redis
from sqlalchemy import Engine, make_url, text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typer.testing import CliRunner

from ampeco.privacy.body_redaction import REDACTED
from ampeco.signature import sign
from receiver.commands.group import COMMANDS
from receiver.commands.main import app
from storage.database_url import conninfo
from storage.log.scope import Scope
from tests.support.ampeco import FakeAmpeco
from tests.support.facts import row, sample
from tests.support.processes import Processes, processes
from tests.support.service import OTHER_TOKEN, TOKEN, Service, eventually, free_port, running, write_tenants
from workers.maintenance.replay import replay

ADMIN_TOKEN = "operators-passphrase-9c1d"
DATABASE_PASSWORD = "database-passphrase-b7e2"

#: What the payloads carry.
CARRIED = ("ocpp-passphrase-33aa", "pin-passphrase-51bc", "sharing-passphrase-90de", "user-passphrase-17f0")


class Echo(FakeAmpeco):
    """Shows in its refusals the token that it was sent, as a careless gateway does."""

    async def _answer(self, request: Request) -> Response:
        if self.refusal is not None:
            return JSONResponse({"message": f"who is {request.headers['authorization']}?"}, self.refusal[0])
        return await super()._answer(request)


def bodies() -> list[bytes]:
    """What is applied, ignored and failed, with a secret in each, and what is no JSON."""
    ocpp, pin, sharing, password = CARRIED
    snapshot = sample("ChargePointChangedNotification")
    snapshot["chargePoint"] |= {"networkPassword": ocpp, "pin": pin, "sharingCode": {"nested": [sharing]}}
    user = sample("UserChangedNotification")
    user["user"] |= {"password": password}
    wrong = sample("ChargePointChangedNotification") | {"chargePoint": {"id": "nine", "pin": pin}}
    unknown = {"notification": "somethingNew", "deep": [{"network": {"password": password}}]}
    found = [json.dumps(body, indent=1).encode() for body in (snapshot, user, wrong, unknown)]
    return [
        *found,
        b'{"notification":"evse.changed","pin":"' + pin.encode(),
        json.dumps(sample("evse.changed")).encode(),
    ]


@pytest.fixture
def login(database_url: str, engine: Engine) -> Iterator[str]:
    """The database's URL for a user with a password."""
    name = f"leaky_{os.getpid()}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD '{DATABASE_PASSWORD}'"))
    yield make_url(database_url).set(username=name, password=DATABASE_PASSWORD).render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP ROLE {name}"))


def every_row(database_url: str) -> str:
    """Each row of each table and view, as COPY writes it."""
    found: list[bytes] = []
    with psycopg.connect(conninfo(database_url)) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, relname) FROM pg_stat_user_tables"
            " UNION SELECT format('%I.%I', schemaname, viewname) FROM pg_views WHERE schemaname IN ('ingest', 'charging')"
        ).fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as copied:
                found += [bytes(one) for one in copied]
    return b"".join(found).decode()


def everything_in_redis(redis_url: str) -> str:
    with redis.Redis.from_url(redis_url) as client:
        return "".join(f"{key!r} {client.dump(key)!r}\n" for key in client.scan_iter())


def command_lines() -> str:
    shown = ""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            shown += (path / "cmdline").read_text() + (path / "comm").read_text()
        except OSError:
            continue  # it has ended since
    return shown


def helps(environment: dict[str, str]) -> str:
    asked = [[], *([name] for name in COMMANDS)]
    return "".join(CliRunner().invoke(app, [*name, "--help"], env=environment).output for name in asked)


def run(environment: dict[str, str], *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "receiver", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.stdout + ended.stderr


def spellings(secret: str) -> Iterator[str]:
    """As it is, and as bytes are shown: in hex by COPY, in base64 by many."""
    yield secret
    yield secret.encode().hex()
    yield base64.b64encode(secret.encode()).decode().rstrip("=")[:-1]


def post(service: Processes, body: bytes, token: str = TOKEN) -> str:
    signature = sign(body, token)
    answer = httpx.post(f"{service.url}/notifications/demo", content=body, headers={"X-Signature": signature})
    assert answer.status_code == (202 if token in (TOKEN, OTHER_TOKEN) else 401)
    return signature


def test_a_full_run_writes_no_secret_anywhere(login: str, redis_url: str, tmp_path: Path, engine: Engine) -> None:
    tenant = Echo()
    signatures: list[str] = []
    seen: dict[str, str] = {}
    with running(tenant.app) as api_url, processes(login, redis_url, tmp_path) as service:
        write_tenants(tmp_path, api_url=api_url, signing_tokens=[OTHER_TOKEN])
        service.as_programs = True  # their command lines are looked at
        service.environment |= {
            "RECEIVER_LOG_LEVEL": "debug",
            "RECEIVER_ADMIN_TOKEN": ADMIN_TOKEN,
            "RECEIVER_WORK_METRICS_PORT": str(worker_port := free_port()),
        }
        # Given a receiver that took in secrets of every kind, and what it does not accept
        service.serve()
        for body in bodies():
            signatures += [post(service, body), post(service, body, OTHER_TOKEN), post(service, body, "wrong")]
        seen["messages"] = everything_in_redis(redis_url)
        # And a tenant that first refuses with the token in its answer, then answers
        tenant.refusal = (400, {})
        service.work("apply")
        service.environment["RECEIVER_WORK_METRICS_PORT"] = str(free_port())
        service.work("refresh")
        eventually(lambda: not _count(engine, "ingest.batch WHERE applied_at IS NULL"), seconds=60)
        eventually(lambda: _count(engine, "ingest.refresh_request WHERE last_error IS NOT NULL"), seconds=60)
        # When everything that was written is looked at
        bearer = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        pages = [f"{service.admin_url}/{page}" for page in ("metrics", "readyz")]
        pages.append(f"http://127.0.0.1:{worker_port}/metrics")
        seen["pages"] = "".join(httpx.get(page, headers=bearer).text for page in pages)
        seen["rows"] = every_row(login)
        seen["redis"] = everything_in_redis(redis_url)
        seen["ps"] = command_lines()
        seen["help"] = helps(service.environment)
        seen["status"] = run(service.environment, "status")
        nowhere = make_url(login).set(host="127.0.0.1", port=1, query={}).render_as_string(hide_password=False)
        seen["errors"] = run(service.environment | {"DATABASE_URL": nowhere}, "status")
        seen["errors"] += run(service.environment | {"RECEIVER_ADMIN_TOKEN_FILE": "/nowhere"}, "status")
        seen["errors"] += run(service.environment, "subscriptions")
    seen["logs"] = service.log.read_text()
    # Then each place was written to, and none holds a secret
    assert all(seen.values())
    assert "notification failed" in seen["logs"]
    for place, content in seen.items():
        for secret in (TOKEN, OTHER_TOKEN, ADMIN_TOKEN, DATABASE_PASSWORD, *CARRIED, *signatures):
            for spelling in spellings(secret):
                assert spelling not in content, f"{secret} is in the {place}"


def _count(engine: Engine, what: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {what}")).scalar_one())


def test_a_settled_body_has_its_secrets_redacted_and_the_digest_of_what_came(service: Service) -> None:
    sent = {str(json_id(service, body)): body for body in bodies()}
    service.apply()
    for found in service.query("SELECT notification_id, body, body_sha256 FROM ingest.notification"):
        body = sent[str(found["notification_id"])]
        if found["body_sha256"] is None:
            assert found["body"] == body
        else:
            assert found["body_sha256"] == hashlib.sha256(body).digest()
            assert REDACTED in found["body"]
    states = [state for state, _ in service.states().values()]
    assert {"applied", "ignored", "failed"} <= set(states)
    assert service.count("ingest.notification WHERE body_sha256 IS NOT NULL") == 5


def json_id(service: Service, body: bytes) -> Any:
    return service.post(body).json()["id"]


def test_a_replay_of_redacted_bodies_ends_as_before_and_keeps_the_first_digest(service: Service) -> None:
    for body in bodies():
        service.post(body)
    service.apply()

    def seen() -> tuple[Any, ...]:
        with service.engine.connect() as connection:
            state = row(connection, "charge_point", tenant="demo")
        digests = service.query("SELECT notification_id, body, body_sha256 FROM ingest.notification ORDER BY 1")
        return state, digests, service.states()

    before = seen()
    with service.engine.begin() as connection:
        connection.execute(text("DELETE FROM ingest.outcome"))
        connection.execute(text("UPDATE ingest.batch SET applied_at = NULL, attempts = 0"))
    service.apply()
    assert seen() == before


def test_a_replay_redacts_what_an_older_release_left(service: Service) -> None:
    for body in bodies():
        service.post(body)
    service.apply()
    with service.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE ingest.notification SET body = :body, body_sha256 = NULL WHERE notification_type LIKE 'Charge%'"
            ),
            {"body": bodies()[0]},
        )
    scope = Scope("demo", datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(minutes=1))
    assert sum(chunk.seen for chunk in replay(service.engine, scope)) == len(bodies())
    assert not any(one in every_row(str(service.settings.database_url)) for one in CARRIED)


def test_a_notification_that_is_tried_alone_is_redacted_as_well(service: Service) -> None:
    for body in bodies():
        service.post(body)
    with service.engine.begin() as connection:
        connection.execute(text("UPDATE ingest.batch SET attempts = 5"))
    service.apply()
    assert service.count("ingest.notification WHERE body_sha256 IS NOT NULL") == 5
    assert not any(one in every_row(str(service.settings.database_url)) for one in CARRIED)


def test_a_body_that_is_sent_again_much_later_moves_nothing_back(service: Service) -> None:
    # Given a session that was started, updated and finished, and an EVSE and a charge point that changed since
    old = [
        sample("SessionStartStopNotification.start"),
        sample("SessionUpdateNotification.active"),
        sample("HardwareStatusNotification.evse") | {"timestamp": "2026-03-04T07:00:00Z"},
        sample("NetworkStatusNotification.offline") | {"timestamp": "2026-03-04T07:00:00Z"},
    ]
    new = [
        sample("SessionUpdateNotification.finished"),
        sample("HardwareStatusNotification.evse")
        | {"timestamp": "2026-03-04T09:00:00Z", "hardwareStatus": "available"},
        sample("NetworkStatusNotification.available") | {"timestamp": "2026-03-04T09:00:00Z"},
    ]
    for body in (*old, *new):
        service.post(body)
    service.apply()

    def state() -> list[dict[str, Any]]:
        tables = ("session", "evse", "charge_point", "charging_period", "evse_status_observation")
        return [found for table in tables for found in service.query(f"SELECT * FROM charging.{table} ORDER BY 1, 2")]

    before = state()
    assert len(before) >= 4
    # When an attacker who captured the old bodies sends them again with their signatures
    for body in (*old, *reversed(old)):
        assert service.post(body).status_code == 202
    service.apply()
    # Then not one column of the state has moved
    assert state() == before
