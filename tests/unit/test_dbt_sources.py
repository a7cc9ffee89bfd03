"""The dbt package describes the contract as the tables are declared."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from analytics import contract
from analytics.dbt import sources
from analytics.schema.evse_state import STATES

TABLES: dict[str, dict[str, Any]] = {
    table["name"]: table for table in yaml.load(sources.generate(), yaml.CSafeLoader)["sources"][0]["tables"]
}


def column(table: str, name: str) -> dict[str, Any]:
    columns: list[dict[str, Any]] = TABLES[table]["columns"]
    (found,) = [column for column in columns if column["name"] == name]
    return found


def test_the_sources_are_as_they_would_be_generated() -> None:
    message = "run `.venv/bin/python -m analytics.dbt.sources`"
    assert sources.FILE.read_text(encoding="utf-8") == sources.generate(), message


def test_every_table_and_column_of_the_contract_has_its_comment() -> None:
    assert list(TABLES) == [table.name for table in contract.tables()]
    for table in contract.tables():
        assert TABLES[table.name]["description"] == f"{table.comment}."
        described = {column["name"]: column["description"] for column in TABLES[table.name]["columns"]}
        assert described == {column.name: f"{column.comment}." for column in table.columns}


def test_a_column_is_tested_for_what_its_constraints_say() -> None:
    accepted = {"accepted_values": {"arguments": {"values": list(STATES)}}}
    assert column("evse_state_interval", "state")["data_tests"] == ["not_null", accepted]
    assert "data_tests" not in column("evse_state_interval", "hardware_status")


@pytest.mark.parametrize("table", sources.FRESHNESS)
def test_a_table_whose_age_is_limited_says_when_it_was_written(table: str) -> None:
    config = TABLES[table]["config"]
    assert "freshness" in config
    assert ("loaded_at_field" in config) != ("loaded_at_query" in config)


@pytest.mark.parametrize("table", sources.REFERENCES)
def test_a_reference_leads_to_columns_that_exist(table: str) -> None:
    known = {name: {column["name"] for column in described["columns"]} for name, described in TABLES.items()}
    for columns, other, other_columns in sources.REFERENCES[table]:
        assert set(columns) <= known[table]
        assert set(other_columns) <= known[other]
        assert len(columns) == len(other_columns)
