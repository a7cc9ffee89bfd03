"""No connection waits for ever: neither in the server, nor for a server that fell silent."""

from __future__ import annotations

from sqlalchemy import Engine, text


def test_every_limit_is_set_on_a_connection(shared_engine: Engine) -> None:
    with shared_engine.connect() as connection:
        for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert connection.execute(text(f"SHOW {limit}")).scalar_one() not in ("", "0")
        parameters = connection.connection.dbapi_connection.info.get_parameters()  # type: ignore[union-attr]
    for limit in ("connect_timeout", "tcp_user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"):
        assert int(parameters[limit]) > 0
