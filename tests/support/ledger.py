"""Compare a sender's ledger with the database."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, text

from tests.support.facts import sample
from tests.support.sender import HARDWARE_STATUSES, NETWORK_STATUSES, Sender, moment_of
from tests.support.service import eventually

#: Longer than the lease of a killed worker's batches, the next sweep and the applying together.
SETTLE_SECONDS = 150.0

READINGS = len(sample("SessionMeterValuesNotification")["meterValues"])


@dataclass
class Comparison:
    """The differences between the ledger and the database; empty if there are none.

    Attributes:
        lost: acknowledged, but missing from the log, changed, not applied, or without its effect.
        duplicated: logged more often than sent, or with more effects than notifications.
    """

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)


def pending(engine: Engine) -> int:
    """Return the number of notifications in open batches."""
    with engine.connect() as connection:
        statement = text("SELECT coalesce(sum(notifications), 0) FROM ingest.batch WHERE applied_at IS NULL")
        return int(connection.execute(statement).scalar_one())


def compare(engine: Engine, sender: Sender) -> Comparison:
    """Wait until all batches are closed, then compare the log, the state and the history with the ledger."""
    eventually(lambda: pending(engine) == 0, seconds=SETTLE_SECONDS)
    comparison = Comparison()
    _compare_log(engine, sender, comparison)
    _compare_state(engine, sender, comparison)
    _compare_history(engine, sender, comparison)
    return comparison


def _compare_log(engine: Engine, sender: Sender, comparison: Comparison) -> None:
    rows = _query(
        engine,
        """
        SELECT notification_id, state, reason, encode(coalesce(body_sha256, sha256(body)), 'hex') AS digest
          FROM ingest.notification_state
          JOIN ingest.notification USING (tenant, received_at, notification_id)
        """,
    )
    logged = {str(row["notification_id"]): row for row in rows}
    digests = Counter(row["digest"] for row in rows)
    for notification_id, digest in sender.ledger.items():
        row = logged.get(notification_id)
        if row is None:
            comparison.lost.append(f"{notification_id} is not in the log")
        elif row["digest"] != digest:
            comparison.lost.append(f"{notification_id} is not as sent")
        elif row["state"] != "applied":  # the sender sends nothing that may be ignored or may fail
            comparison.lost.append(f"{notification_id} is {row['state']}: {row['reason']}")
    if len(logged) != len(rows):
        comparison.duplicated.append(f"{len(rows) - len(logged)} ids are in the log twice")
    for digest, times in digests.items():
        if times > sender.tries[digest]:
            comparison.duplicated.append(f"a body was sent {sender.tries[digest]} times and logged {times} times")


def _compare_state(engine: Engine, sender: Sender, comparison: Comparison) -> None:
    """Check that each column group has its newest fact."""
    for lane, numbers in sender.sent.items():
        newest = {kind: max((number for number in numbers if number % 4 == kind), default=None) for kind in range(4)}
        hardware, update, network, _ = newest.values()
        expected: list[tuple[str, str, Any]] = []
        if hardware is not None:
            status = HARDWARE_STATUSES[hardware // 4 % 4]
            expected.append(("evse", "hardware_status, hardware_at", (status, moment_of(hardware))))
        if update is not None:
            expected.append(("session", "energy_wh, state_at", (10 * update, moment_of(update))))
        if network is not None:
            status = NETWORK_STATUSES[network // 4 % 2].replace(" ", "_")
            expected.append(("charge_point", "network_status, network_at", (status, moment_of(network))))
        for table, columns, values in expected:
            rows = _query(engine, f"SELECT {columns} FROM charging.{table} WHERE {table}_id = {lane}")
            shown = [tuple(row.values()) for row in rows]
            if shown != [values]:
                comparison.lost.append(f"{table} {lane} shows {shown}, not {values}")


def _compare_history(engine: Engine, sender: Sender, comparison: Comparison) -> None:
    """Check that each observation that was sent is stored once."""
    for lane, numbers in sender.sent.items():
        sent = Counter(number % 4 for number in numbers)
        for table, of, expected in (
            ("evse_status_observation", "evse_id", sent[0]),
            ("charge_point_network_observation", "charge_point_id", sent[2]),
            ("meter_value", "session_id", sent[3] * READINGS),
        ):
            (row,) = _query(engine, f"SELECT count(*) AS kept FROM charging.{table} WHERE {of} = {lane}")
            if row["kept"] != expected:
                wrong = comparison.duplicated if row["kept"] > expected else comparison.lost
                wrong.append(f"{table} of {lane} has {row['kept']} rows, but {expected} were sent")


def _query(engine: Engine, statement: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(text(statement))]
