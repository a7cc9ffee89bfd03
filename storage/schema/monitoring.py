"""Tables of monitoring: subscriptions, resends, uptime, processes, traffic, the use of tokens and alerts."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Numeric, PrimaryKeyConstraint, Table, Text, Uuid, func, text

from storage.schema.tables import instant, metadata, tenant_column
from storage.schema_names import INGEST

subscription = Table(
    "subscription",
    metadata,
    tenant_column(),
    Column("callback_url", Text, nullable=False, comment="The URL that AMPECO calls for it"),
    Column("subscription_id", BigInteger, nullable=False, comment="Its id at AMPECO, as last seen"),
    instant("managed_since_at", "When `subscribe` made it", nullable=False, default=func.now()),
    instant(
        "checked_at", "When it was last checked, whether AMPECO answered or not", nullable=False, default=func.now()
    ),
    Column("state", Text, nullable=False, comment="sound, wrong (finding says what) or unknown (error says why)"),
    Column("finding", Text, comment="What is wrong with it and was not repaired"),
    Column("error", Text, comment="Why the last check failed"),
    Column("repairs", Integer, nullable=False, server_default=text("0"), comment="How often it was repaired"),
    instant("repaired_at", "When it was last repaired"),
    Column("last_repair", Text, comment="What was repaired last"),
    PrimaryKeyConstraint("tenant", "callback_url"),
    schema=INGEST,
    comment="Managed subscriptions, as `subscribe` made them, and the results of their last checks",
)

resend = Table(
    "resend",
    metadata,
    tenant_column(),
    Column("resend_id", Uuid, nullable=False, comment="UUIDv7"),
    Column("callback_url", Text, nullable=False, comment="Callback URL of the subscription"),
    Column("reason", Text, nullable=False, comment="outage, or manual if a person ran the command"),
    instant("since_at", "Only notifications that failed at this time of our clock or later; null: all"),
    Column(
        "state",
        Text,
        nullable=False,
        server_default=text("'waiting'"),
        comment="waiting, asked (AMPECO accepted it) or failed (AMPECO will never accept it)",
    ),
    instant("wanted_at", "When the resend was first requested", nullable=False, default=func.now()),
    instant("due_at", "When to ask AMPECO at the earliest", nullable=False, default=func.now()),
    instant("tried_at", "When AMPECO was last asked, recorded before the call"),
    Column("attempts", Integer, nullable=False, server_default=text("0"), comment="How often AMPECO was asked"),
    Column("error", Text, comment="What AMPECO answered last, if it did not accept the request"),
    PrimaryKeyConstraint("tenant", "resend_id"),
    Index("resend_waiting_idx", "tenant", "callback_url", unique=True, postgresql_where=text("state = 'waiting'")),
    schema=INGEST,
    comment="Requests that AMPECO send failed notifications again: at most one waits for each subscription",
)

uptime = Table(
    "uptime",
    metadata,
    instant("began_at", "Time of the first heartbeat", nullable=False),
    instant("last_beat_at", "Time of the last heartbeat", nullable=False),
    PrimaryKeyConstraint("began_at"),
    schema=INGEST,
    comment="Periods in which a receiver was alive and could write; between two of them none was",
)

process = Table(
    "process",
    metadata,
    Column("process_id", Uuid, nullable=False, comment="UUIDv7, made when the process started"),
    Column("name", Text, nullable=False, comment="What it runs, such as serve or work refresh"),
    Column("host", Text, nullable=False, comment="Name of its host, or of its container"),
    Column("pid", Integer, nullable=False, comment="Its process id on that host"),
    Column("pid_space", Text, comment="Boot and namespace in which pid counts; null: not known"),
    Column("version", Text, nullable=False, comment="Release that it runs"),
    instant("started_at", "When it registered", nullable=False, default=func.now()),
    instant(
        "seen_at",
        "Its last heartbeat, by the clock of Postgres; set back once another process found it dead",
        nullable=False,
        default=func.now(),
    ),
    instant("stopped_at", "When it stopped in order; null while it runs, or if it was killed"),
    Column("problem", Text, comment="What prevents it from working, as of its last heartbeat"),
    PrimaryKeyConstraint("process_id"),
    schema=INGEST,
    comment="Processes of the service: each registers when it starts, and updates its heartbeat every few seconds",
)

traffic = Table(
    "traffic",
    metadata,
    tenant_column(),
    instant("hour_at", "The hour, from its beginning", nullable=False),
    Column("notifications", BigInteger, nullable=False, comment="Notifications received in the hour"),
    PrimaryKeyConstraint("tenant", "hour_at"),
    schema=INGEST,
    comment="Received notifications by hour; an hour without any has no row",
)

traffic_baseline = Table(
    "traffic_baseline",
    metadata,
    tenant_column(),
    instant("looked_at", "When traffic was last counted and compared with the baseline", nullable=False),
    instant("last_received_at", "When its last notification was received, as of looked_at"),
    Column(
        "learned_hours",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="Hours of history in the baseline",
    ),
    Column(
        "min_expected",
        Numeric,
        comment="A period is judged only if at least so many notifications are expected in it; null: none is",
    ),
    Column("judged_hours", Integer, comment="Length of the period that was judged, hours; null: none was"),
    Column("expected", Numeric, comment="Notifications expected in the period"),
    Column("received", BigInteger, comment="Notifications received in the period"),
    PrimaryKeyConstraint("tenant"),
    schema=INGEST,
    comment="How the traffic of each tenant was last judged by its baseline",
)

traffic_gap = Table(
    "traffic_gap",
    metadata,
    tenant_column(),
    instant("began_at", "Since when too few notifications were received", nullable=False),
    instant("noticed_at", "When the gap was noticed", nullable=False, default=func.now()),
    instant("ended_at", "When enough notifications were received again; null while the gap lasts"),
    Column("expected", Numeric, nullable=False, comment="Notifications expected between began_at and noticed_at"),
    Column("received", BigInteger, nullable=False, comment="Notifications received between began_at and noticed_at"),
    PrimaryKeyConstraint("tenant", "began_at"),
    Index("traffic_gap_open_idx", "tenant", unique=True, postgresql_where=text("ended_at IS NULL")),
    schema=INGEST,
    comment="Traffic gaps: times in which a tenant sent far fewer notifications than its baseline expects",
)

token_use = Table(
    "token_use",
    metadata,
    tenant_column(),
    Column("token_id", Text, nullable=False, comment="The token, as in ingest.notification; not the token itself"),
    instant("known_since_at", "When it was first found in tenants.toml", nullable=False, default=func.now()),
    instant("last_used_at", "When the last notification that it verified was received; null: none since it is known"),
    instant("looked_until_at", "The log was searched up to this time", nullable=False),
    PrimaryKeyConstraint("tenant", "token_id"),
    schema=INGEST,
    comment="When each configured token was last used to sign a notification",
)

alert = Table(
    "alert",
    metadata,
    Column("tenant", Text, nullable=False, comment="Tenant, as named in tenants.toml; empty: the service as a whole"),
    Column("incident_id", Uuid, nullable=False, comment="UUIDv7; each message of the incident contains it"),
    Column("kind", Text, nullable=False, comment="Kind of incident, such as traffic_gap"),
    Column("subject", Text, nullable=False, comment="What of the tenant it concerns; empty: the tenant as a whole"),
    Column("summary", Text, nullable=False, comment="What is wrong, without personal data, as of last_seen_at"),
    instant("opened_at", "When it was first seen", nullable=False, default=func.now()),
    instant("last_seen_at", "When it was last seen", nullable=False, default=func.now()),
    instant("resolved_at", "When it was no longer seen; null while it is open"),
    Column("to_send", Text, comment="Message that is still to be sent: open or resolved; null: none"),
    Column(
        "attempts",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="How often it was tried to send that message, counted before each attempt",
    ),
    instant("retry_at", "When to send the message at the earliest", nullable=False),
    Column("last_error", Text, comment="Why the last attempt failed; null: it did not"),
    instant("notified_open_at", "When the webhook accepted the message that it is open"),
    instant("notified_resolved_at", "When the webhook accepted the message that it is resolved"),
    PrimaryKeyConstraint("tenant", "incident_id"),
    Index("alert_open_idx", "tenant", "kind", "subject", unique=True, postgresql_where=text("resolved_at IS NULL")),
    Index("alert_to_send_idx", "retry_at", postgresql_where=text("to_send IS NOT NULL")),
    schema=INGEST,
    comment="Incidents of which people are alerted, with the progress of their messages",
)
