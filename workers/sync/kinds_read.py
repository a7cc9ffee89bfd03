"""Which kinds are read of each tenant, so that they can turn out to be inaccessible."""

from __future__ import annotations

from collections.abc import Mapping

from ampeco.resources.kinds import kinds_of
from ampeco.tenants import Tenant

#: The name under which the endpoint of consumption is recorded if the token may not read it, or the tenant does not
#: offer it.
CONSUMPTION = "consumption_stats"


def kinds_read(tenants: Mapping[str, Tenant]) -> dict[str, frozenset[str]]:
    """Return the kinds that are read of each tenant, by its name."""
    return {
        name: kinds_of(tenant.mirror) | ({CONSUMPTION} if tenant.consumption_stats else set())
        for name, tenant in tenants.items()
    }
