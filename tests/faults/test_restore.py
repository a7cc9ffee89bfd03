"""The steps to restore a backup on another server, as the page shows them."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import text

from storage.database import create_database_engine
from tests.support.comparison import differences
from tests.support.processes import processes
from tests.support.servers import PostgresServer, own_postgres
from tests.support.service import eventually
from tests.support.tenant import Tenant, tenant

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/operations/upgrade-and-backup.md"

#: The blocks that follow this comment.
STEPS = re.compile(
    rf"^ *<!-- run by {re.escape(str(Path(__file__).relative_to(ROOT)))} -->\n( *)```sh\n(.*?)^\1```$",
    re.MULTILINE | re.DOTALL,
)


@contextmanager
def notifications_arrive(followed: Tenant) -> Iterator[None]:
    """Deliver notifications in the context, and apply them, one minute of the tenant after the other."""
    stop = threading.Event()

    def run() -> None:
        chance = Random(4)
        while not stop.is_set():
            followed.live(1)
            followed.deliver(1.0, chance, in_order=True)
            followed.service.apply()

    with ThreadPoolExecutor(1) as threads:
        arriving = threads.submit(run)
        try:
            yield
        finally:
            stop.set()
        arriving.result()


@pytest.fixture
def elsewhere(prepared: Path) -> Iterator[PostgresServer]:
    """A server without a database of ours."""
    with own_postgres() as server:
        with server.connect("postgres") as connection:
            connection.execute("DROP DATABASE receiver")
        yield server


def test_a_backup_is_restored_elsewhere_as_the_page_says(
    prepared: Path, elsewhere: PostgresServer, redis_url: str, tmp_path: Path
) -> None:
    dump, restore, migrate, compare = (body for _, body in STEPS.findall(PAGE.read_text()))
    with ExitStack() as stack:
        old = stack.enter_context(own_postgres(like=prepared))
        with old.connect() as administrator:
            administrator.execute("CREATE ROLE receiver LOGIN PASSWORD 'secret' IN ROLE ampeco_receiver_service")
        start = datetime(2026, 3, 4, 8, tzinfo=UTC)
        followed = stack.enter_context(tenant(old.url, redis_url, tmp_path, start=start))
        owner = f"postgresql://postgres@/receiver?host={elsewhere.directory}"
        service = f"postgresql://receiver@/receiver?host={elsewhere.directory}"
        tenants = tmp_path / "one.toml"
        tenants.write_text(followed.service.settings.tenants_file.read_text().partition("[tenants.other]")[0])
        variables = {
            "PATH": f"{old.bin}{os.pathsep}{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
            "OWNER_URL": old.url,
            "NEW_SERVER_URL": f"postgresql://postgres@/postgres?host={elsewhere.directory}",
            "NEW_OWNER_URL": owner,
            "DATABASE_URL": service,
            "REDIS_URL": redis_url,
            "TENANTS_FILE": str(tenants),
        }

        def run(step: str) -> str:
            lines = [line.strip() for line in step.splitlines()]
            done = subprocess.run(
                ["sh", "-e"],
                input="\n".join(lines),
                cwd=tmp_path,
                env=os.environ | variables,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        # Given a database that was filled from the tenant, and gets notifications before, during and after the dump
        followed.reconcile()
        with notifications_arrive(followed):
            eventually(lambda: len(followed.delivered) > 20)
            run(dump)
            delivered = len(followed.delivered)
            eventually(lambda: len(followed.delivered) > delivered + 20)
        # When the dump is restored, and the service started there
        run(restore)
        run(migrate)
        directory = tmp_path / "processes"
        directory.mkdir()
        new = stack.enter_context(
            processes(service, redis_url, directory, TENANTS_FILE=variables["TENANTS_FILE"], RECEIVER_ADMIN_PORT="0")
        )
        new.work("refresh")
        new.work()
        new.serve()
        engine = create_database_engine(owner, application_name="tests", pool_size=1)
        stack.callback(engine.dispose)

        def missing() -> list[str]:
            with engine.connect() as connection:
                return differences(connection, "demo", followed.client)[1]

        assert missing() != [], "the dump misses nothing, so the further steps show nothing"
        followed.service.engine.dispose()
        old.kill()
        shown = run(compare)
        # Then it is as at the tenant
        assert "session" in shown
        eventually(lambda: not missing(), seconds=120)
        with engine.connect() as connection:
            kept = connection.execute(text("SELECT count(*) FROM ingest.notification")).scalar_one()
        assert 0 < kept < len(followed.delivered)
