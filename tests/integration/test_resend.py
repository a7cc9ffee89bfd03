"""After an outage of ours AMPECO is asked to send again what it could not deliver, and nothing is missing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ampeco.errors import Conflict
from receiver.accept.app import create_app
from receiver.accept.heartbeat import UptimeHeartbeat
from runtime.clock_watch import ClockWatch
from simulator.fleet.fleet import Notification
from storage.monitoring import resends, subscriptions
from storage.monitoring.resends import MARGIN
from storage.monitoring.uptime import Outage, beat, outages
from tests.support.monitored import Watch, watching
from tests.support.service import eventually, free_port, running
from workers.monitoring.resend import ask, resend_due
from workers.monitoring.subscriptions import callback_url

LONG = timedelta(minutes=2)


@pytest.fixture
def watch(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Watch]:
    with watching(database_url, redis_url, tmp_path) as watch:
        yield watch


def collect_sent(watch: Watch) -> set[bytes]:
    """Collect what the tenant sends from now on, of what we subscribed to."""
    found: set[bytes] = set()
    post, names = watch.simulator.delivery.post, watch.names()

    def listening(notifications: list[Notification], now: datetime) -> None:
        kept = list(notifications)
        found.update(one.body for one in kept if one.name in names)
        post(kept, now)

    watch.simulator.delivery.post = listening  # type: ignore[method-assign,assignment]
    return found


def stored(watch: Watch) -> set[bytes]:
    return {bytes(row["body"]) for row in watch.service.query("SELECT body FROM ingest.notification")}


def deliveries(watch: Watch) -> dict[str, Any]:
    found: dict[str, Any] = watch.simulator.delivery.state()
    return found


def rest(watch: Watch) -> None:
    """Let the tenant stand still until nothing is under way."""
    watch.simulator.runner.pause()
    eventually(lambda: watch.simulator.delivery.waiting == 0)


def test_what_the_tenant_sent_while_we_were_down_is_there_in_the_end(watch: Watch) -> None:
    # Given a receiver that is subscribed to a living tenant
    app, port = create_app(watch.service.settings), free_port()
    with running(app, port) as url:
        watch.subscribe(url=callback_url(url, "demo"))
        sent = collect_sent(watch)
        eventually(lambda: len(stored(watch)) > 20)
    # When it is down while the tenant lives on, for longer than the tenant tries
    eventually(lambda: deliveries(watch)["failed"] > 20)
    watch.pass_time(LONG, "uptime.began_at", "uptime.last_beat_at", "subscription.managed_since_at")
    with running(create_app(watch.service.settings), port):
        # And up again
        eventually(lambda: watch.service.count("ingest.resend") == 1)
        rest(watch)
        missing = sent - stored(watch)
        assert len(missing) > 20
        # Then AMPECO is asked, once, for what failed in that time
        watch.api.calls.clear()
        assert resend_due(watch.context) == 1
        assert resend_due(watch.context) == 0
        assert [call for call in watch.api.calls if call.endswith("/resend")] == watch.api.calls
        # And nothing is missing
        eventually(lambda: sent <= stored(watch))
        assert deliveries(watch)["failed_by_subscription"] == {}
        (row,) = watch.service.query("SELECT * FROM ingest.resend")
        assert (row["reason"], row["state"], row["error"]) == ("outage", "asked", None)


def wanted(watch: Watch, *, since: datetime | None = None) -> resends.Resend:
    with watch.service.engine.begin() as connection:
        (subscription,) = subscriptions.managed_subscriptions(connection, ["demo"])
        return resends.request_resend(connection, subscription, "manual", since)


def asked(watch: Watch) -> resends.Resend | None:
    with watch.service.engine.connect() as connection:
        (subscription,) = subscriptions.managed_subscriptions(connection, ["demo"])
    return ask(watch.context, "demo", subscription.callback_url, subscription)


def test_ampeco_is_asked_once_in_fifteen_minutes_by_all_processes_together(watch: Watch) -> None:
    watch.subscribe()
    wanted(watch)
    watch.api.calls.clear()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: asked(watch), range(4)))
    assert [one.state for one in made if one is not None] == ["asked"]
    # What is wanted next waits, and two requests that wait are one.
    assert wanted(watch).due_at > datetime.now(UTC) + timedelta(minutes=14)
    wanted(watch)
    assert watch.service.count("ingest.resend") == 2
    assert resend_due(watch.context) == 0
    assert len(watch.api.calls) == 1
    watch.pass_time(timedelta(minutes=16), "resend.due_at", "resend.tried_at")
    watch.simulator.subscribers.by_id[21].resent_at = None
    assert resend_due(watch.context) == 1


@pytest.mark.parametrize("since", [None, datetime.now(UTC) - timedelta(hours=2)])
def test_what_is_wanted_while_ampeco_is_asked_is_asked_for_later(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, since: datetime | None
) -> None:
    watch.subscribe()
    wanted(watch, since=datetime.now(UTC) - timedelta(hours=1))
    client = watch.context.client("demo", "subscription_monitor")
    ask_ampeco = client.resend

    def slowly(*arguments: Any) -> None:
        ask_ampeco(*arguments)
        wanted(watch, since=since)

    with monkeypatch.context() as patched:
        patched.setattr(client, "resend", slowly)
        assert asked(watch) is not None
    (row,) = watch.service.query("SELECT state, since_at FROM ingest.resend")
    assert row == {"state": "waiting", "since_at": since}
    watch.pass_time(timedelta(minutes=16), "resend.due_at", "resend.tried_at")
    watch.simulator.subscribers.by_id[21].resent_at = None
    assert resend_due(watch.context) == 1
    (row,) = watch.service.query("SELECT state FROM ingest.resend")
    assert row == {"state": "asked"}


def test_a_try_counts_even_where_its_answer_was_lost(watch: Watch) -> None:
    watch.subscribe()
    wanted(watch)
    watch.api.lose_answers.append("POST")
    made = asked(watch)
    assert made is not None
    assert made.state == "waiting"
    assert "502" in (made.error or "")
    watch.context.redis.flushdb()
    assert resend_due(watch.context) == 0


def test_somebody_elses_request_is_waited_for(watch: Watch) -> None:
    made = watch.subscribe()
    watch.client.resend(made.subscription_id, sorted(watch.names()))
    with pytest.raises(Conflict, match="15 minutes"):
        watch.client.resend(made.subscription_id, sorted(watch.names()))
    wanted(watch)
    refused = asked(watch)
    assert refused is not None
    assert (refused.state, "409" in (refused.error or "")) == ("waiting", True)
    watch.pass_time(timedelta(minutes=16), "resend.due_at", "resend.tried_at")
    watch.simulator.subscribers.by_id[made.subscription_id].resent_at = None
    assert resend_due(watch.context) == 1


def test_what_ampeco_never_accepts_is_given_up_and_shown(watch: Watch) -> None:
    made = watch.subscribe()
    wanted(watch)
    watch.client.unsubscribe(made.subscription_id)
    refused = asked(watch)
    assert refused is not None
    assert (refused.state, "404" in (refused.error or "")) == ("failed", True)
    # And what passes is waited for, but not for ever.
    made = watch.subscribe()
    watch.client.resend(made.subscription_id, sorted(watch.names()))
    watch.pass_time(timedelta(minutes=16), "resend.due_at", "resend.tried_at")
    wanted(watch)
    watch.pass_time(timedelta(days=2), "resend.wanted_at")
    refused = asked(watch)
    assert refused is not None
    assert (refused.state, "409" in (refused.error or "")) == ("failed", True)


def test_a_paused_tenant_is_not_asked_and_the_try_does_not_count(watch: Watch) -> None:
    watch.subscribe()
    wanted(watch)
    watch.context.redis.set("ampeco-receiver:pause:demo", "maintenance", px=60_000)
    held = asked(watch)
    assert held is not None
    assert (held.state, held.error) == ("waiting", "maintenance")
    (row,) = watch.service.query("SELECT attempts, tried_at FROM ingest.resend")
    assert row == {"attempts": 0, "tried_at": None}


def test_an_outage_is_found_once_however_many_receivers_rise(watch: Watch) -> None:
    watch.subscribe()
    engine = watch.service.engine
    heartbeats = [UptimeHeartbeat(engine, ["demo"], ClockWatch(watch.context.redis)) for _ in range(4)]
    # The fixture's receiver beats, too: its beats do not count as an outage's end.
    eventually(lambda: watch.service.count("ingest.uptime"))
    assert [heartbeat.beat() for heartbeat in heartbeats] == [None] * 4
    watch.pass_time(LONG, "uptime.began_at", "uptime.last_beat_at", "subscription.managed_since_at")
    with ThreadPoolExecutor(4) as pool:
        found = [one for one in pool.map(lambda heartbeat: heartbeat.beat(), heartbeats) if one is not None]
    assert len(found) == 1
    (outage,) = found
    (row,) = watch.service.query("SELECT * FROM ingest.resend")
    assert row["since_at"] == outage.began_at - MARGIN
    with engine.connect() as connection:
        assert outages(connection, outage.began_at) == [outage]


def test_a_restart_is_no_outage_and_the_first_start_is_none(database_url: str, engine: object) -> None:
    from sqlalchemy import Engine

    assert isinstance(engine, Engine)
    with engine.begin() as connection:
        assert beat(connection) is None
    with engine.begin() as connection:
        connection.execute(text("UPDATE ingest.uptime SET last_beat_at = last_beat_at - interval '25 s'"))
    with engine.begin() as connection:
        assert beat(connection) is None
        assert connection.execute(text("SELECT count(*) FROM ingest.uptime")).scalar_one() == 1
        connection.execute(text("UPDATE ingest.uptime SET last_beat_at = last_beat_at - interval '31 s'"))
    with engine.begin() as connection:
        found = beat(connection)
        assert isinstance(found, Outage)
        assert connection.execute(text("SELECT count(*) FROM ingest.uptime")).scalar_one() == 2


def test_a_tenant_that_was_not_ours_during_the_outage_is_not_asked(watch: Watch) -> None:
    heartbeat = UptimeHeartbeat(watch.service.engine, ["demo"], ClockWatch(watch.context.redis))
    eventually(lambda: watch.service.count("ingest.uptime"))
    watch.pass_time(LONG, "uptime.began_at", "uptime.last_beat_at")
    assert heartbeat.beat() is not None
    watch.subscribe()
    assert watch.service.count("ingest.resend") == 0
