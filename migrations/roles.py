"""Grant privileges in the database to two roles: one for the service, one for readers of the data.

The user that migrates owns everything. The two roles cannot log in; an operator grants them to the users that can.
Roles belong to the whole cluster and tables to one database. So the roles are created if they are missing, and all
their privileges are granted again after each migration.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from storage.schema_names import ANALYTICS, CHARGING

#: The role of the users as which ``serve`` and ``work`` log in.
SERVICE = "ampeco_receiver_service"

#: The role of analysts and their tools: it may read the state, its history and the views, but no bodies of the log.
READ = "ampeco_receiver_read"

#: The service's privileges on its own tables. In the log it may update only the columns that redaction changes, and
#: it cannot delete rows.
INGEST_PRIVILEGES = {
    "alembic_version": "SELECT",
    "alert": "SELECT, INSERT, UPDATE, DELETE",
    "api_usage": "SELECT, INSERT, UPDATE, DELETE",
    "traffic": "SELECT, INSERT, UPDATE, DELETE",
    "batch": "SELECT, INSERT, UPDATE",
    "unknown_field": "SELECT, INSERT, UPDATE",
    "consumption_read": "SELECT, INSERT, UPDATE, DELETE",
    "dropped_day": "SELECT",
    "dropped_month": "SELECT",
    "driver_secret": "SELECT, INSERT",
    "erasure": "SELECT",
    "suppression_key": "SELECT",
    "suppression": "SELECT",
    "minute": "SELECT, INSERT, DELETE",
    "notification": "SELECT, INSERT, UPDATE (body, body_sha256)",
    "notification_state": "SELECT",
    "operator_action": "SELECT, INSERT, UPDATE (ended_at, affected, error)",
    "outcome": "SELECT, INSERT, UPDATE, DELETE",
    "process": "SELECT, INSERT, UPDATE, DELETE",
    "refresh_request": "SELECT, INSERT, UPDATE, DELETE",
    "ampeco_release": "SELECT, INSERT, UPDATE",
    "deprecated_endpoint": "SELECT, INSERT, UPDATE",
    "inaccessible_kind": "SELECT, INSERT, UPDATE, DELETE",
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

#: The service updates rows of the state and never deletes them; it only adds rows to the history.
STATE_PRIVILEGES = "SELECT, INSERT, UPDATE"
HISTORY_PRIVILEGES = "SELECT, INSERT"

#: Of two histories it may do more. What an operator entered may be withdrawn, and not be changed otherwise. Of reads of
#: master data, a later one of the same time replaces an earlier one, and one between two that show the same goes.
FURTHER_PRIVILEGES = {
    "operator_exclusion": "SELECT, INSERT, UPDATE (withdrawn_at)",
    "master_observation": "SELECT, INSERT, UPDATE (tracked, fact_version), DELETE",
}

#: The views of the state and the history.
CHARGING_VIEWS = ("master_revision",)

#: It writes derived rows, and removes those that are no longer so.
DERIVED_PRIVILEGES = "SELECT, INSERT, UPDATE, DELETE"

#: Functions that run with their owner's privileges, for the tasks that need more than the service's own.
SERVICE_FUNCTIONS = (
    "ingest.make_log_partitions(integer)",
    "ingest.drop_log_day(date)",
    "ingest.make_meter_partitions(integer)",
    "ingest.drop_meter_month(timestamptz)",
    "analytics.refresh_statistics()",
)

#: Schemas in which analysts may read all tables, if they exist, and the views in other schemas that they may read.
READ_SCHEMAS = (CHARGING, ANALYTICS)
READ_VIEWS = ("ingest.notification_state",)


def service_privileges() -> dict[str, str]:
    """Return the privileges of the service, by table or view."""
    # A process that accepts checks the revision of the database, and does not need the tables themselves.
    from storage.schema.entities import MIRRORS
    from storage.schema.tables import metadata

    state = {mirror.name for mirror in MIRRORS.values()}
    charging = {
        table.name: STATE_PRIVILEGES if table.name in state else FURTHER_PRIVILEGES.get(table.name, HISTORY_PRIVILEGES)
        for table in metadata.tables.values()
        if table.schema == CHARGING
    }
    charging |= dict.fromkeys(CHARGING_VIEWS, "SELECT")
    ingest = {f"ingest.{name}": privileges for name, privileges in INGEST_PRIVILEGES.items()}
    return ingest | {f"{CHARGING}.{name}": privileges for name, privileges in charging.items()}


def establish(connection: Connection) -> list[str]:
    """Create the missing roles, if this user may, and grant the privileges of each role.

    Returns:
        The roles that are missing, because this user may not create roles.
    """
    missing = [role for role in (SERVICE, READ) if not _make(connection, role)]
    if SERVICE not in missing:
        _grant_to_service(connection)
    if READ not in missing:
        _grant_to_analysts(connection)
    return missing


def advice(missing: list[str]) -> str:
    """Return what an operator should do about missing roles, in two sentences."""
    statements = " ".join(f"CREATE ROLE {role} NOLOGIN;" for role in missing)
    return (
        f"This database user may not create roles, so {' and '.join(missing)} cannot be granted, and only the owner of"
        f" the tables can use them. To get the roles, let an administrator run `{statements}`, then migrate again."
    )


def _make(connection: Connection, role: str) -> bool:
    """Return whether the role exists; create it if necessary, even while the migration of another database does so."""
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
    _forbid_everything(connection, SERVICE, ("ingest", CHARGING, ANALYTICS))
    _run(connection, f"GRANT USAGE ON SCHEMA ingest, {CHARGING}, {ANALYTICS} TO {SERVICE}")
    _run(connection, f"GRANT {DERIVED_PRIVILEGES} ON ALL TABLES IN SCHEMA {ANALYTICS} TO {SERVICE}")
    for table, privileges in service_privileges().items():
        _run(connection, f"GRANT {privileges} ON {table} TO {SERVICE}")
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
    """Revoke all privileges, so that none that an older release granted remains."""
    for schema in schemas:
        _run(connection, f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}")
        _run(connection, f"REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM {role}")


def _run(connection: Connection, statement: str) -> None:
    connection.execute(text(statement))
