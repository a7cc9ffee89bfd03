"""What each property of derived tables needs: a database, and a tenant of its own for each example."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from sqlalchemy import Engine

from storage.database import create_database_engine


@pytest.fixture(scope="module")
def tenants() -> Iterator[int]:
    return count(1)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = create_database_engine(database_url, application_name="tests", pool_size=2)
    yield made
    made.dispose()
