"""Who may do what in the database: the service, and those who only read.

Whoever migrates owns everything. Two groups without a login of their own stand beside them; an
operator grants each to the users that log in. Roles belong to the whole cluster and tables
to one database, so the groups are made where they are missing, and what they may do is
said anew, in full, after each migration.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from storage import erasure_tables, watch_tables  # noqa: F401 - fill the metadata
from storage.mirrors import MIRRORS
from storage.tables import CHARGING, metadata

#: For the users under which ``serve`` and ``work`` log in.
SERVICE = "ampeco_receiver_service"

#: For analysts and their tools: the state, its history and the views, and no body of the log.
READ = "ampeco_receiver_read"

#: What the service may do with its own tables. Of the log it may change what redaction changes, and
#: it can take nothing out of it.
INGEST_PRIVILEGES = {
    "alembic_version": "SELECT",
    "api_usage": "SELECT, INSERT, UPDATE, DELETE",
    "traffic": "SELECT, INSERT, UPDATE, DELETE",
    "batch": "SELECT, INSERT, UPDATE",
    "unknown_field": "SELECT, INSERT, UPDATE",
    "dropped_day": "SELECT",
    "erasure": "SELECT",
    "suppression_key": "SELECT",
    "suppression": "SELECT",
    "notification": "SELECT, INSERT, UPDATE (body, body_sha256)",
    "notification_state": "SELECT",
    "outcome": "SELECT, INSERT, UPDATE, DELETE",
    "process": "SELECT, INSERT, UPDATE, DELETE",
    "refresh_request": "SELECT, INSERT, UPDATE, DELETE",
    "forbidden_kind": "SELECT, INSERT, UPDATE, DELETE",
    "resend": "SELECT, INSERT, UPDATE, DELETE",
    "traffic_baseline": "SELECT, INSERT, UPDATE",
    "traffic_gap": "SELECT, INSERT, UPDATE, DELETE",
    "subscription": "SELECT, INSERT, UPDATE, DELETE",
    "sync_cursor": "SELECT, INSERT, UPDATE",
    "total": "SELECT, INSERT, UPDATE",
    "token_use": "SELECT, INSERT, UPDATE, DELETE",
    "uptime": "SELECT, INSERT, UPDATE, DELETE",
    "sync_run": "SELECT, INSERT, UPDATE, DELETE",
    "sync_run_page": "SELECT, INSERT, DELETE",
}

#: Rows of the state change and are never deleted; history is only ever added to.
STATE_PRIVILEGES = "SELECT, INSERT, UPDATE"
HISTORY_PRIVILEGES = "SELECT, INSERT"

#: Functions that do, as their owner, the little that needs more.
SERVICE_FUNCTIONS = ("ingest.make_log_partitions(integer)", "ingest.drop_log_day(date)")

#: Whole schemas that analysts may read, where they are there, and the views beside them.
READ_SCHEMAS = (CHARGING, "analytics")
READ_VIEWS = ("ingest.notification_state",)


def service_privileges() -> dict[str, str]:
    """What the service may do, by table or view."""
    state = {mirror.name for mirror in MIRRORS.values()}
    charging = {
        table.name: STATE_PRIVILEGES if table.name in state else HISTORY_PRIVILEGES
        for table in metadata.tables.values()
        if table.schema == CHARGING
    }
    found = {f"ingest.{name}": may for name, may in INGEST_PRIVILEGES.items()}
    return found | {f"{CHARGING}.{name}": may for name, may in charging.items()}


def establish(connection: Connection) -> list[str]:
    """Make the groups where that is permitted, and say what each may do.

    Returns:
        The groups that are missing, because this user may make none.
    """
    missing = [role for role in (SERVICE, READ) if not _make(connection, role)]
    if SERVICE not in missing:
        _grant_to_service(connection)
    if READ not in missing:
        _grant_to_analysts(connection)
    return missing


def advice(missing: list[str]) -> str:
    """What an operator does about missing groups, in one sentence."""
    statements = " ".join(f"CREATE ROLE {role} NOLOGIN;" for role in missing)
    return (
        f"This database user may make no roles, so there is no {' and no '.join(missing)}: everything works for the"
        f" owner of the tables alone. To have them, let an administrator run `{statements}`, then migrate again."
    )


def _make(connection: Connection, role: str) -> bool:
    """Whether the role is there, made now if need be; another database's migration may be making it, too."""
    if connection.execute(text("SELECT FROM pg_roles WHERE rolname = :role"), {"role": role}).first() is not None:
        return True
    may = text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    if not connection.execute(may).scalar():
        return False
    connection.execute(
        text(f"""
            DO $$
            BEGIN
                CREATE ROLE {role} NOLOGIN;
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN NULL;
            END
            $$
        """)
    )
    return True


def _grant_to_service(connection: Connection) -> None:
    _forbid_everything(connection, SERVICE, ("ingest", CHARGING))
    _run(connection, f"GRANT USAGE ON SCHEMA ingest, {CHARGING} TO {SERVICE}")
    for table, may in service_privileges().items():
        _run(connection, f"GRANT {may} ON {table} TO {SERVICE}")
    for function in SERVICE_FUNCTIONS:
        _run(connection, f"GRANT EXECUTE ON FUNCTION {function} TO {SERVICE}")


def _grant_to_analysts(connection: Connection) -> None:
    present = text("SELECT nspname FROM pg_namespace WHERE nspname = ANY(:names) ORDER BY nspname")
    schemas = list(connection.execute(present, {"names": list(READ_SCHEMAS)}).scalars())
    _forbid_everything(connection, READ, ("ingest", *schemas))
    for schema in schemas:
        _run(connection, f"GRANT USAGE ON SCHEMA {schema} TO {READ}")
        _run(connection, f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {READ}")
    _run(connection, f"GRANT USAGE ON SCHEMA ingest TO {READ}")
    for view in READ_VIEWS:
        _run(connection, f"GRANT SELECT ON {view} TO {READ}")


def _forbid_everything(connection: Connection, role: str, schemas: tuple[str, ...]) -> None:
    """Take back what an older release granted, so that no privilege outlives its reason."""
    for schema in schemas:
        _run(connection, f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}")
        _run(connection, f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM {role}")


def _run(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))
