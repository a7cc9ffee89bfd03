"""Ten times what can be sustained: honest refusals, bounded memory, and nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from bench.load import Fleet, began_at
from bench.signed import TENANT, TOKEN, write_requests
from storage.database import create_database_engine
from storage.reports.verification import kept
from tests.support.clients import resident_bytes
from tests.support.ledger import pending
from tests.support.processes import processes
from tests.support.servers import own_postgres, own_redis
from tests.support.service import eventually
from tests.support.trial import Ground, Line

MIB = 1024 * 1024

SECONDS = float(os.environ.get("OVERLOAD_SECONDS", "60"))

#: The disk of this database takes a second for each commit, so that five hundred
#: notifications a second, the most of one commit, is what can be sustained.
COMMIT_SECONDS = 1
SUSTAINABLE_PER_SECOND = 500
OFFERED_PER_SECOND = 10 * SUSTAINABLE_PER_SECOND

#: More than the waiting room has places, so that it is not the sender that holds back.
CONNECTIONS = 3_000

BODIES = 50_000

SLOW_DISK = f"""
CREATE FUNCTION slow_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep({COMMIT_SECONDS}); RETURN NULL; END $$;
CREATE TRIGGER slow_disk BEFORE INSERT ON ingest.batch FOR EACH STATEMENT EXECUTE FUNCTION slow_disk();
"""


@pytest.fixture
def ground(prepared: Path, fault_table: list[Line], tmp_path: Path) -> Iterator[Ground]:
    tenants = tmp_path / "bench.toml"
    tenants.write_text(f'[tenants.{TENANT}]\nbase_url = "http://127.0.0.1:1"\ntoken = "{TOKEN}"\n')
    with (
        own_postgres(like=prepared) as postgres,
        own_redis() as redis_server,
        processes(postgres.url, redis_server.url, tmp_path, TENANTS_FILE=str(tenants)) as service,
    ):
        service.as_programs = True  # the memory of the receiver is measured
        engine = create_database_engine(postgres.url, application_name="tests", pool_size=2)
        yield Ground(postgres, redis_server, service, engine, service.serve(), service.work(), fault_table)
        engine.dispose()


def flood(ground: Ground, directory: Path, *, rate: float, seconds: float) -> tuple[dict[str, float], list[UUID]]:
    """Send at a rate that nothing slows down; returns the figures, and the ids that were acknowledged."""
    requests, figures, ledger = (directory / name for name in ("requests", "figures.json", "ledger.json"))
    if not requests.exists():
        write_requests(requests, Fleet(began_at()).bodies(BODIES))
    port = ground.service.url.rpartition(":")[2]
    subprocess.run(
        [
            *(sys.executable, "-m", "bench.sender", str(requests), str(figures), "--port", port),
            *("--connections", str(CONNECTIONS), "--seconds", str(seconds), "--rate", str(rate)),
            *("--ledger", str(ledger)),
        ],
        check=True,
        timeout=seconds + 120,
    )
    return json.loads(figures.read_text()), [UUID(one) for one, _ in json.loads(ledger.read_text())]


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 400)
def test_ten_times_the_sustainable_rate_is_answered_honestly_and_costs_nothing(
    ground: Ground, tmp_path: Path, figures: dict[str, str]
) -> None:
    # Given a database that sustains so much and no more
    with ground.engine.begin() as connection:
        connection.execute(text(SLOW_DISK))
    flood(ground, tmp_path, rate=SUSTAINABLE_PER_SECOND / 5, seconds=3)
    before = resident_bytes(ground.receiver.pid)
    # When ten times as much comes
    overload, acknowledged = flood(ground, tmp_path, rate=OFFERED_PER_SECOND, seconds=SECONDS)
    most = resident_bytes(ground.receiver.pid, "VmHWM")
    # And when the disk is itself again
    with ground.engine.begin() as connection:
        connection.execute(text("DROP TRIGGER slow_disk ON ingest.batch"))
    began = time.monotonic()
    eventually(lambda: pending(ground.engine) == 0, seconds=240)
    settled_seconds = time.monotonic() - began
    after, acknowledged_after = flood(ground, tmp_path, rate=200, seconds=5)
    eventually(lambda: pending(ground.engine) == 0, seconds=60)
    figures.update(
        {
            "sustainable, offered per second": f"{SUSTAINABLE_PER_SECOND:,}, {OFFERED_PER_SECOND:,}",
            "answered per second": f"{overload['answers'] / overload['seconds']:,.0f}",
            "accepted per second": f"{len(acknowledged) / overload['seconds']:,.0f}",
            "503 with Retry-After": f"{overload['refused']:,.0f}",
            "broken, or answered otherwise": f"{overload['broken']:,.0f}, {overload['dishonest']:,.0f}",
            "accepted: p50, p99": f"{overload['accepted_p50_ms']:,.0f} ms, {overload['accepted_p99_ms']:,.0f} ms",
            "memory before, most": f"{before / MIB:.0f} MiB, {most / MIB:.0f} MiB",
            "settled after": f"{settled_seconds:.0f} s",
            "accepted afterwards: p99": f"{after['accepted_p99_ms']:,.0f} ms, refused {after['refused']:,.0f}",
        }
    )
    # Then every refused sender was asked to retry later, and what was accepted is stored and applied
    assert overload["dishonest"] == 0
    assert overload["refused"] > 0
    # And refusing did not eat up what accepting needs
    assert len(acknowledged) > SUSTAINABLE_PER_SECOND * SECONDS / 5
    assert after["refused"] == 0
    with ground.engine.connect() as connection:
        for ids in (acknowledged[start : start + 2_000] for start in range(0, len(acknowledged), 2_000)):
            found = kept(connection, TENANT, ids)
            assert found.keys() == set(ids)
            assert {one.state for one in found.values()} == {"applied"}
        assert kept(connection, TENANT, acknowledged_after).keys() == set(acknowledged_after)
    # And the receiver grew by what may wait, and no more
    assert most - before < 256 * MIB
