"""What ``subscribe`` made at AMPECO stays as it should be, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from receiver.admin.monitoring import watch_gauges, watched
from storage.monitoring import subscriptions
from tests.support.monitored import PUBLIC_URL, URL, Watch, watching
from workers.broker import create_broker
from workers.jobs import create_scheduler
from workers.monitoring.subscription_monitor import SubscriptionMonitor

SOMEBODY_ELSES = "https://somebody.example.com/hook"


@pytest.fixture
def watch(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Watch]:
    with watching(database_url, redis_url, tmp_path) as watch:
        watch.client.subscribe(SOMEBODY_ELSES, ["evse.changed"])
        watch.api.calls.clear()
        yield watch


def urls(watch: Watch) -> list[str]:
    return sorted(one.callback_url for one in watch.simulator.subscribers.by_id.values())


def test_nothing_is_asked_or_made_without_a_managed_subscription(watch: Watch) -> None:
    assert watch.monitor().run() == 0
    assert watch.api.calls == []
    assert urls(watch) == [SOMEBODY_ELSES]


def test_a_sound_subscription_costs_one_read(watch: Watch) -> None:
    watch.subscribe()
    watch.api.calls.clear()
    assert watch.monitor().run() == 1
    assert watch.api.calls == ["GET /public-api/notifications/v2.0"]
    assert (watch.row()["state"], watch.row()["repairs"]) == ("sound", 0)


def test_a_subscription_that_is_gone_is_made_again_and_logged(watch: Watch) -> None:
    made = watch.subscribe()
    watch.client.unsubscribe(made.subscription_id)
    with capture_logs() as logs:
        watch.monitor().run()
    assert urls(watch) == [URL, SOMEBODY_ELSES]
    row = watch.row()
    assert (row["state"], row["repairs"], row["last_repair"]) == ("sound", 1, "it was not there")
    assert row["subscription_id"] != made.subscription_id
    assert row["repaired_at"] is not None
    assert [line["action"] for line in logs if line["event"] == "subscription repaired"] == ["created"]


def test_names_that_differ_are_put_right_without_a_new_subscription(watch: Watch) -> None:
    made = watch.subscribe()
    watch.client.update_subscription(made.subscription_id, URL, ["evse.changed", "SubOperatorChangedNotification"])
    watch.api.calls.clear()
    watch.monitor().run()
    assert watch.api.writes() == ["PUT"]
    assert set(watch.simulator.subscribers.by_id[made.subscription_id].notifications) == watch.names()
    assert "it lacked" in watch.row()["last_repair"]


def test_an_address_that_somebody_edited_is_put_back(watch: Watch) -> None:
    made = watch.subscribe()
    watch.client.update_subscription(made.subscription_id, "https://elsewhere.example.com", sorted(watch.names()))
    watch.monitor().run()
    assert watch.simulator.subscribers.by_id[made.subscription_id].callback_url == URL
    assert urls(watch) == [URL, SOMEBODY_ELSES]


def test_copies_of_ours_are_removed_and_other_peoples_subscriptions_are_not(watch: Watch) -> None:
    made = watch.subscribe()
    for _ in range(2):
        watch.client.subscribe(URL, sorted(watch.names()))
    watch.monitor().run()
    assert urls(watch) == [URL, SOMEBODY_ELSES]
    assert made.subscription_id in watch.simulator.subscribers.by_id
    assert watch.row()["last_repair"] == "2 more called the same address"


@pytest.mark.parametrize("public_url", [None, "https://staging.example.com"])
def test_a_deployment_with_another_address_or_none_looks_and_changes_nothing(
    watch: Watch, public_url: str | None
) -> None:
    made = watch.subscribe()
    watch.client.unsubscribe(made.subscription_id)
    watch.api.calls.clear()
    watch.monitor(public_url).run()
    assert watch.api.writes() == []
    row = watch.row()
    assert (row["state"], row["repairs"]) == ("wrong", 0)
    assert "it was not there" in row["finding"]
    assert "RECEIVER_PUBLIC_URL" in row["finding"]


def test_what_was_unsubscribed_is_not_made_again(watch: Watch) -> None:
    watch.subscribe()
    with subscriptions.locked(watch.service.engine, "demo") as lock:
        assert lock is not None
        with lock.begin() as connection:
            subscriptions.release(connection, "demo", URL)
    assert watch.monitor().run() == 0


def test_an_answer_that_was_lost_makes_no_second_subscription(watch: Watch) -> None:
    made = watch.subscribe()
    watch.client.unsubscribe(made.subscription_id)
    watch.api.lose_answers.append("POST")
    watch.monitor().run()
    row = watch.row()
    assert (row["state"], row["error"] is not None) == ("unknown", True)
    # The next look finds what the lost answer was about.
    watch.context.redis.flushdb()
    watch.pass_time(timedelta(hours=1), "subscription.checked_at")
    watch.monitor().run()
    assert urls(watch) == [URL, SOMEBODY_ELSES]
    assert (watch.row()["state"], watch.row()["error"]) == ("sound", None)


def test_many_guardians_side_by_side_look_once_and_make_one_subscription(watch: Watch) -> None:
    made = watch.subscribe()
    watch.client.unsubscribe(made.subscription_id)
    watch.api.calls.clear()
    watch.pass_time(timedelta(hours=1), "subscription.checked_at")
    monitors = [
        SubscriptionMonitor(watch.context, public_url=PUBLIC_URL, interval=timedelta(minutes=5)) for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        looked = list(pool.map(lambda monitor: monitor.run(), monitors))
    assert sum(looked) == 1
    assert watch.api.writes() == ["POST"]
    assert urls(watch) == [URL, SOMEBODY_ELSES]


def test_a_lock_that_was_lost_makes_no_subscription(watch: Watch) -> None:
    made = watch.subscribe()
    watch.client.unsubscribe(made.subscription_id)
    watch.api.calls.clear()
    holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
    listed = watch.context.client("demo", "subscription_monitor").subscriptions

    def listed_and_cut_off() -> object:
        found = listed()
        for row in watch.service.query(holders):
            watch.service.query("SELECT pg_terminate_backend(:pid)", pid=row["pid"])
        return found

    watch.context.client("demo", "subscription_monitor").subscriptions = listed_and_cut_off  # type: ignore[method-assign,assignment]
    with pytest.raises(DBAPIError):
        watch.monitor().run()
    assert watch.api.writes() == []


def test_a_tenant_that_refuses_is_asked_again_later_and_holds_up_no_other(watch: Watch) -> None:
    watch.subscribe()
    watch.simulator.guard.token = "another"
    watch.monitor().run()
    row = watch.row()
    assert row["state"] == "unknown"
    assert "401" in row["error"]
    # Paused for every process: nothing more is asked until the pause is over.
    watch.api.calls.clear()
    watch.monitor().run()
    assert watch.api.calls == []
    assert "401" in watch.row()["error"]


def test_at_its_start_a_process_checks_what_no_process_checked_for_a_minute(watch: Watch) -> None:
    watch.subscribe()
    hourly = timedelta(hours=1)
    assert SubscriptionMonitor(watch.context, public_url=PUBLIC_URL, interval=hourly).run() == 0
    watch.pass_time(timedelta(minutes=2), "subscription.checked_at")
    monitor = SubscriptionMonitor(watch.context, public_url=PUBLIC_URL, interval=hourly)
    assert monitor.run() == 1
    watch.pass_time(timedelta(minutes=2), "subscription.checked_at")
    assert monitor.run() == 0
    watch.pass_time(hourly, "subscription.checked_at")
    assert monitor.run() == 1


def test_a_process_that_only_applies_never_calls_the_api(watch: Watch) -> None:
    broker = create_broker(watch.context.redis)
    jobs = {
        queue: set(create_scheduler(watch.context, broker, watch.service.settings, {queue}).names)
        for queue in ("apply", "refresh", "reconcile")
    }
    assert jobs["refresh"] == jobs["apply"] | {"subscriptions", "resend", "quota"}
    assert jobs["reconcile"] == jobs["refresh"] | {"status logs", "consumption"}


def test_what_was_found_is_shown_as_figures(watch: Watch) -> None:
    def sound() -> dict[str, float]:
        with watch.service.engine.connect() as connection:
            gauges = watch_gauges(watched(connection, watch.service.settings.tenants))
        (family,) = [gauge for gauge in gauges if gauge.name == "ampeco_subscription_sound"]
        return {sample.labels["tenant"]: sample.value for sample in family.samples}

    assert sound() == {}
    made = watch.subscribe()
    assert sound() == {"demo": 1.0}
    watch.client.unsubscribe(made.subscription_id)
    watch.monitor(None).run()
    assert sound() == {"demo": 0.0}
    watch.monitor().run()
    assert sound() == {"demo": 1.0}


def test_a_replaced_subscription_leaves_no_gap(watch: Watch) -> None:
    old = watch.subscribe()
    watch.api.calls.clear()
    new = watch.subscribe(replace_existing=True)
    assert watch.api.writes() == ["POST", "DELETE"]
    assert new.removed == (old.subscription_id,)
    assert watch.row()["subscription_id"] == new.subscription_id
    watch.monitor().run()
    assert watch.api.writes() == []


def test_a_subscription_that_ampeco_spells_otherwise_is_replaced_too(watch: Watch) -> None:
    old = watch.subscribe()
    managed(watch).callback_url += "/"
    new = watch.subscribe(replace_existing=True)
    assert new.removed == (old.subscription_id,)
    assert urls(watch) == [URL, SOMEBODY_ELSES]
    assert watch.row()["subscription_id"] == new.subscription_id


def managed(watch: Watch) -> Any:
    """The simulator's subscription for our address."""
    (one,) = [each for each in watch.simulator.subscribers.by_id.values() if each.callback_url == URL]
    return one


