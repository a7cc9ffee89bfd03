"""The estimate of how many notifications a time holds, from counted hours and from batches that are not counted yet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from storage.monitoring.traffic import count, estimate
from tests.support.log import accept, execute


def test_counted_hours_count_by_their_share_and_the_rest_by_its_batches(engine: Engine) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for ago, notifications in ((3, 600), (2, 60), (30, 5)):
        execute(
            engine,
            "INSERT INTO ingest.traffic (tenant, hour_at, notifications) VALUES ('t', :at, :n)",
            at=hour - timedelta(hours=ago),
            n=notifications,
        )
    accept(engine, {"notification": "a"}, {"notification": "b"})
    accept(engine, {"notification": "a"}, tenant="other")
    with engine.begin() as connection:
        until = datetime.now(UTC) + timedelta(minutes=1)
        # Half of the hour with 600; the last counted hour has no batches any more, so that it counts as empty
        assert estimate(connection, "t", hour - timedelta(hours=2, minutes=30), until) == 302
        assert estimate(connection, "t", hour - timedelta(hours=2, minutes=30), hour - timedelta(hours=2)) == 300
        assert estimate(connection, "t", hour - timedelta(days=3), hour - timedelta(days=2)) == 0
        count(connection, "t", hour - timedelta(days=1))
        assert estimate(connection, "t", hour - timedelta(minutes=5), until) == 2
        assert estimate(connection, "unknown", hour, until) == 0
