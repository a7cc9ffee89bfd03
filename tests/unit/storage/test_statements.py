"""No statement of the service has a form that a Postgres distributed by tenant refuses."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest
from sqlalchemy import TextClause

from tests.support.statements import DIALECT, PACKAGES, refused_forms

REFUSED = {
    "a mutable function in DO UPDATE SET": (
        "INSERT INTO ingest.process (name) VALUES (%(name)s) ON CONFLICT (name) DO UPDATE SET seen_at = now()",
        "INSERT INTO ingest.process (name) VALUES ('n') ON CONFLICT (name) DO UPDATE SET seen_at = CURRENT_TIMESTAMP",
    ),
    "a mutable function in the WHERE of DO UPDATE": (
        "INSERT INTO ingest.process AS known (name) VALUES (%(name)s)"
        " ON CONFLICT (name) DO UPDATE SET name = excluded.name WHERE known.seen_at < now()",
    ),
    "a mutable function in RETURNING": (
        "UPDATE ingest.process SET name = 'n' RETURNING now()",
        "DELETE FROM ingest.process RETURNING clock_timestamp() - seen_at",
    ),
    "a mutable function in CASE of an UPDATE or DELETE": (
        "UPDATE ingest.process SET seen_at = CASE WHEN %(is_late)s THEN now() END",
        "DELETE FROM ingest.process WHERE CASE WHEN seen_at IS NULL THEN false ELSE seen_at < now() END",
        "WITH gone AS (UPDATE ingest.process SET seen_at = CASE WHEN true THEN now() END RETURNING name) TABLE gone",
    ),
    "a mutable function in COALESCE of an UPDATE or DELETE": (
        "UPDATE ingest.process SET seen_at = coalesce(seen_at, now())",
    ),
    "an instant moved by a column": (
        "UPDATE ingest.process SET seen_at = now() + pid * interval '1 s'",
        "DELETE FROM ingest.process WHERE seen_at + %(age)s < now()",
        "INSERT INTO ingest.process AS known (name) VALUES ('n')"
        " ON CONFLICT (name) DO UPDATE SET name = 'm' WHERE known.seen_at < excluded.seen_at - %(age)s",
    ),
    "a FULL JOIN with a function": (
        "SELECT FROM ingest.total FULL JOIN unnest(%(tenants)s::text[]) AS asked (tenant) USING (tenant)",
        "SELECT FROM unnest(%(ids)s::int[]) AS asked (id) FULL JOIN (SELECT pid AS id FROM ingest.process) AS p USING (id)",
    ),
    "no tenant for batch": (
        "UPDATE ingest.batch SET failures = 0",
        "UPDATE ingest.batch SET failures = 0 WHERE tenant = ANY(%(tenants)s)",
        "UPDATE ingest.batch SET failures = 0 WHERE tenant = %(tenant)s OR applied_at IS NULL",
        "DELETE FROM ingest.batch WHERE batch_id = %(batch_id)s",
        "SELECT FROM ingest.batch WHERE applied_at IS NULL FOR UPDATE",
        "SELECT FROM ingest.total, ingest.batch WHERE total.tenant = %(tenant)s FOR UPDATE OF total",
        "UPDATE ingest.total SET closed = 0 FROM ingest.batch WHERE total.tenant = %(tenant)s",
        "DELETE FROM ingest.total WHERE tenant = %(tenant)s AND NOT EXISTS (SELECT FROM ingest.batch WHERE failures > 0)",
        "INSERT INTO ingest.batch (batch_id) VALUES (%(batch_id)s)",
        "INSERT INTO ingest.batch (tenant, batch_id) SELECT tenant, batch_id FROM unnest(%(tenants)s::text[]) AS tenant",
        "INSERT INTO ingest.total (tenant) SELECT %(tenant)s FROM ingest.batch ON CONFLICT DO NOTHING",
        "WITH first AS (SELECT min(tenant) AS tenant FROM unnest(%(tenants)s::text[]) AS tenant)"
        " UPDATE ingest.batch SET failures = 0 FROM first WHERE batch.tenant = first.tenant",
    ),
}

ACCEPTED = (
    "SELECT sum(notifications) FROM ingest.batch WHERE applied_at > now() - %(during)s",
    "SELECT coalesce(ended_at, now()) + expected * interval '1 s' FROM ingest.traffic_gap",
    "UPDATE ingest.process SET seen_at = now() WHERE stopped_at > now() - %(age)s",
    "UPDATE ingest.batch SET lease_expires_at = now() + %(lease)s WHERE batch.tenant = %(tenant)s",
    "INSERT INTO ingest.total AS known (tenant, closed) VALUES (%(tenant)s, 1)"
    " ON CONFLICT (tenant) DO UPDATE SET closed = known.closed + excluded.closed",
    "INSERT INTO ingest.process AS known (name) VALUES ('n')"
    " ON CONFLICT (name) DO UPDATE SET name = 'm' WHERE excluded.seen_at - known.seen_at > %(age)s",
    "DELETE FROM ingest.outcome WHERE tenant = %(tenant)s"
    " AND EXISTS (SELECT FROM ingest.batch WHERE batch.tenant = outcome.tenant AND batch.batch_id = outcome.batch_id)",
    "WITH open AS (SELECT batch_id FROM ingest.batch WHERE tenant = %(tenant)s FOR UPDATE SKIP LOCKED)"
    " UPDATE ingest.batch SET failures = 0 FROM open WHERE batch.tenant = %(tenant)s AND batch.batch_id = open.batch_id",
    "SELECT FROM ingest.outcome JOIN ingest.batch USING (tenant, batch_id) WHERE outcome.tenant = %(tenant)s FOR UPDATE",
)


@pytest.mark.parametrize(
    ("form", "statement"), [(form, statement) for form, statements in REFUSED.items() for statement in statements]
)
def test_each_form_is_found_and_nothing_else(form: str, statement: str) -> None:
    assert refused_forms(statement) == (form,)


@pytest.mark.parametrize("statement", ACCEPTED)
def test_what_a_distributed_postgres_runs_is_accepted(statement: str) -> None:
    assert refused_forms(statement) == ()


def _modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        yield importlib.import_module(package)
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                yield importlib.import_module(module.name)


CONSTANTS = {
    f"{module.__name__}.{name}": str(value.compile(dialect=DIALECT))
    for module in _modules()
    for name, value in vars(module).items()
    if isinstance(value, TextClause)
}


def test_the_statements_of_all_packages_are_looked_at() -> None:
    assert {name.split(".")[0] for name in CONSTANTS} == {"storage", "analytics"}
    assert len(CONSTANTS) > 80


@pytest.mark.parametrize("name", sorted(CONSTANTS))
def test_each_constant_statement_is_accepted(name: str) -> None:
    assert refused_forms(CONSTANTS[name]) == ()
