"""The table of EVSE states: stretches of time without gap or overlap, by constraints."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint, text

from analytics.schema.derived import derived, id_column, is_one_of, json_column, text_column
from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import ANALYTICS

#: The states of an EVSE, by the hardware status from which they come.
STATE_OF_STATUS = {
    "available": "available",
    "preparing": "preparing",
    "charging": "charging",
    "suspendedEV": "suspended",
    "suspendedEVSE": "suspended",
    "finishing": "finishing",
    "reserved": "reserved",
    "occupied": "occupied",
    "faulted": "faulted",
    "unavailable": "unavailable",
}

STATES = (*dict.fromkeys(STATE_OF_STATUS.values()), "offline", "unknown")
COVERAGES = ("observed", "assumed", "none")


evse_state_interval = derived(
    "evse_state_interval",
    "A stretch of time in which an EVSE was in one state; an EVSE's stretches have no gap and no overlap",
    [id_column("evse_id", "EVSE", nullable=False), instant("began_at", "When it began", nullable=False)],
    [
        instant("ended_at", "When it ended; infinity for the present one", nullable=False),
        instant("previous_ended_at", "When the one before ended, which is when it began; null for the first one"),
        id_column("charge_point_id", "Charge point of the EVSE, by its latest master data"),
        text_column("state", f"State: {', '.join(STATES)}", nullable=False),
        text_column("hardware_status", "Hardware status of the EVSE; null: none reported"),
        text_column("charge_point_status", "Hardware status of the charge point; null: none reported"),
        text_column("network_status", "Network status of the charge point; null: none reported"),
        text_column(
            "coverage",
            "observed: notifications were received, or status logs cover it; assumed: received, but a word comes from a"
            " read or is missing; none: no receiver was alive, so the state is unknown",
            nullable=False,
        ),
        json_column("evidence", "Observations of the words: time, source, and the notification that reported it"),
    ],
    UniqueConstraint("tenant", "evse_id", "ended_at"),
    UniqueConstraint(
        "tenant",
        "evse_id",
        "previous_ended_at",
        postgresql_nulls_not_distinct=True,
        name="evse_state_interval_previous_key",
        deferrable=True,  # a new first stretch is written before the former one gets a predecessor
        initially="DEFERRED",
    ),
    ForeignKeyConstraint(
        ["tenant", "evse_id", "previous_ended_at"],
        [f"{ANALYTICS}.evse_state_interval.{name}" for name in ("tenant", "evse_id", "ended_at")],
        name="evse_state_interval_follows_fkey",
        deferrable=True,
        initially="DEFERRED",
    ),
    CheckConstraint("began_at < ended_at", name="evse_state_interval_order_check"),
    CheckConstraint("previous_ended_at = began_at", name="evse_state_interval_follows_check"),
    CheckConstraint(is_one_of("state", STATES), name="evse_state_interval_state_check"),
    CheckConstraint(is_one_of("coverage", COVERAGES), name="evse_state_interval_coverage_check"),
    Index("evse_state_interval_open_idx", "tenant", "state", postgresql_where=text("ended_at = 'infinity'")),
    entity="evse_id",
    since="began_at",
)


evse_progress = Table(
    "evse_progress",
    metadata,
    tenant_column(),
    id_column("evse_id", "EVSE", nullable=False),
    id_column("charge_point_id", "Charge point for which its states were derived"),
    instant("covered_from_at", "From then on status logs covered its states when they were derived"),
    instant("covered_until_at", "Up to then status logs covered its states when they were derived"),
    PrimaryKeyConstraint("tenant", "evse_id"),
    schema=ANALYTICS,
    comment="For what each EVSE's states were last derived; no part of the contract",
)
