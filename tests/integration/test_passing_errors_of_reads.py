"""A read that the surroundings fail is made again soon, and counts for nothing; what Postgres refuses is its own."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from tests.support.ampeco import shown
from tests.support.deployment import Deployment
from tests.support.facts import sample

NUMBERS = (901, 902, 903, 904)


def execute(deployment: Deployment, statement: str) -> None:
    with deployment.service.engine.begin() as connection:
        connection.exec_driver_sql(statement)


def wanted(deployment: Deployment) -> list[dict[str, Any]]:
    return deployment.service.query(
        "SELECT entity_id, attempts, lease_expires_at, last_error, due_at < now() + interval '10 seconds' AS is_soon"
        "  FROM ingest.refresh_request WHERE kind = 'evse' ORDER BY entity_id"
    )


@pytest.fixture
def changed(deployment: Deployment) -> Deployment:
    """A fleet of known EVSEs that have changed."""
    for number in NUMBERS:
        deployment.ampeco.resources[f"evses/v2.1/{number}"] = shown("evse_read") | {"id": number}
        deployment.deliver(sample("evse.changed") | {"evseId": number})
    return deployment


@pytest.mark.parametrize("number", [1, 4], ids=["one read", "a listing"])
def test_a_database_that_fails_costs_no_attempt_and_no_lease(deployment: Deployment, number: int) -> None:
    for one in NUMBERS[:number]:
        deployment.ampeco.resources[f"evses/v2.1/{one}"] = shown("evse_read") | {"id": one}
        deployment.deliver(sample("evse.changed") | {"evseId": one})
    execute(deployment, "ALTER TABLE charging.connector RENAME TO elsewhere")
    for _ in range(3):
        with pytest.raises(DBAPIError):
            deployment.refresh()
    # Then each is due again soon, and no attempt is counted
    requests = wanted(deployment)
    assert len(requests) == number
    for row in requests:
        assert (row["attempts"], row["lease_expires_at"], row["last_error"], row["is_soon"]) == (0, None, None, True)
    # When it is right again, then all are read
    execute(deployment, "ALTER TABLE charging.elsewhere RENAME TO connector")
    deployment.refresh()
    assert wanted(deployment) == []


def test_what_postgres_refuses_of_one_read_holds_up_no_other(changed: Deployment) -> None:
    # Given a value of one of several EVSEs that Postgres refuses
    execute(
        changed,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE numeric_value_out_of_range USING MESSAGE = 'out of range'; END $$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON charging.evse FOR EACH ROW WHEN (NEW.evse_id = 903)"
        " EXECUTE FUNCTION refuse()",
    )
    changed.refresh()
    (left,) = wanted(changed)
    assert (left["entity_id"], left["attempts"]) == (903, 1)
    assert left["last_error"] == "NumericValueOutOfRange: out of range"
    assert changed.service.count("charging.evse") == 3