def configure(watch: Watch, **settings: Any) -> None:
    tenants = watch.service.settings.tenants
    changed = tenants["demo"].model_copy(update=settings)
    tenants["demo"] = watch.context.tenants["demo"] = changed


def test_a_repair_keeps_every_option_that_is_not_ours(watch: Watch) -> None:
    watch.subscribe()
    managed(watch).options |= {"skipRoamingInfrastructure": True, "suppressSelfNotifications": True}
    managed(watch).notifications.remove("evse.changed")
    watch.monitor().run()
    assert "evse.changed" in managed(watch).notifications
    assert managed(watch).options == {
        "skipRoamingInfrastructure": True,
        "suppressSelfNotifications": True,
    }
    # And so does a subscription that replaces it
    watch.subscribe(replace_existing=True)
    assert managed(watch).options["skipRoamingInfrastructure"]


@pytest.mark.parametrize("wanted", [False, True])
def test_whether_the_timestamp_is_signed_is_as_configured(watch: Watch, wanted: bool) -> None:
    watch.subscribe()
    configure(watch, include_timestamp_in_signature=wanted)
    managed(watch).options["includeTimestampInSignature"] = not wanted
    watch.monitor().run()
    assert managed(watch).options["includeTimestampInSignature"] is wanted
    assert watch.row()["last_repair"] == f"it {'did not sign' if wanted else 'signed'} the timestamp, too"
    watch.monitor().run()
    assert (watch.row()["state"], watch.row()["repairs"]) == ("sound", 1)


def test_names_that_somebody_added_stay_if_the_setting_allows_it(watch: Watch) -> None:
    configure(watch, notifications=("evse.changed",), keep_further_notifications=True)
    watch.subscribe()
    managed(watch).notifications.append("circuit.changed")
    watch.monitor().run()
    assert (watch.row()["state"], watch.row()["repairs"]) == ("sound", 0)
    # And a repair of something else keeps them
    managed(watch).notifications.remove("evse.changed")
    watch.monitor().run()
    assert set(managed(watch).notifications) == {"evse.changed", "circuit.changed"}
