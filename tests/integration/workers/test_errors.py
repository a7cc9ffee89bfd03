"""An error is shown by the one line that says what to do about it, and without what must not be seen."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from runtime.errors import MAX_CAUSE, cause
from storage.database import create_database_engine
from tests.support.servers import own_redis
from workers.broker import create_redis


def test_of_a_database_that_refuses_a_connection_the_first_line_is_shown(tmp_path: Path) -> None:
    engine = create_database_engine(f"postgresql://u:s3cret@/x?host={tmp_path}", application_name="tests", pool_size=1)
    with pytest.raises(DBAPIError) as raised, engine.connect():
        pass
    assert "\n" in str(raised.value)
    assert cause(raised.value).endswith("failed: No such file or directory")
    assert "\n" not in cause(raised.value)


def test_of_a_statement_that_fails_what_postgres_says_is_shown_and_no_parameter(connection: Connection) -> None:
    with pytest.raises(DBAPIError) as raised:
        connection.execute(text("SELECT CAST(:value AS text) FROM nowhere"), {"value": "a tenant's"})
    assert cause(raised.value) == 'relation "nowhere" does not exist'


def test_what_a_library_advises_its_programmers_is_left_out() -> None:
    error = SQLAlchemyError("QueuePool limit of size 1 reached", code="3o7r")
    assert "sqlalche.me" in str(error)
    assert cause(error) == "QueuePool limit of size 1 reached"


def test_a_wrong_password_of_redis_and_a_missing_one_differ() -> None:
    with own_redis() as server:
        with create_redis(server.url) as client:
            client.config_set("requirepass", "s3cret")
        for url, shown in (
            (server.url, "NOAUTH "),
            (server.url.replace("unix://", "unix://:wr0ng@"), "WRONGPASS "),
        ):
            with create_redis(url) as client:
                with pytest.raises(Exception, match=r"\w") as raised:
                    client.ping()
                assert cause(raised.value).startswith(shown)
                assert "wr0ng" not in cause(raised.value)


def test_a_url_that_a_library_quotes_is_shown_without_its_password() -> None:
    error = psycopg.OperationalError('cannot reach "postgresql://user:p/a@ss@db/x"\nHINT: another line')
    assert cause(error) == 'cannot reach "postgresql://db/x"'


def test_a_cause_is_never_empty_and_never_long() -> None:
    assert cause(ValueError()) == "ValueError"
    assert len(cause(ValueError("x" * 10_000))) == MAX_CAUSE
