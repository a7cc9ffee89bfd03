"""The gate that every call of the API passes: it holds back, counts, and never more than half for the background."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from random import Random

import pytest
import redis
from pydantic import HttpUrl, SecretStr
from sqlalchemy import Engine

from ampeco.tenants import Tenant
from storage.sync.api_usage import CallReason, Calls, spent
from workers.api.pause import fail, pause, pause_reason, paused_for, recovered
from workers.api.rate_limit import CallDeferredError, RateLimiter, Usage
from workers.broker import create_redis

#: Ten in a window of ten seconds.
PACE = 60


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with create_redis(redis_url) as made:
        yield made


def tenant(name: str = "t") -> Tenant:
    return Tenant(name=name, base_url=HttpUrl("http://127.0.0.1"), token=SecretStr("x"), calls_per_minute=PACE)


def passed(client: redis.Redis, reason: CallReason, tries: int, name: str = "t", usage: Usage | None = None) -> int:
    """How many of so many calls go out at once."""
    rate_limiter = RateLimiter(client, usage or Usage(), tenant(name), reason, max_wait_seconds=0)
    out = 0
    for _ in range(tries):
        try:
            rate_limiter()
        except CallDeferredError:
            continue
        out += 1
    return out


def test_all_processes_together_keep_the_pace(client: redis.Redis) -> None:
    assert passed(client, "manual", 6) + passed(client, "subscription_monitor", 20) == 10
    assert passed(client, "manual", 5) == 0
    assert passed(client, "refresh", 5, name="other") == 5


def test_processes_whose_wall_clocks_differ_keep_the_pace_together(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert passed(client, "manual", 6) == 6
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    assert passed(client, "manual", 20) == 4


def test_neither_the_background_nor_the_reads_take_all_of_it(client: redis.Redis) -> None:
    assert passed(client, "refresh", 20) == 7
    assert passed(client, "backfill", 20) == 3
    client.flushdb()
    assert passed(client, "backfill", 20) == 5
    assert passed(client, "reconcile", 20) == 0
    assert passed(client, "refresh", 20) == 5


def test_a_pause_holds_every_call_back_and_says_why(client: redis.Redis) -> None:
    pause(client, "t", 30, "GET /x answered 429")
    rate_limiter = RateLimiter(client, Usage(), tenant(), "refresh")
    with pytest.raises(CallDeferredError, match="429") as held:
        rate_limiter()
    assert 25 < held.value.seconds <= 30


def test_a_call_waits_for_its_turn_where_that_is_soon(client: redis.Redis) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        client.flushdb()  # the window is over

    passed(client, "manual", 10)
    RateLimiter(client, Usage(), tenant(), "manual", sleep=sleep)()
    assert len(slept) == 1


def test_without_redis_calls_go_out_at_this_processs_own_pace() -> None:
    slept: list[float] = []
    with create_redis("redis://127.0.0.1:1") as nowhere:
        RateLimiter(nowhere, Usage(), tenant(), "refresh", sleep=slept.append)()
    assert slept == [1.0]


def test_a_tenant_that_keeps_failing_is_asked_ever_more_rarely(client: redis.Redis) -> None:
    assert [fail(client, "t", 10, 60, "down") for _ in range(5)] == [10, 20, 40, 60, 60]
    assert paused_for(client, "t") > 50
    recovered(client, "t")
    assert fail(client, "t", 10, 60, "down") == 10


def test_a_tenant_that_fails_now_and_then_is_left_alone_for_a_moment_each_time(client: redis.Redis) -> None:
    # Given an API that answers one call in five with a failure, at random
    chance = Random(1)
    recovered(client, "t")
    pauses = []
    for _ in range(500):
        if chance.random() < 0.2:
            pauses.append(fail(client, "t", 10, 300, "down"))
        else:
            recovered(client, "t")
    # Then its pauses do not grow: only a rare cluster of failures looks like one that is down
    assert sorted(pauses)[int(len(pauses) * 0.9)] == 1
    assert max(pauses) <= 20


def test_a_tenant_that_goes_down_is_asked_ever_more_rarely_however_well_it_answered_before(client: redis.Redis) -> None:
    for _ in range(100):
        recovered(client, "t")
    pauses = [fail(client, "t", 10, 300, "down") for _ in range(12)]
    assert pauses == [1, 1, 1, 1, 1, 10, 20, 40, 80, 160, 300, 300]
    # And one answer ends that
    recovered(client, "t")
    assert fail(client, "t", 10, 300, "down") == 10


def test_what_fails_for_one_path_alone_holds_up_the_others_for_a_moment(client: redis.Redis) -> None:
    # Given one path that fails each time that it is asked for
    assert [fail(client, "t", 10, 300, "500", only_path="/evses/1") for _ in range(3)] == [1, 1, 1]
    # When another one fails, too, then it is the tenant's trouble
    assert fail(client, "t", 10, 300, "500", only_path="/evses/2") == 10


def test_a_pause_that_a_tenant_asked_for_is_kept_whatever_else_fails_or_succeeds(client: redis.Redis) -> None:
    # Given a tenant that asks to be left alone for longer than any pause of our own
    pause(client, "t", 3_000, "GET /x answered 429")
    # When calls that were under way fail, succeed, or are asked to wait less
    fail(client, "t", 10, 300, "down")
    pause(client, "t", 2, "GET /y answered 429")
    recovered(client, "t")
    # Then it holds
    assert 2_990 < paused_for(client, "t") <= 3_000
    assert pause_reason(client, "t") == "GET /x answered 429"
    # And a longer one takes its place
    pause(client, "t", 3_600, "GET /z answered 429")
    assert 3_590 < paused_for(client, "t") <= 3_600


def test_calls_are_counted_by_tenant_and_reason(client: redis.Redis, engine: Engine) -> None:
    usage = Usage()
    passed(client, "refresh", 3, usage=usage)
    passed(client, "backfill", 2, usage=usage)
    usage.saved("t", "refresh", 7)
    for _ in range(2):  # the second time there is nothing to add
        usage.write(engine)
    with engine.connect() as connection:
        counted = spent(connection, ["t"], timedelta(hours=2))
    assert counted == {"t": {"backfill": Calls(2, 0), "refresh": Calls(3, 7)}}
