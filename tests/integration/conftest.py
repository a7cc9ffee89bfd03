from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ampeco import FakeAmpeco
from tests.support.console import RunningConsole, serving_console
from tests.support.databases import Databases
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


@pytest.fixture(scope="module")
def shared_service(
    databases: Databases, servers: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A receiver for the tests of a module that only look at what the module's fixtures stored."""
    with databases.database() as url, serving(url, servers[1], tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def shared_console(shared_service: Service) -> Iterator[RunningConsole]:
    """A console for the same tests."""
    with serving_console(shared_service.settings) as running:
        yield running
