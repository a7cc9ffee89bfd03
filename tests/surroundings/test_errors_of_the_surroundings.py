"""Whatever the surroundings fail at, notifications wait for it: none is failed, and all are applied soon after."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from tests.support.trial import Ground

#: What breaks, and how it is put right; tables that the load writes to all the time.
TROUBLES = {
    "missing grant": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE insufficient_privilege USING MESSAGE = 'permission denied for table session'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON charging.session EXECUTE FUNCTION refuse()",
        "DROP FUNCTION refuse() CASCADE",
    ),
    "older schema": (
        "ALTER TABLE charging.evse RENAME COLUMN hardware_status TO hardware_state",
        "ALTER TABLE charging.evse RENAME COLUMN hardware_state TO hardware_status",
    ),
}


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_database_that_refuses_to_write_is_waited_for(ground: Ground, trouble: str) -> None:
    broken, repaired = TROUBLES[trouble]
    with ground.load(f"{trouble} for 20 s") as load:
        with ground.postgres.connect() as connection:
            connection.execute(broken)
            time.sleep(20)
            # Then it is waited for: nothing failed, and the log says why, but not for each notification
            assert connection.execute("SELECT count(*) FROM ingest.outcome").fetchone() == (0,)
            connection.execute(repaired)
        load.over()
        postponed = [line for line in ground.service.log.read_text().splitlines() if "batches postponed" in line]
        assert 1 <= len(postponed) <= 5
        assert load.caught_up_seconds is not None
    with ground.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM ingest.outcome")).scalar_one() == 0
