"""Tables, columns and values get the names that the glossary gives them."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"

#: Tables of the schema ``ingest``, as they were and as they are.
TABLES = {
    "walk": "sync_run",
    "walk_page": "sync_run_page",
    "refusal": "forbidden_kind",
    "drift": "unknown_field",
    "arrival": "traffic",
    "rhythm": "traffic_baseline",
    "silence": "traffic_gap",
    "forgetting": "erasure",
    "forgetting_key": "suppression_key",
    "forgotten": "suppression",
}

#: Columns, by the new name of their table.
COLUMNS = {
    "ingest.batch": {"trying": "probing_notification_id"},
    "ingest.total": {"settled": "closed"},
    "ingest.refresh_request": {"entity": "kind", "marked_by": "requested_by", "marked_at": "requested_at"},
    "ingest.sync_cursor": {"whole_at": "full_at"},
    "ingest.sync_run": {"walk_id": "sync_run_id"},
    "ingest.sync_run_page": {"walk_id": "sync_run_id"},
    "ingest.subscription": {"claimed_at": "managed_since_at"},
    "ingest.traffic_baseline": {"telling": "min_expected", "came": "received"},
    "ingest.traffic_gap": {"came": "received"},
    "ingest.erasure": {"forgetting_id": "erasure_id", "asked_by": "requested_by"},
    "ingest.suppression": {"forgetting_id": "erasure_id"},
    "charging.session_revision": {"told_at": "fact_at", "told_version": "fact_version"},
}

#: The column groups of each mirrored table, which all have a column that says whether their facts conflict.
GROUPS = {
    "location": ("master", "presence"),
    "charge_point": ("master", "network", "network_log", "hardware", "hardware_log", "boot", "presence"),
    "evse": ("master", "hardware", "hardware_log", "presence"),
    "connector": ("master", "presence"),
    "authorization": ("master", "presence"),
    "session": ("state", "detail", "meter", "presence"),
    "charging_period": ("master", "presence"),
    "transaction": ("master", "presence"),
    "reservation": ("master", "presence"),
    "cdr": ("master", "presence"),
    "tariff": ("master", "presence"),
    "resource": ("master", "presence"),
}

#: Indexes that are named after what they find; those of primary keys follow their tables.
INDEXES = {
    "walk_open_idx": "sync_run_open_idx",
    "walk_request_idx": "sync_run_request_idx",
    "silence_open_idx": "traffic_gap_open_idx",
    "forgetting_open_idx": "erasure_open_idx",
}

#: Values, by table and column.
VALUES = {
    ("ingest.refresh_request", "reason"): {"contested": "conflicting"},
    ("ingest.api_usage", "reason"): {"guardian": "subscription_monitor", "person": "manual"},
    ("ingest.resend", "reason"): {"person": "manual"},
}

#: What was changed later is undone, newest first, so that the oldest former value stands.
SESSION_AS_KNOWN_AT = """
CREATE OR REPLACE FUNCTION charging.session_as_known_at(text, timestamptz) RETURNS SETOF charging.session
LANGUAGE sql STABLE AS $$
SELECT known.*
  FROM charging.session
  LEFT JOIN LATERAL (
       SELECT jsonb_object_agg(former.key, former.value ORDER BY {at} DESC, {version} DESC) AS columns
         FROM charging.session_revision
        CROSS JOIN LATERAL jsonb_each(changed_from) AS former
        WHERE session_revision.tenant = session.tenant
          AND session_revision.session_id = session.session_id
          AND session_revision.learned_at > $2) AS undone ON true
 CROSS JOIN LATERAL jsonb_populate_record(session, coalesce(undone.columns, '{{}}')) AS known
 WHERE session.tenant = $1
   AND session.first_seen_at <= $2
