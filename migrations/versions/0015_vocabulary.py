"""Tables, columns and values get the names that the glossary gives them."""

from __future__ import annotations

from alembic import op

from migrations.sql import read_sql

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

#: Comments that say the same in the words of the glossary; going back leaves them.
COMMENTS = {
    "TABLE ingest.notification": "The log of accepted notifications, as they arrived; append-only, partitioned by UTC day",
    "COLUMN ingest.notification.notification_type": "Search column: notification type in the body",
    "COLUMN ingest.notification.session_id": "Search column: session that the body names",
    "COLUMN ingest.notification.evse_id": "Search column: EVSE that the body names",
    "COLUMN ingest.notification.charge_point_id": "Search column: charge point that the body names",
    "COLUMN ingest.notification.body": "The request body, byte for byte; if body_sha256 is set, without secrets and erased people",
    "COLUMN ingest.notification.body_sha256": "SHA-256 of the body as it arrived, if it was changed since: secrets redacted, people erased",
    "COLUMN ingest.batch.sent_at": "When the sweep last sent a wake-up for it",
    "COLUMN ingest.batch.lease_expires_at": "When its lease ends; no other worker claims it before",
    "COLUMN ingest.batch.applied_at": "When all its notifications were applied or had an outcome; null while the batch is open",
    "COLUMN ingest.batch.attempts": "How often a worker claimed it, counted before the work; failures are not included",
    "COLUMN ingest.batch.failures": "How many attempts in a row failed for a reason outside its notifications",
    "COLUMN ingest.batch.probing_notification_id": "Notification that is being applied alone, recorded before: if it is still set, it ended its worker",
    "COLUMN ingest.outcome.recorded_at": "When the outcome was recorded",
    "TABLE ingest.total": "Running totals of notifications by outcome, including those that were dropped from the log",
    "COLUMN ingest.total.closed": "Notifications of closed batches, whatever their outcomes",
    "TABLE ingest.dropped_day": "Days that were dropped from the log, except their failed notifications",
    "TABLE ingest.refresh_request": "Entities to read from the API: one row each, however often the read is requested",
    "COLUMN ingest.refresh_request.reference": "Reference by which to look it up in a listing, if its id is not known; else empty",
    "COLUMN ingest.refresh_request.reason": "Why a read is requested: changed, conflicting, gone, provisional or unknown",
    "COLUMN ingest.refresh_request.generation": "Grows with each request; a finished read resolves only the generation that it claimed",
    "COLUMN ingest.refresh_request.requested_by": "The notification that last requested the read",
    "COLUMN ingest.refresh_request.requested_at": "When the read was first requested since the last one",
    "COLUMN ingest.refresh_request.due_at": "When to read it at the earliest",
    "COLUMN ingest.refresh_request.lease_expires_at": "When its lease ends; no other worker claims it before",
    "COLUMN ingest.refresh_request.attempts": "Reads begun since it was first requested",
    "COLUMN ingest.refresh_request.last_error": "Why the last read did not resolve it",
    "TABLE ingest.forbidden_kind": "Kinds that the token of a tenant may not read; a successful read removes the row",
    "COLUMN ingest.forbidden_kind.ask_again_at": "When to read the kind again, to find out whether it is still forbidden",
    "COLUMN ingest.sync_cursor.kind": "Kind of entity whose listing is synced",
    "COLUMN ingest.sync_cursor.full_at": "When the last sync run through the complete listing ended",
    "COLUMN ingest.sync_cursor.checked_at": "When the last sync run ended",
    "TABLE ingest.sync_run": "Sync runs: each compares a listing with what is stored, and heals the differences",
    "COLUMN ingest.sync_run.kind": "Kind of entity whose listing is synced",
    "COLUMN ingest.sync_run.started_at": "When the sync run was begun",
    "COLUMN ingest.sync_run.requested_at": "When the backfill that it belongs to was requested; null: it belongs to none",
    "COLUMN ingest.sync_run.lease_expires_at": "When its lease ends; the process that claimed it renews the lease",
    "COLUMN ingest.sync_run.retry_at": "Postponed until then, because of the reason in last_error",
    "COLUMN ingest.sync_run.missing": "Entities that were not stored",
    "COLUMN ingest.sync_run.stale": "Entities that were stored in an older state, with no notification or read of them pending",
    "COLUMN ingest.sync_run.healed": "Missing and stale entities healed",
    "COLUMN ingest.sync_run.absent": "Stored entities that a complete listing did not show; each is read, and a 404 makes its tombstone",
    "COLUMN ingest.sync_run.unreadable": "Listed entities that could not be parsed",
    "COLUMN ingest.sync_run.last_error": "Why it is postponed; null while it is not",
    "TABLE ingest.sync_run_page": "Ids that an unfinished sync run through a complete listing showed; its end requests reads of all others",
    "COLUMN ingest.sync_run_page.sync_run_id": "The sync run",
    "COLUMN ingest.api_usage.reason": "refresh, reconcile, backfill, status_log, subscription_monitor or manual",
    "COLUMN ingest.api_usage.saved": "Requested reads that needed no call of their own",
    "COLUMN charging.evse_status_observation.source": "Its source: notification, status_log or read",
    "COLUMN charging.evse_status_observation.notification_id": "The first notification that contained it, if one did",
    "COLUMN charging.charge_point_hardware_observation.source": "Its source: notification, status_log or read",
    "COLUMN charging.charge_point_hardware_observation.notification_id": "The first notification that contained it, if one did",
    "COLUMN charging.charge_point_network_observation.source": "Its source: notification, status_log or read",
    "COLUMN charging.charge_point_network_observation.notification_id": "The first notification that contained it, if one did",
    "TABLE charging.meter_value": "Each meter sample of a session; append-only. Its whole content identifies a sample",
    "COLUMN charging.meter_value.location": "Where it was measured, if the sample contains it",
    "COLUMN charging.meter_value.notification_id": "The first notification that contained it",
    "TABLE charging.notice": "Notices: facts of notifications that no read shows again; append-only",
    "COLUMN charging.notice.observed_at": "Time of the fact, by the clock of its source; null if the notification has no time",
    "COLUMN charging.notice.digest": "Digest of details, which identifies the notice",
    "COLUMN charging.notice.user_id": "User, where one is named; 0 for an erased one",
    "COLUMN charging.notice.notification_id": "The first notification that contained it",
    "TABLE charging.session_revision": "Revisions: each change of a session that was stored as stopped; append-only",
    "COLUMN charging.session_revision.column_group": "Column group that changed: state, detail, meter or presence",
    "COLUMN charging.session_revision.source": "Source of the new fact: notification, read or rebuild",
    "COLUMN charging.session_revision.notification_id": "The notification that contained the new fact, if one did",
    "COLUMN charging.session_revision.learned_at": "When the change was written",
    "TABLE ingest.subscription": "Managed subscriptions, as `subscribe` made them, and the results of their last checks",
    "COLUMN ingest.subscription.callback_url": "The URL that AMPECO calls for it",
    "COLUMN ingest.subscription.managed_since_at": "When `subscribe` made it",
    "COLUMN ingest.subscription.checked_at": "When it was last checked, whether AMPECO answered or not",
    "COLUMN ingest.subscription.finding": "What is wrong with it and was not repaired",
    "COLUMN ingest.subscription.error": "Why the last check failed",
    "COLUMN ingest.subscription.repairs": "How often it was repaired",
    "COLUMN ingest.subscription.repaired_at": "When it was last repaired",
    "COLUMN ingest.subscription.last_repair": "What was repaired last",
    "TABLE ingest.resend": "Requests that AMPECO send failed notifications again: at most one waits for each subscription",
    "COLUMN ingest.resend.callback_url": "Callback URL of the subscription",
    "COLUMN ingest.resend.reason": "outage, or manual if a person ran the command",
    "COLUMN ingest.resend.since_at": "Only notifications that failed at this time of our clock or later; null: all",
    "COLUMN ingest.resend.state": "waiting, asked (AMPECO accepted it) or failed (AMPECO will never accept it)",
    "COLUMN ingest.resend.wanted_at": "When the resend was first requested",
    "COLUMN ingest.resend.due_at": "When to ask AMPECO at the earliest",
    "COLUMN ingest.resend.tried_at": "When AMPECO was last asked, recorded before the call",
    "COLUMN ingest.resend.error": "What AMPECO answered last, if it did not accept the request",
    "TABLE ingest.uptime": "Periods in which a receiver was alive and could write; between two of them none was",
    "COLUMN ingest.uptime.began_at": "Time of the first heartbeat",
    "COLUMN ingest.uptime.last_beat_at": "Time of the last heartbeat",
    "TABLE ingest.process": "Processes of the service: each registers when it starts, and updates its heartbeat every few seconds",
    "COLUMN ingest.process.stopped_at": "When it stopped in order; null while it runs, or if it was killed",
    "COLUMN ingest.process.problem": "What prevents it from working, as of its last heartbeat",
    "TABLE ingest.traffic": "Received notifications by hour; an hour without any has no row",
    "COLUMN ingest.traffic.notifications": "Notifications received in the hour",
    "TABLE ingest.traffic_baseline": "How the traffic of each tenant was last judged by its baseline",
    "COLUMN ingest.traffic_baseline.looked_at": "When traffic was last counted and compared with the baseline",
    "COLUMN ingest.traffic_baseline.last_received_at": "When its last notification was received, as of looked_at",
    "COLUMN ingest.traffic_baseline.learned_hours": "Hours of history in the baseline",
    "COLUMN ingest.traffic_baseline.min_expected": "A period is judged only if at least so many notifications are expected in it; null: none is",
    "COLUMN ingest.traffic_baseline.judged_hours": "Length of the period that was judged, hours; null: none was",
    "COLUMN ingest.traffic_baseline.expected": "Notifications expected in the period",
    "COLUMN ingest.traffic_baseline.received": "Notifications received in the period",
    "TABLE ingest.traffic_gap": "Traffic gaps: times in which a tenant sent far fewer notifications than its baseline expects",
    "COLUMN ingest.traffic_gap.began_at": "Since when too few notifications were received",
    "COLUMN ingest.traffic_gap.noticed_at": "When the gap was noticed",
    "COLUMN ingest.traffic_gap.ended_at": "When enough notifications were received again; null while the gap lasts",
    "COLUMN ingest.traffic_gap.expected": "Notifications expected between began_at and noticed_at",
    "COLUMN ingest.traffic_gap.received": "Notifications received between began_at and noticed_at",
    "COLUMN ingest.token_use.last_used_at": "When the last notification that it verified was received; null: none since it is known",
    "COLUMN ingest.token_use.looked_until_at": "The log was searched up to this time",
    'TABLE charging."authorization"': "A request for permission to charge, and its result",
    'COLUMN charging."authorization".user_id': "User; 0 for an anonymous or erased user",
    'COLUMN charging."authorization".charge_point_id': "Charge point of the request",
    'COLUMN charging."authorization".evse_id': "EVSE of the request",
    'COLUMN charging."authorization".created_at': "When it was requested",
    "COLUMN charging.transaction.user_id": "User who pays; null for an anonymous user, 0 for an erased one",
    "COLUMN charging.reservation.user_id": "User; 0 for an erased one",
    "COLUMN charging.cdr.session_reference": "Session, by the reference that the roaming partners use",
    "COLUMN charging.cdr.is_local": "Whether the tenant issued it, as charge point operator",
    "COLUMN charging.cdr.is_credit": "Whether it cancels another CDR",
    "COLUMN charging.cdr.amount_without_tax": "Cost without tax, in currency; not available in OICP",
    "COLUMN charging.cdr.currency": "Currency, ISO 4217; not available in OICP",
    "COLUMN charging.cdr.delivery_response": "success or fail, if it was sent",
    "COLUMN charging.tariff.type": "How it computes the price, such as standard or flat rate",
    "COLUMN charging.tariff.price_per_kwh": "Price of a kWh, in currency, if there is only one",
    "COLUMN charging.tariff.min_price": "Minimum price of a session, in currency",
    "COLUMN charging.charge_point.owner_user_id": "User that owns a personal one; 0 for an erased user",
    "COLUMN charging.evse.max_power_w": "Maximum power, W",
    "COLUMN charging.evse.max_amperage_a": "Maximum current, A",
    "COLUMN charging.session.user_id": "User; null for an anonymous user, 0 for an erased one",
    "COLUMN charging.session.tariff_snapshot_id": "Tariff as it was for this session",
    "TABLE ingest.suppression_key": "Tenants with erased people; each transaction that writes reads it first, and so waits for an erasure",
    "TABLE ingest.erasure": "Each erasure of a person: who requested it, when, and how many rows of which tables; never who was erased",
    "COLUMN ingest.erasure.requested_by": "Database user and login of the person who ran the command",
    "COLUMN ingest.erasure.reached_at": "The log is done up to this received_at; null: nothing of it is",
    "COLUMN ingest.erasure.reached_id": "The log is done up to this notification of reached_at",
    "COLUMN ingest.erasure.finished_at": "When the log, the state and the history were done; null while the erasure is unfinished",
    "TABLE ingest.suppression": "Digests of the identities of erased people, who are removed from all data that arrives or is read later",
    "COLUMN ingest.suppression.erasure_id": "The erasure that added it",
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
            comment = f"Two {group} facts of {group}_at contradict each other; a read decides"
            op.execute(f"COMMENT ON COLUMN charging.\"{table}\".{group}_conflicting IS '{comment}'")
    _rename_values(VALUES)
    op.execute(read_sql("0015_session_as_known_at"))
    for place, comment in COMMENTS.items():
        op.execute(f"COMMENT ON {place} IS '{comment.replace(chr(39), chr(39) * 2)}'")


def downgrade() -> None:
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
    op.execute(read_sql("0004_session_as_known_at"))


def _rename_values(values: dict[tuple[str, str], dict[str, str]]) -> None:
    for (table, column), names in values.items():
        for was, now in names.items():
            op.execute(f"UPDATE {table} SET {column} = '{now}' WHERE {column} = '{was}'")  # noqa: S608 - the names and values are the ones above
