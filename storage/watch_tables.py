"""The tables of watching: our subscriptions, our own presence, each tenant's rhythm, and its tokens."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Numeric, PrimaryKeyConstraint, Table, Text, Uuid, func, text

from storage.tables import INGEST, instant, metadata, tenant_column

subscription = Table(
    "subscription",
    metadata,
    tenant_column(),
    Column("callback_url", Text, nullable=False, comment="The address that AMPECO calls for it"),
    Column("subscription_id", BigInteger, nullable=False, comment="Its id at AMPECO, as last seen"),
    instant("managed_since_at", "When `subscribe` made it ours", nullable=False, default=func.now()),
    instant(
        "checked_at", "When it was last looked at, whether AMPECO answered or not", nullable=False, default=func.now()
    ),
    Column("state", Text, nullable=False, comment="sound, wrong (finding says what) or unknown (error says why)"),
    Column("finding", Text, comment="What is wrong with it and was not mended"),
    Column("error", Text, comment="Why the last look failed"),
    Column("repairs", Integer, nullable=False, server_default=text("0"), comment="How often it was mended"),
    instant("repaired_at", "When it was last mended"),
    Column("last_repair", Text, comment="What was mended last"),
    PrimaryKeyConstraint("tenant", "callback_url"),
    schema=INGEST,
    comment="Subscriptions that are ours, as `subscribe` made them, and how the monitor last found them",
)

resend = Table(
    "resend",
    metadata,
    tenant_column(),
    Column("resend_id", Uuid, nullable=False, comment="UUIDv7"),
    Column("callback_url", Text, nullable=False, comment="Of the subscription whose failed notifications are wanted"),
    Column("reason", Text, nullable=False, comment="outage, or manual where a person typed the command"),
    instant("since_at", "Failed notifications from then on, by our clock; null: from the first"),
    Column(
        "state",
        Text,
        nullable=False,
        server_default=text("'waiting'"),
        comment="waiting, asked (AMPECO accepted) or failed (it never will)",
    ),
    instant("wanted_at", "When it was first wanted", nullable=False, default=func.now()),
    instant("due_at", "AMPECO is not to be asked before", nullable=False, default=func.now()),
    instant("tried_at", "When AMPECO was last asked, noted before the call"),
    Column("attempts", Integer, nullable=False, server_default=text("0"), comment="How often AMPECO was asked"),
    Column("error", Text, comment="What AMPECO answered last, where it did not accept"),
    PrimaryKeyConstraint("tenant", "resend_id"),
    Index("resend_waiting_idx", "tenant", "callback_url", unique=True, postgresql_where=text("state = 'waiting'")),
    schema=INGEST,
    comment="Requests that AMPECO send its failed notifications again: at most one waits for a subscription",
)

uptime = Table(
    "uptime",
    metadata,
    instant("began_at", "When a receiver was first alive again", nullable=False),
    instant("last_beat_at", "When one was last alive and could write", nullable=False),
    PrimaryKeyConstraint("began_at"),
    schema=INGEST,
    comment="Stretches of time in which some receiver was alive and could write; between two of them none was",
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
    instant("stopped_at", "When it stopped in order; null while it runs, and where it was killed"),
    Column("problem", Text, comment="What keeps it from its work, as of its last heartbeat"),
    PrimaryKeyConstraint("process_id"),
    schema=INGEST,
    comment="Processes of the service: each registers when it starts, and beats every few seconds",
)

traffic = Table(
    "traffic",
    metadata,
    tenant_column(),
    instant("hour_at", "The hour, from its beginning", nullable=False),
    Column("notifications", BigInteger, nullable=False, comment="How many were received in it"),
    PrimaryKeyConstraint("tenant", "hour_at"),
    schema=INGEST,
    comment="Notifications by the hour; an hour without any has no row",
)

traffic_baseline = Table(
    "traffic_baseline",
    metadata,
    tenant_column(),
    instant("looked_at", "When arrivals were last counted and judged", nullable=False),
    instant("last_received_at", "When its last notification came, as of looked_at"),
    Column(
        "learned_hours", Integer, nullable=False, server_default=text("0"), comment="Hours that the rhythm is made of"
    ),
    Column(
        "min_expected", Numeric, comment="Where so many notifications are expected, their absence tells; null: nothing"
    ),
    Column("judged_hours", Integer, comment="Length of the stretch that was judged, hours; null: none tells anything"),
    Column("expected", Numeric, comment="Notifications expected in it"),
    Column("received", BigInteger, comment="Notifications that came in it"),
    PrimaryKeyConstraint("tenant"),
    schema=INGEST,
    comment="How each tenant was last judged against its own rhythm",
)

traffic_gap = Table(
    "traffic_gap",
    metadata,
    tenant_column(),
    instant("began_at", "From when on too little came", nullable=False),
    instant("noticed_at", "When that was noticed", nullable=False, default=func.now()),
    instant("ended_at", "When enough came again; null while it lasts"),
    Column("expected", Numeric, nullable=False, comment="Notifications expected until it was noticed"),
    Column("received", BigInteger, nullable=False, comment="Notifications that came until it was noticed"),
    PrimaryKeyConstraint("tenant", "began_at"),
    Index("traffic_gap_open_idx", "tenant", unique=True, postgresql_where=text("ended_at IS NULL")),
    schema=INGEST,
    comment="When a tenant was quieter than its own rhythm",
)

token_use = Table(
    "token_use",
    metadata,
    tenant_column(),
    Column("token_id", Text, nullable=False, comment="The token, as in ingest.notification; not the token itself"),
    instant("known_since_at", "When it was first found in tenants.toml", nullable=False, default=func.now()),
    instant("last_used_at", "When the last notification that it verified came; null: none did since it is known"),
    instant("looked_until_at", "Notifications up to then were looked at", nullable=False),
    PrimaryKeyConstraint("tenant", "token_id"),
    schema=INGEST,
    comment="When each configured token was last used to sign a notification",
)