$$
"""


#: Comments, as they were and as they are.
COMMENTS = {
    "COLUMN ingest.notification.body": (
        "The request body, byte for byte; where body_sha256 is set, with values blanked",
        "The request body, byte for byte; where body_sha256 is set, with values redacted",
    ),
    "COLUMN ingest.refresh_request.reason": (
        "Why a read is wanted: changed, contested, gone, provisional or unknown",
        "Why a read is wanted: changed, conflicting, gone, provisional or unknown",
    ),
    "COLUMN ingest.sync_cursor.kind": (
        "Kind of entity whose listing is walked",
        "Kind of entity whose listing is synced",
    ),
    "COLUMN ingest.sync_cursor.full_at": (
        "When the last walk through the whole listing ended",
        "When the last sync run through the whole listing ended",
    ),
    "COLUMN ingest.sync_cursor.checked_at": ("When the last walk ended", "When the last sync run ended"),
    "TABLE ingest.sync_run": (
        "Each walk through a listing, to compare the tenant with what we know and to heal the differences",
        "Each sync run through a listing, to compare the tenant with what we know and to heal the differences",
    ),
    "COLUMN ingest.sync_run.kind": ("Kind of entity whose listing is walked", "Kind of entity whose listing is synced"),
    "COLUMN ingest.sync_run.started_at": ("When the walk was begun", "When the sync run was begun"),
    "TABLE ingest.sync_run_page": (
        "What the pages of an unfinished walk through a whole listing showed; all else is read at its end",
        "What the pages of an unfinished sync run through a whole listing showed; all else is read at its end",
    ),
    "COLUMN ingest.sync_run_page.sync_run_id": ("The walk", "The sync run"),
    "COLUMN ingest.api_usage.reason": (
        "refresh, reconcile, backfill, status_log, guardian or person",
        "refresh, reconcile, backfill, status_log, subscription_monitor or manual",
    ),
    "TABLE ingest.subscription": (
        "Subscriptions that are ours, as `subscribe` made them, and how the guardian last found them",
        "Subscriptions that are ours, as `subscribe` made them, and how the monitor last found them",
    ),
    "COLUMN ingest.resend.reason": (
        "outage, or person where somebody typed the command",
        "outage, or manual where a person typed the command",
    ),
}


def upgrade() -> None:
    for was, now in TABLES.items():
        op.execute(f"ALTER TABLE ingest.{was} RENAME TO {now}")
        op.execute(f"ALTER INDEX ingest.{was}_pkey RENAME TO {now}_pkey")
    for was, now in INDEXES.items():
        op.execute(f"ALTER INDEX ingest.{was} RENAME TO {now}")
    for table, columns in COLUMNS.items():
        for was, now in columns.items():
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {was} TO {now}")
    for table, groups in GROUPS.items():
        for group in groups:
            op.execute(f'ALTER TABLE charging."{table}" RENAME COLUMN {group}_contested TO {group}_conflicting')
    _rename_values(VALUES)
    op.execute(SESSION_AS_KNOWN_AT.format(at="fact_at", version="fact_version"))
    for place, (_, now) in COMMENTS.items():
        op.execute(f"COMMENT ON {place} IS '{now}'")


def downgrade() -> None:
    for place, (was, _) in COMMENTS.items():
        op.execute(f"COMMENT ON {place} IS '{was}'")
    _rename_values({place: {now: was for was, now in values.items()} for place, values in VALUES.items()})
    for table, groups in GROUPS.items():
        for group in groups:
            op.execute(f'ALTER TABLE charging."{table}" RENAME COLUMN {group}_conflicting TO {group}_contested')
    for table, columns in COLUMNS.items():
        for was, now in columns.items():
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {now} TO {was}")
    for was, now in INDEXES.items():
        op.execute(f"ALTER INDEX ingest.{now} RENAME TO {was}")
    for was, now in TABLES.items():
        op.execute(f"ALTER INDEX ingest.{now}_pkey RENAME TO {was}_pkey")
        op.execute(f"ALTER TABLE ingest.{now} RENAME TO {was}")
    op.execute(SESSION_AS_KNOWN_AT.format(at="told_at", version="told_version"))


def _rename_values(values: dict[tuple[str, str], dict[str, str]]) -> None:
    for (table, column), names in values.items():
        for was, now in names.items():
            op.execute(f"UPDATE {table} SET {column} = '{now}' WHERE {column} = '{was}'")  # noqa: S608 - as above
