"""The contract that reports are built on: what a migrated database has is what is written down."""

from __future__ import annotations

import os

from sqlalchemy import Connection, text

from analytics.contract import INTERNAL
from analytics.schema.views import VIEWS
from tests.support.contract import GOLDEN, contract_of

HOW = (
    "The schema analytics differs from tests/golden/analytics_contract.txt. Within a major version of the contract,"
    " tables, views and columns may only be added; if anything else changes, raise `major` in analytics.contract. Renew"
    " the file with `make contract`, and look at its difference."
)


def test_the_contract_is_as_written_down(connection: Connection) -> None:
    found = contract_of(connection)
    if os.environ.get("RENEW_CONTRACT"):
        GOLDEN.write_text(found, encoding="utf-8")
    assert found.splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines(), HOW


def test_what_is_internal_is_not_written_down() -> None:
    written = GOLDEN.read_text(encoding="utf-8")
    assert not [name for name in INTERNAL if f"table {name}" in written]


def test_every_table_view_and_column_of_the_contract_says_what_it_holds(connection: Connection) -> None:
    silent = connection.execute(
        text("""
            SELECT relation.relname, attribute.attname
              FROM pg_class AS relation
              JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
             WHERE relation.relnamespace = 'analytics'::regnamespace
               AND relation.relkind IN ('r', 'p', 'v', 'm')
               AND NOT relation.relispartition
               AND attribute.attnum > 0
               AND NOT attribute.attisdropped
               AND (col_description(relation.oid, attnum) IS NULL OR obj_description(relation.oid) IS NULL)
        """)
    ).all()
    assert silent == []


def test_views_are_described_as_their_comments_say(connection: Connection) -> None:
    rows = connection.execute(
        text("""
            SELECT relation.relname,
                   obj_description(relation.oid),
                   attribute.attname,
                   format_type(atttypid, atttypmod),
                   col_description(relation.oid, attnum)
              FROM pg_class AS relation
              JOIN pg_attribute AS attribute ON attribute.attrelid = relation.oid
             WHERE relation.relnamespace = 'analytics'::regnamespace
               AND relation.relkind = 'v'
               AND attribute.attnum > 0
             ORDER BY relation.relname, attribute.attnum
        """)
    ).all()
    assert [tuple(row) for row in rows] == [
        (view.name, view.comment, *column) for view in VIEWS for column in view.columns
    ]
