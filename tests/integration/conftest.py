from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.service import Service, serving


@pytest.fixture
def service(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Service]:
    """A receiver with a database and a Redis of its own, and no workers."""
    with serving(database_url, redis_url, tmp_path) as running:
        yield running
