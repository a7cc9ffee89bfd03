"""The tables: made, unmade, described, and the same in models and migrations."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, text
from sqlalchemy.schema import SchemaItem

import migrations
from storage.database import create_database_engine
from storage.inbox.partitions import DAYS_AHEAD, make_partitions
from storage.schema.tables import metadata

OURS = ("ingest", "charging")


def test_the_tables_can_be_made_unmade_and_made_again(empty_database_url: str) -> None:
    engine = create_database_engine(empty_database_url, application_name="tests", pool_size=1)
    for _ in range(2):
        migrations.upgrade(engine)
        make_partitions(engine)
        with engine.connect() as connection:
            assert migrations.current(connection) == migrations.head()
        migrations.downgrade(engine, "base")
        with engine.connect() as connection:
            assert migrations.current(connection) is None
            left = connection.execute(
                text(
                    "SELECT table_schema, table_name FROM information_schema.tables"
                    " WHERE table_schema IN ('ingest', 'charging')"
                )
            ).all()
            assert left == [("ingest", "alembic_version")]
    engine.dispose()


def test_models_and_migrations_agree(database_url: str) -> None:
    def ours(item: SchemaItem, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:
        if kind == "table":
            schema = getattr(item, "schema", None)
            return schema in OURS and name != "alembic_version" and f"{schema}.{name}" not in partitions
        return True

    engine = create_database_engine(database_url, application_name="tests", pool_size=1)
    with engine.connect() as connection:
        partitions = connection.execute(text("SELECT inhrelid::regclass::text FROM pg_inherits")).scalars().all()
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "include_object": ours,
                "compare_type": True,
                "compare_server_default": True,
                "version_table_schema": "ingest",
            },
        )
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_every_table_view_and_column_says_what_it_holds(database_url: str) -> None:
    engine = create_database_engine(database_url, application_name="tests", pool_size=1)
    with engine.connect() as connection:
        silent = connection.execute(
            text("""
                SELECT relation.relname, attribute.attname
                  FROM pg_class AS relation
                  JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
                 WHERE relation.relnamespace::regnamespace::text IN ('ingest', 'charging')
                   AND relation.relkind IN ('r', 'p', 'v')
                   AND NOT relation.relispartition
                   AND relation.relname <> 'alembic_version'
                   AND attribute.attnum > 0
                   AND NOT attribute.attisdropped
                   AND (col_description(relation.oid, attnum) IS NULL OR obj_description(relation.oid) IS NULL)
            """)
        ).all()
    engine.dispose()
    assert silent == []


def test_partitions_are_there_for_the_week_ahead_and_making_them_again_changes_nothing(database_url: str) -> None:
    engine = create_database_engine(database_url, application_name="tests", pool_size=1)
    listing = text("SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY 1")
    make_partitions(engine)
    with engine.connect() as connection:
        partitions = connection.execute(listing).scalars().all()
    make_partitions(engine)
    with engine.connect() as connection:
        assert connection.execute(listing).scalars().all() == partitions
    engine.dispose()
    last = datetime.now(UTC) + timedelta(days=DAYS_AHEAD)
    assert f"ingest.notification_{last:%Y%m%d}" in partitions


def test_two_processes_may_migrate_at_once(empty_database_url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    engines = [create_database_engine(empty_database_url, application_name="tests", pool_size=1) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(migrations.upgrade, engines))
    with engines[0].connect() as connection:
        assert migrations.current(connection) == migrations.head()
    for engine in engines:
        engine.dispose()


def lock_and_let_go(connection: Connection) -> None:
    connection.execute(text("LOCK TABLE charging.session"))
    connection.rollback()


def test_a_migration_that_meets_a_deadlock_is_made_all_the_same(engine: Engine) -> None:
    # Given somebody who has one table, and waits for another that the migration has
    attempts: list[int] = []
    with engine.connect() as other, ThreadPoolExecutor(1) as thread:
        other.execute(text("SET LOCAL deadlock_timeout = '1min'"))  # so that it is the migration that ends
        other.execute(text("LOCK TABLE charging.evse"))

        def migrate(_config: Config, connection: Connection) -> None:
            attempts.append(len(attempts))
            connection.execute(text("LOCK TABLE charging.session"))
            if len(attempts) == 1:
                thread.submit(lock_and_let_go, other)
            # When the migration comes to what they have
            connection.execute(text("LOCK TABLE charging.evse"))

        migrations._run(engine, migrate)
    # Then it was undone, and made once they had ended
    assert attempts == [0, 1]


def test_nothing_in_the_database_needs_one_server(engine: Engine) -> None:
    # A Postgres that is distributed by tenant has no triggers on its tables, and refuses functions in SQL with parameters.
    with engine.connect() as connection:
        triggers = connection.execute(text("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")).scalars().all()
        functions = connection.execute(
            text("""
                SELECT proname
                  FROM pg_proc
                  JOIN pg_language ON pg_language.oid = prolang
                 WHERE pronamespace IN ('ingest'::regnamespace, 'charging'::regnamespace)
                   AND lanname = 'sql'
                   AND pronargs > 0
            """)
        ).scalars()
        assert list(functions) == []
    assert list(triggers) == []


def test_each_revision_is_reported_when_it_is_applied_and_when_it_is_removed(empty_database_url: str) -> None:
    engine = create_database_engine(empty_database_url, application_name="tests", pool_size=1)
    seen: list[str] = []
    migrations.upgrade(engine, on_revision=seen.append)
    assert seen == migrations.revisions()
    seen.clear()
    migrations.downgrade(engine, migrations.BASE, on_revision=seen.append)
    assert seen == migrations.revisions()[::-1]
    engine.dispose()
