"""The service and the analysts have the rights that they need, and no others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, make_url, text
from sqlalchemy.exc import ProgrammingError

import migrations
from analytics.schema import metadata
from migrations import roles
from receiver.processes.service import bring_up_to_date
from runtime.settings import Settings
from storage.database import create_database_engine
from storage.inbox.partitions import make_partitions
from storage.log.scope import Scope
from storage.schema_names import ANALYTICS, INGEST
from tests.support.ampeco import FakeAmpeco
from tests.support.commands import run
from tests.support.databases import Databases, database_user
from tests.support.deployment import Deployment
from tests.support.facts import SAMPLES, sample
from tests.support.processes import processes
from tests.support.servers import DATABASE, own_postgres
from tests.support.service import eventually, running, serving, write_tenants
from workers.api.context import create_context
from workers.broker import QUEUES, create_broker
from workers.maintenance.replay import replay
from workers.wake_ups import sweep_batches, wake_refreshes

ROLES_SCRIPT = Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sh"


def autocommitting(url: str) -> Engine:
    engine = create_database_engine(url, application_name="tests", pool_size=1)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


@pytest.fixture
def service_url(engine: Engine) -> Iterator[str]:
    with database_user(engine, "of_the_service", options=f"IN ROLE {roles.SERVICE}") as url:
        yield url


@pytest.fixture(scope="module")
def owner(databases: Databases) -> Iterator[Engine]:
    """The owner of a database for the tests whose every statement is refused, or only reads."""
    with databases.database() as url:
        engine = create_database_engine(url, application_name="tests", pool_size=1)
        yield engine
        engine.dispose()


@pytest.fixture(scope="module")
def limited(owner: Engine) -> Iterator[Connection]:
    """A connection with the rights of the service."""
    with database_user(owner, "of_a_service", options=f"IN ROLE {roles.SERVICE}") as url:
        own = autocommitting(url)
        with own.connect() as connection:
            yield connection
        own.dispose()


@pytest.fixture(scope="module")
def analyst(owner: Engine) -> Iterator[Connection]:
    with database_user(owner, "of_an_analyst", options=f"IN ROLE {roles.READ}") as url:
        own = autocommitting(url)
        with own.connect() as connection:
            yield connection
        own.dispose()


def partitions(connection: Connection) -> list[str]:
    listed = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ingest.notification'::regclass"
    return list(connection.execute(text(listed)).scalars())


def refused(connection: Connection, statement: str) -> bool:
    with pytest.raises(ProgrammingError) as caught:
        connection.execute(text(statement))
    return type(caught.value.orig).__name__ == "InsufficientPrivilege"


def test_the_whole_service_works_with_the_rights_of_the_service(
    service_url: str, redis_url: str, tmp_path: Path, engine: Engine
) -> None:
    # Given a log without a partition for today, and a user that may make no table
    make_partitions(engine)
    with engine.begin() as connection:
        for name in partitions(connection):
            connection.execute(text(f"DROP TABLE {name}"))
    ampeco = FakeAmpeco()
    with (
        running(ampeco.app) as api_url,
        serving(service_url, redis_url, tmp_path, api_url=api_url) as service,
        create_context(service.settings, process="tests") as context,
    ):
        deployment = Deployment(service, context, ampeco)
        # When every sample is sent, applied, refused, redacted, read and reconciled
        for path in sorted(SAMPLES.glob("*.json")):
            if not path.name.startswith("_"):
                assert service.post(path.read_bytes()).status_code == 202
        assert service.post(b"not JSON").status_code == 202
        assert service.post(sample("ChargePointChangedNotification") | {"pin": "1234"}).status_code == 202
        assert service.post(sample("ChargePointChangedNotification") | {"aNewField": 1}).status_code == 202
        service.apply()
        while deployment.waiting() and deployment.refresh():
            pass
        broker = create_broker(context.redis)
        sweep_batches(service.engine, broker, age=timedelta(0))
        wake_refreshes(context, broker)
        make_partitions(service.engine)
        scope = Scope("demo", datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(minutes=1))
        assert sum(chunk.seen for chunk in replay(service.engine, scope)) > 40
        # Then all is settled, and the pages and commands show it
        assert service.count("ingest.batch WHERE applied_at IS NULL") == 0
        assert service.count("ingest.notification WHERE body_sha256 IS NOT NULL") > 0
        assert service.count("charging.session") > 0
        assert service.admin.get("/readyz").json()["status"] == "ready"
        assert "ampeco_postgres_up 1.0" in service.admin.get("/metrics").text
        settings = {"DATABASE_URL": service_url, "REDIS_URL": redis_url, "TENANTS_FILE": str(tmp_path / "tenants.toml")}
        for command in (["status"], ["completeness"], ["replay", "--failed"]):
            ended = run(tmp_path, *command, **settings)
            assert ended.returncode == 0, ended.stderr


def test_processes_with_the_rights_of_the_service_sync_run_and_settle(
    service_url: str, redis_url: str, tmp_path: Path, engine: Engine
) -> None:
    with running(FakeAmpeco().app) as api_url, processes(service_url, redis_url, tmp_path) as service:
        write_tenants(tmp_path, api_url=api_url)
        service.environment["RECEIVER_RECONCILE_INTERVAL"] = "1"
        service.serve()
        for queue in QUEUES:
            service.work(queue)

        def synced() -> int:
            with engine.connect() as connection:
                found = connection.execute(
                    text("SELECT count(*) FROM ingest.sync_run WHERE last_error IS NOT NULL OR calls > 0")
                )
                return int(found.scalar_one())

        eventually(synced, seconds=60)
    assert "permission denied" not in service.log.read_text()
    assert "InsufficientPrivilege" not in service.log.read_text()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE ingest.mine (x int)",
        "CREATE TABLE charging.mine (x int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE charging.evse ADD COLUMN mine int",
        "DROP TABLE ingest.notification",
        "TRUNCATE ingest.notification",
        "DELETE FROM ingest.notification",
        "DELETE FROM ingest.batch",
        "DELETE FROM charging.session",
        "DELETE FROM charging.meter_value",
        "UPDATE charging.meter_value SET value = 0",
        "DELETE FROM charging.consumption_point",
        "UPDATE charging.consumption_point SET energy_wh = 0",
        "UPDATE charging.session_revision SET source = 'x'",
        "UPDATE charging.master_observation SET fact_at = now()",
        "UPDATE ingest.notification SET tenant = 'x'",
        "UPDATE ingest.notification SET received_at = now()",
        "UPDATE ingest.alembic_version SET version_num = 'x'",
    ],
)
def test_the_service_may_not(limited: Connection, statement: str) -> None:
    assert refused(limited, statement)


def test_the_service_cannot_reach_round_the_log_through_its_partitions(limited: Connection) -> None:
    partition = partitions(limited)[0]
    for statement in (f"SELECT FROM {partition}", f"DELETE FROM {partition}", f"DROP TABLE {partition}"):
        assert refused(limited, statement), statement


@pytest.mark.parametrize("table", [name for name, table in metadata.tables.items() if table.schema != INGEST])
def test_analysts_read_everything_but_the_machinery_and_change_nothing(analyst: Connection, table: str) -> None:
    column = next(iter(metadata.tables[table].columns)).name
    analyst.execute(text(f"SELECT count(*) FROM {table}"))
    assert refused(analyst, f"DELETE FROM {table}")
    assert refused(analyst, f"UPDATE {table} SET {column} = NULL")
    assert refused(analyst, f"INSERT INTO {table} ({column}) VALUES (NULL)")


def test_analysts_see_what_became_of_notifications_and_no_body(analyst: Connection) -> None:
    analyst.execute(text("SELECT state, reason, count(*) FROM ingest.notification_state GROUP BY state, reason"))
    for statement in (
        "SELECT body FROM ingest.notification",
        "SELECT received_at FROM ingest.notification",
        "SELECT * FROM ingest.outcome",
        "SELECT * FROM ingest.batch",
        "SELECT ingest.make_log_partitions(1)",
        "CREATE TABLE charging.mine (x int)",
    ):
        assert refused(analyst, statement), statement


def test_every_table_says_what_the_service_may_do_with_it() -> None:
    # Left out, a new table works for its owner and fails for everybody else.
    derived = {name for name, table in metadata.tables.items() if table.schema == ANALYTICS}  # granted by schema
    assert set(metadata.tables) - derived <= set(roles.service_privileges())


def test_a_role_that_may_create_no_roles_can_migrate_and_gets_advice(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a database of a user who may create no roles, in a cluster without ours
    monkeypatch.setattr(roles, "SERVICE", f"absent_service_{os.getpid()}")
    monkeypatch.setattr(roles, "READ", f"absent_read_{os.getpid()}")
    administrator = create_database_engine(empty_database_url, application_name="tests", pool_size=1)
    with database_user(administrator, "plain_owner") as url:
        name, database = make_url(url).username, make_url(url).database
        with administrator.begin() as connection:
            connection.execute(text(f"GRANT CREATE ON DATABASE {database} TO {name}"))
        owner = create_database_engine(url, application_name="tests", pool_size=1)
        # When it migrates, then it has its tables and learns which roles are missing
        missing = migrations.upgrade(owner)
        assert missing == [roles.SERVICE, roles.READ]
        assert f"CREATE ROLE {roles.SERVICE} NOLOGIN; CREATE ROLE {roles.READ} NOLOGIN;" in roles.advice(missing)
        # And once an administrator has made them, migrating again grants them their rights
        with administrator.begin() as connection:
            for role in (roles.SERVICE, roles.READ):
                connection.execute(text(f"CREATE ROLE {role} NOLOGIN"))
        assert migrations.upgrade(owner) == []
        with owner.begin() as connection:
            asked = text("SELECT has_table_privilege(:role, 'charging.evse', 'SELECT')")
            assert connection.execute(asked, {"role": roles.READ}).scalar() is True
        owner.dispose()
        administrator.dispose()
        with administrator.begin() as connection:
            for role in (roles.SERVICE, roles.READ):
                connection.execute(text(f"DROP OWNED BY {role}"))
                connection.execute(text(f"DROP ROLE {role}"))
    administrator.dispose()


def test_up_with_the_rights_of_the_service_needs_no_migration_where_none_is_due(service_url: str) -> None:
    bring_up_to_date(Settings(database_url=service_url))


def test_a_privilege_that_is_no_longer_listed_is_taken_back(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"GRANT DELETE ON ingest.notification TO {roles.SERVICE}"))
    migrations.upgrade(engine)
    with engine.connect() as connection:
        asked = text("SELECT has_table_privilege(:role, 'ingest.notification', 'DELETE')")
        assert connection.execute(asked, {"role": roles.SERVICE}).scalar() is False


def test_a_database_made_by_the_compose_file_has_the_users_that_its_services_log_in_as(tmp_path: Path) -> None:
    # Given a new server of the image, whose start runs the script, and a password that quotes
    (tmp_path / "password").write_text("it's; DROP TABLE secret\n")
    with own_postgres() as server:
        environment = {
            "PATH": f"{server.bin}:{os.environ['PATH']}",
            "PGHOST": str(server.directory),
            "POSTGRES_USER": "postgres",
            "POSTGRES_DB": DATABASE,
            "SERVICE_PASSWORD_FILE": str(tmp_path / "password"),
        }
        subprocess.run([ROLES_SCRIPT], env=environment, check=True)
        # When the owner migrates
        owner = create_database_engine(server.url, application_name="tests", pool_size=1)
        assert migrations.upgrade(owner) == []
        owner.dispose()
        # Then the user of the service has its rights and no more, and its password is nowhere in the log
        own = autocommitting(server.url.replace("postgres@", "ampeco_service@"))
        with own.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM ingest.notification")).scalar() == 0
            assert refused(connection, "DROP TABLE ingest.notification")
        own.dispose()
        with server.connect() as connection:
            (stored,) = connection.execute(
                "SELECT rolpassword FROM pg_authid WHERE rolname = 'ampeco_service'"
            ).fetchone() or ("",)
            assert str(stored).startswith("SCRAM-SHA-256$")
        assert "DROP TABLE secret" not in server.log
