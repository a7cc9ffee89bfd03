"""Record what AMPECO's answers say about a tenant: its release, and the endpoints that will be removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

# Index: primary key. The row changes only if the release does.
_RECORD_RELEASE = text("""
INSERT INTO ingest.ampeco_release AS known (tenant, app_version)
VALUES (:tenant, :app_version)
    ON CONFLICT (tenant) DO UPDATE SET
       app_version = excluded.app_version,
       since_at = excluded.since_at
 WHERE known.app_version <> excluded.app_version
""")


def record_release(connection: Connection, tenant: str, app_version: str) -> None:
    """Record the release of AMPECO that a tenant runs."""
    connection.execute(_RECORD_RELEASE, {"tenant": tenant, "app_version": app_version})


# Index: primary key.
_RECORD_DEPRECATED = text("""
INSERT INTO ingest.deprecated_endpoint (tenant, endpoint, sunset_at)
VALUES (:tenant, :endpoint, :sunset_at)
    ON CONFLICT (tenant, endpoint) DO UPDATE SET
       sunset_at = excluded.sunset_at,
       last_seen_at = excluded.last_seen_at
""")


def record_deprecated(connection: Connection, tenant: str, endpoint: str, sunset_at: datetime | None) -> None:
    """Record that an endpoint which we call is deprecated.

    Parameters:
        endpoint: the resource with its version, such as ``users/v1.0``.
        sunset_at: when AMPECO will remove it; None if it does not say.
    """
    parameters = {"tenant": tenant, "endpoint": endpoint, "sunset_at": sunset_at}
    connection.execute(_RECORD_DEPRECATED, parameters)


@dataclass(frozen=True, slots=True)
class Release:
    """The release of AMPECO that a tenant runs, and since when it is known to."""

    tenant: str
    app_version: str
    since_at: datetime


_RELEASES = text("SELECT tenant, app_version, since_at FROM ingest.ampeco_release ORDER BY tenant")


def releases(connection: Connection) -> list[Release]:
    """Return the release of AMPECO of each tenant that has answered with one."""
    return [Release(*row) for row in connection.execute(_RELEASES)]


@dataclass(frozen=True, slots=True)
class DeprecatedEndpoint:
    """An endpoint that we called within the last day and that AMPECO will remove."""

    tenant: str
    endpoint: str
    sunset_at: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime


# This reads the whole table, which has a few rows for each tenant.
_DEPRECATED = text("""
SELECT tenant, endpoint, sunset_at, first_seen_at, last_seen_at
  FROM ingest.deprecated_endpoint
 WHERE last_seen_at > now() - interval '1 day'
 ORDER BY sunset_at, tenant, endpoint
""")


def deprecated_endpoints(connection: Connection) -> list[DeprecatedEndpoint]:
    """Return the deprecated endpoints that are still called, soonest removal first."""
    return [DeprecatedEndpoint(*row) for row in connection.execute(_DEPRECATED)]
