from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ampeco import FakeAmpeco
from tests.support.deployment import Deployment
from tests.support.service import Service, running, serving
from workers.api.context import create_context


@pytest.fixture
def service(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Service]:
    """A receiver with a database and a Redis of its own, and no workers."""
    with serving(database_url, redis_url, tmp_path) as running:
        yield running


@pytest.fixture
def deployment(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Deployment]:
    """A receiver, and an AMPECO that it reads when the test says so."""
    ampeco = FakeAmpeco()
    with (
        running(ampeco.app) as api_url,
        serving(database_url, redis_url, tmp_path, api_url=api_url) as service,
        create_context(service.settings, process="tests") as context,
    ):
        yield Deployment(service, context, ampeco)
