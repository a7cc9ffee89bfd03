"""Meter values are partitioned by month: a sample of any date is stored once, and only whole old months are dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

import migrations
from bench.growth import load_charging
from migrations import roles
from runtime.settings import MIN_METER_VALUES_KEPT, Settings, SettingsError, load_settings
from storage.database import create_database_engine
from storage.database_url import conninfo
from storage.ids import first_made_at
from storage.reports.meter import sources
from storage.state.meter_partitions import MONTHS_AHEAD, make_meter_partitions
from tests.support.analytics import START, at, changes_of_deriving_everything, content, derive, session_facts, write
from tests.support.databases import database_user
from tests.support.service import eventually
from workers.jobs import drop_meter_values

#: The months of meter values that are older than this in every test that drops some.
KEEP = timedelta(days=100)

DERIVED = ("session", "energy_interval", "finding")

_PARTITIONS = text("""
SELECT relname
  FROM pg_inherits
  JOIN pg_class ON pg_class.oid = pg_inherits.inhrelid
 WHERE inhparent = 'charging.meter_value'::regclass
 ORDER BY relname
""")

_STORED = text("SELECT tableoid::regclass::text, measured_at FROM charging.meter_value ORDER BY measured_at")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=3)
    yield made
    made.dispose()


def month_of(moment: datetime, months: int = 0) -> datetime:
    """Return the beginning of the month that is so many months after that of a moment."""
    years, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    return datetime(years, month + 1, 1, tzinfo=UTC)


def this_month(months: int = 0) -> datetime:
    return month_of(datetime.now(UTC), months)


def name_of(month: datetime, *, before: bool = False) -> str:
    return f"meter_value_{'before_' if before else ''}{month:%Y%m}"


def partitions(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(_PARTITIONS).scalars())


def sample(measured_at: datetime, session_id: int = 1, **values: Any) -> dict[str, Any]:
    common = {"session_id": session_id, "measured_at": measured_at, "measurand": "Energy Consumed", "ordinal": 0}
    return common | {"value": Decimal(5), "unit": "Wh"} | values


def write_samples(engine: Engine, *moments: datetime) -> None:
    write(engine, observations={"meter_value": [sample(moment) for moment in moments]})


def stored(engine: Engine) -> list[tuple[str, datetime]]:
    """The partition and the time of each sample."""
    with engine.connect() as connection:
        return [(name.removeprefix("charging."), moment) for name, moment in connection.execute(_STORED)]


def lay_out_months(engine: Engine, first: datetime) -> None:
    """Make partitions as if the database had been migrated in the month that begins at ``first``."""
    statements = [f"DROP TABLE charging.{name_of(this_month(), before=True)}"]
    bounds = [first]
    while bounds[-1] < this_month():
        bounds.append(month_of(bounds[-1], 1))
    for began, ended in [(None, first), *pairwise(bounds)]:
        name = name_of(ended, before=True) if began is None else name_of(began)
        statements.append(
            f"CREATE TABLE charging.{name} PARTITION OF charging.meter_value"
            f" FOR VALUES FROM ({'MINVALUE' if began is None else repr(str(began))}) TO ('{ended}')"
        )
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_partitions_are_made_for_the_months_ahead_and_again_changes_nothing(engine: Engine) -> None:
    made = [name_of(this_month(months)) for months in range(MONTHS_AHEAD + 1)]
    expected = sorted([*made, name_of(this_month(), before=True), "meter_value_default"])
    assert partitions(engine) == expected
    make_meter_partitions(engine)
    assert partitions(engine) == expected


def test_samples_of_odd_dates_are_stored_once_and_make_no_partition(engine: Engine) -> None:
    before = partitions(engine)
    odd = [datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), datetime(2099, 12, 31, tzinfo=UTC)]
    odd += [datetime(2100 + year, 1, 1, tzinfo=UTC) for year in range(50)]
    for _ in range(2):
        write_samples(engine, *odd)
        make_meter_partitions(engine)
    assert [moment for _, moment in stored(engine)] == odd
    assert partitions(engine) == before
    assert {name for name, _ in stored(engine)} == {name_of(this_month(), before=True), "meter_value_default"}


def test_a_month_whose_partition_is_missing_is_made_later_with_its_samples(engine: Engine) -> None:
    # Given months without a partition, because no process made it ahead
    months = [this_month(months) for months in range(MONTHS_AHEAD + 1)]
    with engine.begin() as connection:
        for month in months:
            connection.execute(text(f"DROP TABLE charging.{name_of(month)}"))
    moments = [month + timedelta(hours=hours) for month in months for hours in (0, 5)]
    write_samples(engine, *moments)
    assert {name for name, _ in stored(engine)} == {"meter_value_default"}
    # When the partitions are made
    make_meter_partitions(engine)
    # Then each sample is in its own, and a repeated one adds nothing
    expected = [(name_of(month_of(moment)), moment) for moment in moments]
    assert stored(engine) == expected
    write_samples(engine, *moments)
    assert stored(engine) == expected


def test_making_and_dropping_months_does_not_wait_for_a_long_reader(engine: Engine) -> None:
    lay_out_months(engine, month_of(datetime.now(UTC) - KEEP, -1))
    write_samples(engine, START)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE charging.{name_of(this_month(1))}"))
    drop = text("SELECT ended_at FROM ingest.drop_meter_month(now() - :keep)")
    with engine.connect() as reader:
        # Given a reader, as a backup is, and a connection that would wait for it without an end
        reader.execute(text("SELECT count(*) FROM charging.meter_value"))
        for statement in (text("SELECT ingest.make_meter_partitions(3)"), drop):
            with engine.connect() as connection:
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                with pytest.raises(DBAPIError, match="lock timeout"):
                    connection.execute(statement, {"keep": KEEP} if statement is drop else {})
        write_samples(engine, this_month(1))
    # Then the next run does it
    make_meter_partitions(engine)
    drop_meter_values(engine, KEEP)
    assert stored(engine) == [(name_of(this_month(1)), this_month(1))]


def rows(connection: Connection) -> Sequence[str]:
    statement = text("SELECT CAST(known AS text) FROM charging.meter_value AS known ORDER BY 1")
    return connection.execute(statement).scalars().all()


def test_a_database_in_use_is_converted_and_back_without_losing_a_sample(empty_database_url: str) -> None:
    engine = create_database_engine(empty_database_url, application_name="tests", pool_size=3)
    migrations.upgrade(engine, "0030")
    now = datetime.now(UTC).replace(microsecond=0)
    moments = [datetime(1970, 1, 1, tzinfo=UTC), START, now, this_month(1), this_month(2)]
    moments.append(datetime(2099, 1, 1, tzinfo=UTC))
    insert = text(
        "INSERT INTO charging.meter_value (tenant, session_id, measured_at, measurand, ordinal, value, unit)"
        " VALUES ('t', :session_id, :moment, 'Energy Consumed', 0, 5, NULL) ON CONFLICT DO NOTHING"
    )
    with engine.begin() as connection:
        for moment in moments:
            connection.execute(insert, {"session_id": 1, "moment": moment})
    # Given a worker that writes all the time
    written: list[int] = []
    stopped = threading.Event()

    def keep_writing() -> None:
        while not stopped.is_set():
            with engine.begin() as connection:
                connection.execute(insert, {"session_id": 100 + len(written), "moment": now})
            written.append(len(written))

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        eventually(lambda: len(written) > 10)
        # When the database is migrated, and some months are made
        migrations.upgrade(engine)
        make_meter_partitions(engine)
        reached = len(written)
        eventually(lambda: len(written) > reached + 10)
    finally:
        stopped.set()
        writer.join()
    # Then every sample is there, and the first partition has all up to this month
    with engine.connect() as connection:
        after = rows(connection)
    assert len(after) == len(moments) + len(written)
    first = name_of(this_month(1), before=True)
    assert [name for name, moment in stored(engine) if moment in moments and name == first]
    places = {moment: name for name, moment in stored(engine) if moment in moments}
    months = [name_of(this_month(1)), name_of(this_month(2))]
    assert [places[moment] for moment in moments] == [first, first, first, *months, "meter_value_default"]
    # And repeated ones add nothing
    with engine.begin() as connection:
        for moment in moments:
            connection.execute(insert, {"session_id": 1, "moment": moment})
        assert rows(connection) == after
    # When it goes back, also without the first partition, then they are in one table again
    migrations.downgrade(engine, "0030")
    with engine.connect() as connection:
        assert rows(connection) == after
        assert connection.execute(_PARTITIONS).all() == []
    migrations.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE charging.{first}"))
        left = rows(connection)
        assert len(left) == len(moments) - 3
    migrations.downgrade(engine, "0030")
    with engine.begin() as connection:
        assert rows(connection) == left
        connection.execute(insert, {"session_id": 1, "moment": moments[-1]})
        assert rows(connection) == left
    engine.dispose()


def test_only_whole_months_that_are_old_enough_are_dropped(engine: Engine) -> None:
    oldest_kept = month_of(datetime.now(UTC) - KEEP)
    lay_out_months(engine, month_of(oldest_kept, -3))
    moments = [START - timedelta(days=900)]
    moments += [month_of(oldest_kept, months) + timedelta(days=days) for months in (-3, -2, -1) for days in (0, 27)]
    kept = [oldest_kept, oldest_kept + timedelta(days=2), this_month(), datetime(2099, 1, 1, tzinfo=UTC)]
    write_samples(engine, *moments, *kept)
    drop_meter_values(engine, KEEP)
    # Then a month stays as a whole while its end is younger
    assert [moment for _, moment in stored(engine)] == kept
    with engine.connect() as connection:
        dropped = connection.execute(text("SELECT ended_at FROM ingest.dropped_month ORDER BY 1")).scalars().all()
    assert dropped == [month_of(oldest_kept, months) for months in (-3, -2, -1, 0)]
    # And the next run drops nothing more, nor are dropped months made again
    left = partitions(engine)
    drop_meter_values(engine, KEEP)
    make_meter_partitions(engine)
    assert [name for name in partitions(engine) if name < name_of(this_month())] == [
        name for name in left if name < name_of(this_month())
    ]
    assert [moment for _, moment in stored(engine)] == kept


def test_a_replayed_sample_of_a_dropped_month_goes_again_and_a_late_one_stays(engine: Engine) -> None:
    lay_out_months(engine, month_of(datetime.now(UTC) - KEEP, -2))
    drop_meter_values(engine, KEEP)
    replayed = sample(START, notification_id=first_made_at(START))
    late = sample(START, session_id=2, notification_id=first_made_at(datetime.now(UTC)))
    write(engine, observations={"meter_value": [replayed, late]})
    drop_meter_values(engine, KEEP)
    with engine.connect() as connection:
        left = connection.execute(text("SELECT session_id FROM charging.meter_value")).scalars().all()
    assert left == [2]


def test_a_month_stays_while_the_log_has_notifications_of_it(engine: Engine) -> None:
    lay_out_months(engine, month_of(datetime.now(UTC) - KEEP, -1))
    write_samples(engine, START)
    day = START.date()
    with engine.begin() as connection:
        connection.execute(
            text(
                f"CREATE TABLE ingest.notification_{day:%Y%m%d} PARTITION OF ingest.notification"
                f" FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
            )
        )
    drop_meter_values(engine, KEEP)
    assert len(stored(engine)) == 1
    # The failed notifications of a dropped day are no reason to keep a month
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO ingest.dropped_day (day, kept) VALUES (:day, 1)"), {"day": day})
    drop_meter_values(engine, KEEP)
    assert stored(engine) == []


def test_the_database_refuses_to_drop_younger_months_and_the_setting_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DBAPIError, match="last 62 days"):
        drop_meter_values(engine, MIN_METER_VALUES_KEPT - timedelta(days=1))
    drop_meter_values(engine, MIN_METER_VALUES_KEPT + timedelta(seconds=1))
    assert Settings().keep_meter_values is None
    monkeypatch.setenv("RECEIVER_KEEP_METER_VALUES", "P400D")
    assert load_settings().keep_meter_values == timedelta(days=400)
    monkeypatch.setenv("RECEIVER_KEEP_METER_VALUES", "P61D")
    with pytest.raises(SettingsError, match="RECEIVER_KEEP_METER_VALUES"):
        load_settings()


def test_the_users_of_the_service_make_and_drop_months_and_reach_no_partition(engine: Engine) -> None:
    lay_out_months(engine, month_of(datetime.now(UTC) - KEEP, -1))
    write_samples(engine, START)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE charging.{name_of(this_month(2))}"))
    with database_user(engine, "of_the_service", options=f"IN ROLE {roles.SERVICE}") as url:
        own = create_database_engine(url, application_name="tests", pool_size=1)
        make_meter_partitions(own)
        write_samples(own, this_month(2))
        drop_meter_values(own, KEEP)
        assert stored(own) == [(name_of(this_month(2)), this_month(2))]
        for statement in ("DELETE FROM", "DROP TABLE", "SELECT FROM"):
            with own.connect() as connection, pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
                connection.execute(text(f"{statement} charging.{name_of(this_month(2))}"))
        own.dispose()


def write_session(engine: Engine, energy: int = 7000) -> None:
    """Write a session of 45 minutes; its samples are in `charge`."""
    values = {"status": "finished", "evse_id": 902, "charge_point_id": 418, "soc_percent": Decimal(60)}
    values |= {"started_at": at(5), "stopped_at": at(50), "energy_wh": Decimal(energy)}
    write(engine, *session_facts(1, 50 + energy / 1000, **values))


def charge(engine: Engine) -> None:
    """Write a session with samples of energy, power and state of charge, and a register that falls."""
    write_session(engine)
    readings = [
        *(
            ("Energy Consumed", minute, value, "Wh")
            for minute, value in ((10, 1000), (20, 3000), (30, 5000), (46, 6600))
        ),
        *(("Power Active Import", minute, 9000 + minute, "W") for minute in (10, 20, 30)),
        *(("State Of Charge", minute, 20 + minute, "Percent") for minute in (10, 46)),
        *(("Energy Active Import Register", minute, value, "Wh") for minute, value in ((10, 900), (20, 100))),
    ]
    samples = [
        sample(at(minute), measurand=measurand, value=Decimal(value), unit=unit)
        for measurand, minute, value, unit in readings
    ]
    write(engine, observations={"meter_value": samples})


def test_what_was_derived_from_dropped_samples_stays(engine: Engine) -> None:
    charge(engine)
    derive(engine)
    before = content(engine, *DERIVED)
    assert {row["method"] for row in before["energy_interval"]} == {"register"}
    assert [row["rule"] for row in before["finding"] if row["rule"] == "register_falls"] == ["register_falls"]
    (derived,) = before["session"]
    assert (derived["power_peak_w"], derived["soc_begin_percent"], derived["soc_end_percent"]) == (9030, 30, 66)
    # When the samples are dropped and everything is derived again
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE charging.meter_value"))
        connection.execute(text("INSERT INTO ingest.dropped_month (ended_at) VALUES (:at)"), {"at": month_of(START, 1)})
    assert changes_of_deriving_everything(engine) == 0
    assert content(engine, *DERIVED) == before
    # Then another energy is still divided to the last digit, and the rows say that this is an estimate
    write_session(engine, energy=9000)
    derive(engine)
    after = content(engine, "energy_interval")["energy_interval"]
    assert sum(row["energy_wh"] for row in after) == 9000
    assert {row["method"] for row in after} == {"linear"}


def test_samples_that_are_missing_for_another_reason_change_what_was_derived(engine: Engine) -> None:
    charge(engine)
    derive(engine)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE charging.meter_value"))
        connection.execute(text("INSERT INTO ingest.dropped_month (ended_at) VALUES (:at)"), {"at": month_of(START)})
    assert changes_of_deriving_everything(engine) > 0
    assert {row["method"] for row in content(engine, "energy_interval")["energy_interval"]} == {"linear"}


def test_the_samples_of_a_session_are_found_by_the_unique_index_of_each_month(engine: Engine) -> None:
    write_samples(engine, START, this_month(), this_month(1), datetime(2099, 1, 1, tzinfo=UTC))
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO charging.meter_value (tenant, session_id, measured_at, measurand, ordinal, value)"
                " SELECT 't', 10 + number / 100, began_at + number * interval '1 s', 'Voltage', 0, 230"
                "   FROM generate_series(1, 20000) AS number, unnest(CAST(:months AS timestamptz[])) AS month (began_at)"
            ),
            {"months": [START, this_month(), this_month(1), datetime(2099, 1, 1, tzinfo=UTC)]},
        )
        connection.execute(text("ANALYZE charging.meter_value"))
        (source,) = sources(connection, "t", 1)
        assert source.samples == 4
        plan = connection.execute(
            text("EXPLAIN (COSTS OFF) SELECT * FROM charging.meter_value WHERE tenant = 't' AND session_id = 1")
        ).scalars()
        scans = [line.strip() for line in plan if "Scan" in line and "Bitmap Index" not in line]
    with_rows = {name for name, _ in stored(engine)}
    assert not [scan for scan in scans if scan.startswith("->  Seq Scan") and any(name in scan for name in with_rows)]
    assert len(with_rows) == 4


def test_the_benchmark_of_growth_has_the_months_of_its_time(database_url: str, engine: Engine) -> None:
    with psycopg.connect(conninfo(database_url), autocommit=True) as connection:
        load_charging(connection, 2, lambda _: None, sessions=30, samples=4, days=100)
    with engine.connect() as connection:
        counted = text("SELECT tableoid::regclass::text, count(*) FROM charging.meter_value GROUP BY 1")
        found = {name.removeprefix("charging."): count for name, count in connection.execute(counted)}
    assert sum(found.values()) == 2 * 30 * 4
    months = {name_of(this_month(months)) for months in range(-4, 1)}
    assert found.keys() <= months
    assert len(found) > 2
