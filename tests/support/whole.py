"""A receiver together with the AMPECO that it reads, for the tests of refreshing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from tests.support.ampeco import FakeAmpeco
from tests.support.service import Service
from workers.context import Context
from workers.refresh import refresh_tenant


@dataclass
class Whole:
    """A receiver, the work processes' context, and the AMPECO that they read."""

    service: Service
    context: Context
    ampeco: FakeAmpeco

    def tell(self, *bodies: dict[str, Any], tenant: str = "demo") -> None:
        token = {"demo": "tenant-token-1f0c", "other": "another-tenants-token"}[tenant]
        for body in bodies:
            assert self.service.post(body, tenant=tenant, token=token).status_code == 202
        self.service.apply()

    def refresh(self, *, tenant: str = "demo", due: bool = True) -> int:
        if due:  # whatever waits, waits no longer
            with self.service.engine.begin() as connection:
                connection.execute(text("UPDATE ingest.refresh_request SET due_at = now()"))
        return refresh_tenant(self.context, tenant)

    def row(self, table: str) -> dict[str, Any]:
        (row,) = self.service.query(f"SELECT * FROM charging.{table} WHERE tenant = 'demo'")
        return row

    def waiting(self) -> int:
        return self.service.count("ingest.refresh_request")
