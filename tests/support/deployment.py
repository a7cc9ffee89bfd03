"""A receiver together with the fake AMPECO that it reads, for the tests of refreshing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from tests.support.ampeco import FakeAmpeco
from tests.support.service import Service
from workers.api.context import Context
from workers.sync.refresh import refresh_tenant


@dataclass
class Deployment:
    """A receiver, the context of its workers, and the fake AMPECO that they read."""

    service: Service
    context: Context
    ampeco: FakeAmpeco

    def deliver(self, *bodies: dict[str, Any], tenant: str = "demo") -> None:
        """Send notifications and apply them."""
        token = {"demo": "tenant-token-1f0c", "other": "another-tenants-token"}[tenant]
        for body in bodies:
            assert self.service.post(body, tenant=tenant, token=token).status_code == 202
        self.service.apply()

    def refresh(self, *, tenant: str = "demo", due: bool = True) -> int:
        """Make the requested reads: all of them, or only those that are due by themselves."""
        if due:
            with self.service.engine.begin() as connection:
                connection.execute(text("UPDATE ingest.refresh_request SET due_at = now()"))
        return refresh_tenant(self.context, tenant)

    def row(self, table: str) -> dict[str, Any]:
        """Return the only row of a table."""
        (row,) = self.service.query(f"SELECT * FROM charging.{table} WHERE tenant = 'demo'")
        return row

    def waiting(self) -> int:
        """Return the number of refresh requests."""
        return self.service.count("ingest.refresh_request")
