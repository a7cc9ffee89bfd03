"""People are alerted of each incident once, whatever the webhook and the processes do, and its URL stays secret."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.retry import Retry
from structlog.testing import capture_logs

from runtime.alerts import Alerts
from storage.ids import uuid7
from storage.locks import Lock, lock
from storage.monitoring import alerts as store
from storage.monitoring.alerts import KINDS
from tests.support.certificates import unsigned_https
from tests.support.commands import run
from tests.support.deployment import Deployment
from tests.support.facts import sample
from tests.support.log import execute
from tests.support.processes import end, processes
from tests.support.service import Service, eventually, free_port, running, write_tenants
from tests.support.webhooks import PATH, FakeWebhook
from workers.metrics import ALERT_UNSENT_SECONDS
from workers.monitoring import webhook as webhooks
from workers.monitoring.alerts import AlertJob

SECRET = PATH.rpartition("/")[2]


@dataclass
class Alerting:
    """A service with a webhook, and the job that alerts people."""

    deployment: Deployment
    webhook: FakeWebhook
    alerts: Alerts

    @property
    def service(self) -> Service:
        return self.deployment.service

    def run(self, **changes: Any) -> None:
        """Run the job as a process does that has just started."""
        AlertJob(self.deployment.context, replace(self.alerts, **changes)).run()

    def run_all(self, **changes: Any) -> None:
        """Run the job until what is seen now was sent, if the webhook accepts it."""
        self.run(**changes)
        self.make_due()
        self.run(**changes)

    def make_due(self) -> None:
        """Let the time pass until each message is due."""
        self.execute("UPDATE ingest.alert SET retry_at = now() WHERE retry_at > now()")

    def execute(self, statement: str, **parameters: Any) -> None:
        execute(self.service.engine, statement, **parameters)

    def incidents(self) -> list[dict[str, Any]]:
        return self.service.query("SELECT * FROM ingest.alert ORDER BY incident_id")

    def incident(self) -> dict[str, Any]:
        (row,) = self.incidents()
        return row

    def begin_gap(self) -> None:
        self.execute(
            "INSERT INTO ingest.traffic_gap (tenant, began_at, expected, received) VALUES ('demo', now(), 99, 1)"
        )

    def end_gap(self) -> None:
        self.execute("UPDATE ingest.traffic_gap SET ended_at = now()")


@pytest.fixture
def alerting(deployment: Deployment) -> Iterator[Alerting]:
    webhook = FakeWebhook()
    with running(webhook.app) as url:
        alerts = Alerts(SecretStr(url + PATH), "json", "https://console.example.com", ("demo", "other"), KINDS)
        yield Alerting(deployment, webhook, alerts)


def test_an_incident_is_reported_once_and_its_end_once(alerting: Alerting) -> None:
    # Given a gap that lasts
    alerting.begin_gap()
    alerting.run()
    assert alerting.webhook.messages == []  # it may be over in a moment
    for _ in range(3):
        alerting.make_due()
        alerting.run()
    # When it ends
    alerting.end_gap()
    for _ in range(3):
        alerting.run()
        alerting.make_due()
    # Then there are two messages of one incident
    opened, resolved = alerting.webhook.messages
    row = alerting.incident()
    assert opened == {
        "incident_id": str(row["incident_id"]),
        "state": "open",
        "tenant": "demo",
        "kind": "traffic_gap",
        "subject": "",
        "summary": row["summary"],
        "opened_at": row["opened_at"].isoformat(),
        "resolved_at": None,
        "link": "https://console.example.com/tenants",
    }
    assert resolved == opened | {"state": "resolved", "resolved_at": row["resolved_at"].isoformat()}
    assert row["summary"].startswith("Far fewer notifications arrive than usual since")
    assert row["notified_open_at"] < row["notified_resolved_at"]
    # And the next gap is another incident
    alerting.execute("DELETE FROM ingest.traffic_gap")
    alerting.begin_gap()
    alerting.run_all()
    assert alerting.webhook.messages[2]["incident_id"] != opened["incident_id"]


def test_a_message_that_is_refused_is_sent_again_later_and_ever_later(alerting: Alerting) -> None:
    alerting.webhook.statuses = [500, 503, 200]
    alerting.begin_gap()
    delays, seen = [], []
    alerting.run()
    for _ in range(4):
        alerting.make_due()
        alerting.run()
        alerting.run()  # not due yet
        row = alerting.incident()
        (left,) = alerting.service.query("SELECT extract(epoch FROM retry_at - now()) AS seconds FROM ingest.alert")
        delays.append(float(left["seconds"]))
        seen.append((row["attempts"], row["last_error"]))
    assert seen == [(1, "500 Internal Server Error"), (2, "503 Service Unavailable"), (0, None), (0, None)]
    assert 0 < delays[0] <= 15 < delays[1] <= 30
    assert alerting.webhook.states() == ["open"] * 3
    assert len({message["incident_id"] for message in alerting.webhook.messages}) == 1


def test_a_webhook_that_hangs_is_given_up_and_shown(alerting: Alerting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.2)
    alerting.webhook.hangs = True
    alerting.begin_gap()
    began = time.monotonic()
    alerting.run_all()
    assert time.monotonic() - began < 5
    assert alerting.incident()["last_error"].startswith("no answer: ReadTimeout")
    alerting.execute("UPDATE ingest.alert SET opened_at = opened_at - interval '1 hour'")
    alerting.run()
    assert 3_600 <= ALERT_UNSENT_SECONDS._value.get() < 3_700
    # And once it answers again, the metric is 0
    alerting.webhook.hangs = False
    alerting.run_all()
    assert ALERT_UNSENT_SECONDS._value.get() == 0
    assert alerting.incident()["notified_open_at"] is not None


def test_a_webhook_that_fails_is_tried_once_a_run_however_many_messages_wait(alerting: Alerting) -> None:
    alerting.webhook.statuses = [500]
    alerting.begin_gap()
    alerting.execute(
        "INSERT INTO ingest.traffic_gap (tenant, began_at, expected, received) VALUES ('other', now(), 99, 1)"
    )
    alerting.run_all()
    assert len(alerting.webhook.messages) == 1
    alerting.run_all()
    assert {message["tenant"] for message in alerting.webhook.messages} == {"demo", "other"}


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(alerting: Alerting, status: int) -> None:
    alerting.webhook.statuses = [status]
    alerting.begin_gap()
    alerting.run_all()
    assert alerting.webhook.elsewhere == []
    assert alerting.incident()["last_error"].startswith(f"{status} ")
    assert alerting.incident()["last_error"].endswith("a redirect, which is not followed")
    assert alerting.incident()["notified_open_at"] is None


def test_a_server_whose_certificate_does_not_verify_gets_nothing(alerting: Alerting, tmp_path: Path) -> None:
    alerting.begin_gap()
    with unsigned_https(tmp_path) as (url, paths):
        alerting.run_all(url=SecretStr(url + PATH))
    assert paths == []
    assert "CERTIFICATE_VERIFY_FAILED" in alerting.incident()["last_error"]


def test_what_ends_before_the_first_attempt_is_not_reported(alerting: Alerting) -> None:
    alerting.begin_gap()
    alerting.run()
    alerting.end_gap()
    alerting.run_all()
    assert alerting.webhook.messages == []
    assert alerting.incident()["to_send"] is None


def test_what_ends_after_a_failed_attempt_is_reported_as_resolved(alerting: Alerting) -> None:
    # Given a message that the webhook may have taken before it failed
    alerting.webhook.statuses = [500]
    alerting.begin_gap()
    alerting.run_all()
    # When the incident ends before the next attempt
    alerting.end_gap()
    alerting.run_all()
    # Then its end is reported
    assert alerting.webhook.states() == ["open", "resolved"]
    assert alerting.incident()["notified_open_at"] is None


def test_an_incident_that_ends_while_its_message_is_sent_is_reported_as_resolved_next(alerting: Alerting) -> None:
    # Given an attempt that is under way when another process sees the end
    alerting.begin_gap()
    alerting.run()
    alerting.make_due()
    alerting.webhook.hangs = True
    sender = threading.Thread(target=alerting.run)
    sender.start()
    eventually(lambda: alerting.webhook.messages)
    alerting.end_gap()
    alerting.webhook.hangs = False
    alerting.webhook.statuses = [500]
    alerting.run()
    # When the attempt succeeds after all
    alerting.webhook.released = True
    sender.join()
    assert alerting.incident()["notified_open_at"] is not None
    # Then the end is still reported
    alerting.run_all()
    assert alerting.webhook.states() == ["open", "resolved", "resolved"]
    assert alerting.incident()["notified_resolved_at"] is not None


def test_while_one_process_looks_another_only_sends(alerting: Alerting) -> None:
    # Given a process that looks, and would write what it saw before
    alerting.begin_gap()
    alerting.run()
    alerting.make_due()
    with alerting.service.engine.begin() as connection:
        lock(connection, Lock.ALERTS)
        # When the gap ends and another process runs
        alerting.end_gap()
        alerting.run()
        assert alerting.incident()["resolved_at"] is None
    assert alerting.webhook.states() == ["open"]


def test_processes_that_run_at_the_same_time_send_each_message_once(alerting: Alerting) -> None:
    def run_together() -> None:
        list(pool.map(lambda _: alerting.run(), range(8)))
        alerting.make_due()
        list(pool.map(lambda _: alerting.run(), range(8)))

    with ThreadPoolExecutor(8) as pool:
        alerting.begin_gap()
        run_together()
        alerting.end_gap()
        run_together()
    assert alerting.webhook.states() == ["open", "resolved"]
    assert len(alerting.incidents()) == 1


def test_a_message_that_many_processes_find_due_is_claimed_by_one(alerting: Alerting) -> None:
    alerting.begin_gap()
    alerting.run()
    alerting.make_due()
    engine = alerting.service.engine
    with engine.connect() as connection:
        (due,) = store.due(connection, limit=9)

    def claim(_number: int) -> bool:
        with engine.begin() as connection:
            return store.claim(connection, due, timedelta(minutes=1)) is not None

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(claim, range(4))) == 1
    assert alerting.incident()["attempts"] == 1


def test_workers_that_are_killed_between_the_messages_repeat_none(
    database_url: str, redis_url: str, tmp_path: Path, alerting: Alerting
) -> None:
    # Given two workers, whose URL comes from a file
    (tmp_path / "webhook").write_text(alerting.alerts.url.get_secret_value() + "\n")
    with processes(database_url, redis_url, tmp_path, RECEIVER_LOG_LEVEL="debug") as service:
        tenants = write_tenants(tmp_path)
        tenants.write_text(f'{tenants.read_text()}[alerts]\nurl_file = "{tmp_path / "webhook"}"\n')
        alerting.begin_gap()
        first = service.work("refresh")
        eventually(alerting.incidents, seconds=60)
        end(first)
        alerting.make_due()
        started = [service.work("refresh"), service.work("reconcile")]
        eventually(lambda: alerting.incident()["notified_open_at"], seconds=60)
        for process in started:
            end(process)
        # When they are killed, and others start after the end
        alerting.end_gap()
        service.work("refresh")
        service.work("reconcile")
        eventually(lambda: alerting.incident()["notified_resolved_at"], seconds=60)
    # Then each message was sent once, and no log has the URL
    gap = [message for message in alerting.webhook.messages if message["kind"] == "traffic_gap"]
    assert [message["state"] for message in gap] == ["open", "resolved"]
    logged = service.log.read_text()
    assert "alert sent" in logged
    assert SECRET not in logged


def test_the_url_is_in_no_log_no_row_and_no_error(
    database_url: str, redis_url: str, tmp_path: Path, alerting: Alerting, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a webhook that fails in every way, and shows its path
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.2)
    alerting.webhook.echoes = True
    alerting.webhook.statuses = [404, 302]
    alerting.begin_gap()
    with capture_logs() as logs:
        for _ in range(2):
            alerting.run_all()
        alerting.webhook.hangs = True
        alerting.run_all()
        alerting.webhook.hangs = False
        alerting.make_due()
        for url in (f"http://127.0.0.1:{free_port()}{PATH}", f"http://nowhere.invalid{PATH}"):
            alerting.make_due()
            alerting.run(url=SecretStr(url))
    assert len([line for line in logs if line["event"] == "alert not sent"]) == 5
    # When the commands are run
    environment = environment_of(tmp_path, alerting, database_url, redis_url)
    alerting.webhook.statuses = [500, 302, 404]
    shown = ""
    for command in (["status"], ["status", "--json"], ["alerts"], ["alerts", "--json"], *[["alerts", "test"]] * 4):
        ended = run(tmp_path, *command, **environment)
        shown += ended.stdout + ended.stderr
    # Then nothing contains the URL
    assert "Cannot POST [url]" in shown
    for place in (
        str(logs),
        str(alerting.incidents()),
        shown,
        repr(alerting.alerts),
        str(vars(alerting.alerts.url))[:0],
    ):
        assert SECRET not in place


def environment_of(
    tmp_path: Path, alerting: Alerting, database_url: str, redis_url: str, **table: str
) -> dict[str, str]:
    """Write the settings of alerts, with the URL in a variable, and return the environment of a command."""
    tenants = write_tenants(tmp_path)
    lines = ["[alerts]", 'url_env = "ALERTS_URL"', *(f'{key} = "{value}"' for key, value in table.items())]
    tenants.write_text("\n".join([tenants.read_text(), *lines, ""]))
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "TENANTS_FILE": str(tenants),
        "ALERTS_URL": alerting.alerts.url.get_secret_value(),
    }


def test_a_person_tries_the_webhook_and_sees_its_answer(
    database_url: str, redis_url: str, tmp_path: Path, alerting: Alerting
) -> None:
    environment = environment_of(tmp_path, alerting, database_url, redis_url, format="slack")
    alerting.webhook.statuses = [200, 403]
    accepted = run(tmp_path, "alerts", "test", **environment)
    assert (accepted.returncode, accepted.stdout) == (0, "The webhook answered 200 OK: ok\n")
    refused = run(tmp_path, "alerts", "test", **environment)
    assert refused.returncode == 1
    assert "the webhook did not accept the message: 403 Forbidden: ok" in refused.stderr
    assert "nothing is wrong" in alerting.webhook.messages[0]["text"]
    write_tenants(tmp_path)
    unset = run(tmp_path, "alerts", "test", **environment)
    assert unset.returncode == 2
    assert "has no table [alerts]" in unset.stderr


def test_a_worker_with_wrong_settings_of_alerts_does_not_start_and_says_why(
    database_url: str, redis_url: str, tmp_path: Path, alerting: Alerting
) -> None:
    environment = environment_of(tmp_path, alerting, database_url, redis_url) | {"ALERTS_URL": SECRET}
    for command in (["work"], ["work", "--queue", "refresh"], ["up"]):
        ended = run(tmp_path, *command, **environment)
        assert ended.returncode == 2
        assert "alerts.url_env (ALERTS_URL) must be a URL that begins with https://" in ended.stderr
        assert SECRET not in ended.stdout + ended.stderr


def test_status_and_the_list_show_incidents_and_what_became_of_their_messages(
    database_url: str, redis_url: str, tmp_path: Path, alerting: Alerting
) -> None:
    environment = environment_of(tmp_path, alerting, database_url, redis_url)
    assert run(tmp_path, "alerts", **environment).stdout.startswith("There is no incident")
    alerting.webhook.statuses = [500]
    alerting.begin_gap()
    alerting.run_all()
    status = run(tmp_path, "status", **environment).stdout
    assert "Far fewer notifications" in status.replace("\n", " ")
    assert (
        "Alerts: 1 message waits for the webhook, which did not accept the oldest: 500 Internal Server Error" in status
    )
    (shown,) = json.loads(run(tmp_path, "status", "--json", **environment).stdout)["incidents"]
    assert (shown["kind"], shown["attempts"], shown["resolved_at"]) == ("traffic_gap", 1, None)
    # And what is over is in the list for a week, and in the status no more
    alerting.end_gap()
    alerting.run_all()
    (listed,) = json.loads(run(tmp_path, "alerts", "--json", **environment).stdout)["incidents"]
    assert listed["resolved_at"] is not None
    assert "resolved 20" in run(tmp_path, "alerts", **environment).stdout
    assert "Incidents" not in run(tmp_path, "status", **environment).stdout


def test_only_the_watched_tenants_and_kinds_are_reported(alerting: Alerting) -> None:
    alerting.begin_gap()
    alerting.run_all(tenants=("other",))
    alerting.run_all(kinds=("token_rejected",))
    assert alerting.incidents() == []
    # And an incident that is no longer watched ends without a message, because it is unknown whether it is over
    alerting.run_all()
    alerting.run_all(tenants=("other",))
    assert alerting.webhook.states() == ["open"]
    assert alerting.incident()["resolved_at"] is not None


def test_old_incidents_are_deleted(alerting: Alerting) -> None:
    alerting.begin_gap()
    alerting.run_all()
    with alerting.service.engine.begin() as connection:
        store.prune(connection, timedelta(0))
    assert len(alerting.incidents()) == 1
    alerting.end_gap()
    alerting.run_all()
    with alerting.service.engine.begin() as connection:
        store.prune(connection, timedelta(0))
    assert alerting.incidents() == []


def test_slack_gets_blocks_and_no_markup_of_ours(alerting: Alerting) -> None:
    alerting.execute(
        "INSERT INTO ingest.subscription (tenant, callback_url, subscription_id, state, finding)"
        " VALUES ('demo', 'https://r.example.com/?a=1&b=<2>', 1, 'wrong', 'it lacked <!channel> & more')"
    )
    alerting.run_all(format="slack")
    (message,) = alerting.webhook.messages
    section, details = message["blocks"]
    assert "it lacked &lt;!channel&gt; &amp; more" in message["text"]
    assert section["text"] == {"type": "mrkdwn", "text": f":red_circle: {message['text']}"}
    (element,) = details["elements"]
    assert "<https://console.example.com/tenants|console>" in element["text"]
    assert "a=1&amp;b=&lt;2&gt;" in element["text"]
    assert str(alerting.incident()["incident_id"]) in element["text"]


# What is an incident


def opened(alerting: Alerting, kind: str) -> list[tuple[str, str]]:
    """Look, and return the tenant and subject of each open incident of a kind."""
    alerting.run()
    return [
        (row["tenant"], row["subject"])
        for row in alerting.incidents()
        if row["kind"] == kind and row["resolved_at"] is None
    ]


def test_a_subscription_that_is_wrong_is_an_incident_until_a_check_finds_it_sound(alerting: Alerting) -> None:
    url = "https://r.example.com/notifications/demo"
    state = "UPDATE ingest.subscription SET state = :state, finding = :finding"
    alerting.execute(
        "INSERT INTO ingest.subscription (tenant, callback_url, subscription_id, state, error)"
        " VALUES ('demo', :url, 1, 'unknown', 'no answer')",
        url=url,
    )
    assert opened(alerting, "subscription_wrong") == []
    alerting.execute(state, state="wrong", finding="it was disabled")
    assert opened(alerting, "subscription_wrong") == [("demo", url)]
    assert alerting.incident()["summary"] == "The subscription is not as configured: it was disabled."
    alerting.execute(state, state="unknown", finding=None)  # a check that failed proves nothing
    assert opened(alerting, "subscription_wrong") == [("demo", url)]
    alerting.execute(state, state="sound", finding=None)
    assert opened(alerting, "subscription_wrong") == []


def test_a_rejected_token_is_an_incident_until_a_call_succeeds(alerting: Alerting) -> None:
    # Given a tenant that rejects the token
    deployment = alerting.deployment
    deployment.deliver(sample("evse.changed"))
    deployment.ampeco.refusal = (401, {})
    deployment.refresh()
    assert opened(alerting, "token_rejected") == [("demo", "")]
    # When the pause is over, or Redis is emptied
    deployment.context.redis.flushdb()
    assert opened(alerting, "token_rejected") == [("demo", "")]
    # Then it lasts until AMPECO answers
    deployment.ampeco.refusal = None
    deployment.refresh()
    assert opened(alerting, "token_rejected") == []


def test_without_redis_rejected_tokens_stay_as_they_are_and_the_rest_is_reported(alerting: Alerting) -> None:
    context = alerting.deployment.context
    alerting.deployment.deliver(sample("evse.changed"))
    alerting.deployment.ampeco.refusal = (401, {})
    alerting.deployment.refresh()
    alerting.run()
    alerting.begin_gap()
    alive = context.redis
    context.redis = redis.Redis(port=free_port(), retry=Retry(NoBackoff(), 0))
    alerting.run()
    context.redis = alive
    assert {row["kind"] for row in alerting.incidents() if row["resolved_at"] is None} == {
        "token_rejected",
        "traffic_gap",
    }


def test_new_failures_are_an_incident_for_an_hour(alerting: Alerting) -> None:
    alerting.deployment.deliver(sample("ChargePointChangedNotification") | {"chargePoint": {"id": "nine"}})
    assert opened(alerting, "notifications_failed") == [("demo", "")]
    assert alerting.incident()["summary"].startswith("Notifications that failed within the last hour: 1.")
    alerting.execute("UPDATE ingest.outcome SET recorded_at = recorded_at - interval '1 hour'")
    assert opened(alerting, "notifications_failed") == []


def test_notifications_that_are_not_applied_for_long_are_an_incident(alerting: Alerting) -> None:
    assert alerting.service.post(sample("evse.changed")).status_code == 202
    assert opened(alerting, "not_applied") == []
    alerting.execute(
        "UPDATE ingest.batch SET committed_at = committed_at - interval '6 minutes', last_error = 'E: secret'"
    )
    assert opened(alerting, "not_applied") == [("demo", "")]
    assert "the last attempt failed: E." in alerting.incident()["summary"]
    alerting.service.apply()
    assert opened(alerting, "not_applied") == []


def finding(alerting: Alerting, entity_id: int, seen: str = "now()", severity: str = "high") -> None:
    rule = {"high": "sessions_at_once", "medium": "clock_ahead"}[severity]
    alerting.execute(
        "INSERT INTO analytics.finding (tenant, rule, kind, entity_id, began_at, ended_at, severity, evidence,"
        f" first_seen_at, change_number, changed_at) VALUES ('demo', '{rule}', 'evse', {entity_id}, now(), 'infinity',"
        f" '{severity}', '{{}}', {seen}, 1, now())"
    )


def test_findings_of_a_day_are_one_incident_for_each_rule_of_high_severity(alerting: Alerting) -> None:
    finding(alerting, 1)
    finding(alerting, 2)
    finding(alerting, 3, severity="medium")
    finding(alerting, 4, seen="now() - interval '50 hours'")
    ((tenant, subject),) = opened(alerting, "finding")
    assert tenant == "demo"
    assert subject.startswith("sessions_at_once 20")
    assert "overlap by over a minute: 2 first found on" in alerting.incident()["summary"]
    # It lasts while one of them is open, also when they are no news any more
    alerting.execute("UPDATE analytics.finding SET resolved_at = now() WHERE entity_id = 1")
    assert len(opened(alerting, "finding")) == 1
    alerting.execute("UPDATE analytics.finding SET resolved_at = now() WHERE entity_id = 2")
    assert opened(alerting, "finding") == []


def test_findings_that_are_no_longer_new_keep_their_incident_open(alerting: Alerting) -> None:
    finding(alerting, 1)
    (before,) = opened(alerting, "finding")
    rule, day = before[1].split()
    alerting.execute("UPDATE analytics.finding SET first_seen_at = first_seen_at - interval '3 days'")
    alerting.execute("UPDATE ingest.alert SET subject = :rule || ' ' || (CAST(:day AS date) - 3)", rule=rule, day=day)
    (after,) = opened(alerting, "finding")
    assert after[1] != before[1]


def start(alerting: Alerting, name: str, *, host: str = "here", started: str = "1 hour", seen: str = "0 s") -> None:
    alerting.execute(
        "INSERT INTO ingest.process (process_id, name, host, pid, version, started_at, seen_at)"
        " VALUES (:id, :name, :host, 7, '1', now() - CAST(:started AS interval), now() - CAST(:seen AS interval))",
        id=uuid7(),
        name=name,
        host=host,
        started=started,
        seen=seen,
    )


def test_a_lost_process_is_an_incident_until_another_one_starts_in_its_place(alerting: Alerting) -> None:
    # Given two lost processes, a command that was killed, and a worker that runs since before
    start(alerting, "work apply", seen="2 minutes")
    start(alerting, "work apply", host="there", seen="3 minutes")
    start(alerting, "backfill", seen="2 minutes")
    start(alerting, "work apply")
    assert opened(alerting, "process_lost") == [("", "work apply")]
    assert alerting.incident()["summary"].startswith("2 of the processes `work apply` ended")
    assert "on here, there" in alerting.incident()["summary"]
    # When one of them is replaced, and then the other
    start(alerting, "work apply", started="1 minute")
    assert opened(alerting, "process_lost") == [("", "work apply")]
    start(alerting, "work apply", host="other", started="1 minute")
    assert opened(alerting, "process_lost") == []
    # A consumer counts like a receiver
    start(alerting, "consume", seen="2 minutes")
    assert opened(alerting, "process_lost") == [("", "consume")]
    start(alerting, "consume", started="1 minute")
    assert opened(alerting, "process_lost") == []
    # Then the message is about no tenant
    start(alerting, "work derive", seen="2 minutes")
    alerting.run_all()
    assert alerting.webhook.messages[-1]["tenant"] is None
