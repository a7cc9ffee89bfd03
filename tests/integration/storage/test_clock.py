"""The service's time is Postgres's, whatever the wall clock of the machine shows."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from storage import clock as module
from storage.clock import Clock
from storage.database import create_database_engine
from storage.database_url import conninfo

SECOND = 1_000_000_000


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A wall clock that is two days ahead of the right time, and a steady clock that is set by hand."""
    shown = SimpleNamespace(steady_ns=100 * SECOND, wall_ns=time.time_ns() + 2 * 86_400 * SECOND)
    monkeypatch.setattr(module, "_steady_ns", lambda: shown.steady_ns)
    monkeypatch.setattr("storage.clock.time.time_ns", lambda: shown.wall_ns)
    return shown


class Postgres:
    """A server that reads its clock some time after the query was sent and some time before the answer arrives."""

    def __init__(self, shown: SimpleNamespace) -> None:
        self._shown = shown
        self.ns = 1_700_000_000 * SECOND
        self.there_ns = self.back_ns = 0

    def exec_driver_sql(self, _statement: str) -> Postgres:
        self.pass_time(self.there_ns)
        self._answer = self.ns // 1_000
        self.pass_time(self.back_ns)
        return self

    def scalar_one(self) -> int:
        return self._answer

    def pass_time(self, ns: int) -> None:
        self.ns += ns
        self._shown.steady_ns += ns


def measured(clock: Clock, postgres: Any) -> int:
    """How far a clock is ahead once it measured, nanoseconds."""
    clock.measure(postgres)
    return clock.now_ns() - int(postgres.ns)


def test_until_it_is_measured_the_wall_clock_has_to_do(wrong: SimpleNamespace) -> None:
    clock = Clock()
    assert not clock.is_measured
    assert (clock.now_ns(), clock.wall_offset_seconds()) == (wrong.wall_ns, 0)
    assert measured(clock, Postgres(wrong)) == 0
    assert clock.is_measured


def test_the_network_costs_at_most_half_its_time_and_no_jitter(wrong: SimpleNamespace) -> None:
    clock, postgres = Clock(), Postgres(wrong)
    postgres.there_ns, postgres.back_ns = 0, SECOND
    assert abs(measured(clock, postgres)) <= SECOND // 2
    postgres.there_ns, postgres.back_ns = SECOND // 100, SECOND // 100
    assert abs(measured(clock, postgres)) <= SECOND // 50
    for there, back in ((0, SECOND), (SECOND, 0), (SECOND // 10, SECOND // 5)):
        before = clock.now_ns() - postgres.ns
        postgres.there_ns, postgres.back_ns = there, back
        assert measured(clock, postgres) == pytest.approx(before, abs=SECOND // 50)


def test_it_follows_a_server_whose_clock_is_another_or_is_set(wrong: SimpleNamespace) -> None:
    clock, postgres = Clock(), Postgres(wrong)
    postgres.there_ns = postgres.back_ns = SECOND // 100
    measured(clock, postgres)
    for jump in (9 * 86_400 * SECOND, -9 * 86_400 * SECOND, 3 * SECOND, -3 * SECOND):
        postgres.ns += jump
        assert abs(measured(clock, postgres)) <= SECOND // 50
        postgres.pass_time(3_600 * SECOND)
        assert abs(clock.now_ns() - postgres.ns) <= SECOND // 50


def test_it_does_not_follow_the_wall_clock(wrong: SimpleNamespace) -> None:
    clock, postgres = Clock(), Postgres(wrong)
    measured(clock, postgres)
    wrong.wall_ns -= 7_200 * SECOND
    postgres.pass_time(SECOND)
    assert clock.now_ns() == postgres.ns
    assert clock.wall_offset_seconds() == pytest.approx((wrong.wall_ns - postgres.ns) / 1e9)


@pytest.mark.parametrize("setting", ["SET LOCAL DateStyle = 'SQL, DMY'", "SET LOCAL timezone = 'Asia/Tokyo'"])
def test_a_real_server_is_understood_whatever_its_settings(connection: Connection, setting: str) -> None:
    connection.execute(text(setting))
    clock = Clock()
    clock.measure(connection)
    connection.execute(text("SET LOCAL DateStyle = 'ISO'"))
    server_time: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    assert abs(clock.now() - server_time) < timedelta(seconds=5)


def test_every_connection_measures_when_it_is_made(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("storage.database.clock", clock)
    engine = create_database_engine(database_url, application_name="tests", pool_size=1)
    with engine.begin() as connection:
        assert clock.is_measured
        assert not connection.connection.dbapi_connection.autocommit  # type: ignore[union-attr]
    engine.dispose()


def test_an_asynchronous_connection_measures_too(database_url: str) -> None:
    clock = Clock()

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(conninfo(database_url), autocommit=True) as connection:
            await clock.measure_async(connection)

    asyncio.run(run())
    assert clock.is_measured
