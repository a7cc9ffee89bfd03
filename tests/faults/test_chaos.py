"""``ampeco-receiver chaos``: it finds nothing where nothing was lost, and finds what was."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.processes import Process, end
from tests.support.service import eventually, free_port
from tests.support.trial import Ground
from workers.broker import QUEUES

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


@pytest.fixture
def chaotic(ground: Ground, tmp_path: Path) -> Ground:
    """The service with a tenant whose place the simulator takes, and with workers for every queue."""
    tenants = Path(ground.service.environment["TENANTS_FILE"])
    entry = f'[tenants.chaos]\nbase_url = "http://127.0.0.1:{free_port()}"\ntoken = "opens-nothing"\n'
    tenants.write_text(tenants.read_text() + entry)
    for process in (ground.receiver, ground.worker):
        end(process)
    ground.service.serve()
    for queue in QUEUES:
        ground.service.work(queue)
    return ground


def start(ground: Ground, minutes: float) -> Process:
    return ground.service.start(
        *("-m", "receiver", "chaos", "--against", ground.service.url, "--minutes", str(minutes)),
        *("--settle-minutes", "3", "--evses", "40", "--charge-points", "20"),
        COLUMNS="200",  # no line of the table is folded
    )


def test_a_deployment_whose_processes_are_killed_passes(chaotic: Ground) -> None:
    chaos = start(chaotic, 0.4)
    statement = text("SELECT count(*) > 300 FROM ingest.notification WHERE tenant = 'chaos'")

    def is_under_way() -> bool:
        with chaotic.engine.connect() as connection:
            return bool(connection.execute(statement).scalar_one())

    eventually(is_under_way, seconds=60)
    _, _, receiver, worker, *_ = chaotic.service.started
    end(worker)
    chaotic.service.work()
    end(receiver)
    chaotic.service.serve()
    assert chaos.wait(300) == 0, chaotic.service.log.read_text()[-5_000:]
    # And a further run continues from what the first one left
    assert start(chaotic, 0.1).wait(300) == 0, chaotic.service.log.read_text()[-5_000:]


def test_a_deployment_that_loses_and_changes_what_it_acknowledged_fails(chaotic: Ground) -> None:
    # Given a database that forgets some rows, and some statuses
    with chaotic.engine.begin() as connection:
        connection.execute(
            text("""
                CREATE FUNCTION forgetful() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF TG_TABLE_NAME = 'evse' THEN NEW.hardware_status := 'lost'; RETURN NEW; END IF;
                    IF random() < 0.1 THEN RETURN NULL; END IF;
                    IF random() < 0.1 THEN NEW.body := '{}'; END IF;
                    RETURN NEW;
                END $$;
                CREATE TRIGGER forgetful BEFORE INSERT ON ingest.notification FOR EACH ROW EXECUTE FUNCTION forgetful();
                CREATE TRIGGER forgetful BEFORE INSERT OR UPDATE ON charging.evse
                       FOR EACH ROW EXECUTE FUNCTION forgetful();
            """)
        )
    # When chaos runs, then it fails and names the broken promises
    assert start(chaotic, 0.1).wait(300) == 1
    output = chaotic.service.log.read_text()
    assert "the tenant shows" in output
    verdict = {
        line.split("│")[1].strip(): line.split("│")[3].strip() for line in output.splitlines() if line.count("│") > 3
    }
    for promise in ("Every 2xx is in the log", "… exactly as it was sent", "EVSEs have the tenant's statuses"):
        assert verdict[promise] != "0", promise
    assert verdict["Every 2xx has an id"] == "0"
