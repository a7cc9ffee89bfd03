"""Collect what the headers of AMPECO's answers say, and write it to the database now and then."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

import redis
from sqlalchemy import Engine

from ampeco.api.answer_headers import AnswerHeaders
from runtime.logging import get_logger
from storage.sync.api_notices import record_deprecated, record_release
from workers.api.daily_quota import count_call
from workers.api.pause import note_remaining
from workers.metrics import API_DEPRECATED_CALLS

logger = get_logger(__name__)


@dataclass(slots=True)
class ApiNotices:
    """The releases and deprecated endpoints that this process saw, by tenant, until they are written."""

    _releases: dict[str, str] = field(default_factory=dict)
    _deprecated: dict[tuple[str, str], datetime | None] = field(default_factory=dict)
    _logged: set[tuple[str, str]] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def see(self, client: redis.Redis, tenant: str, headers: AnswerHeaders) -> None:
        """Take over the headers of an answer, and share its limits with the other processes."""
        if headers.is_success:
            count_call(client, tenant)
        # A 429 has nothing left either, but says by itself when to call again.
        if headers.is_success and headers.limit is not None and headers.remaining is not None:
            note_remaining(client, tenant, headers.limit, headers.remaining)
        with self._lock:
            if headers.app_version is not None:
                self._releases[tenant] = headers.app_version
            if headers.is_deprecated:
                self._deprecated[tenant, headers.endpoint] = headers.sunset_at
        if headers.is_deprecated:
            self._report(tenant, headers)

    def _report(self, tenant: str, headers: AnswerHeaders) -> None:
        API_DEPRECATED_CALLS.labels(tenant, headers.endpoint).inc()
        if (tenant, headers.endpoint) not in self._logged:
            self._logged.add((tenant, headers.endpoint))
            sunset = None if headers.sunset_at is None else headers.sunset_at.isoformat()
            logger.warning("AMPECO will remove this endpoint", tenant=tenant, endpoint=headers.endpoint, sunset=sunset)

    def write(self, engine: Engine) -> None:
        """Write what was seen since the last time; if that fails, it is seen again by the next answers."""
        with self._lock:
            releases, self._releases = self._releases, {}
            deprecated, self._deprecated = self._deprecated, {}
        if not releases and not deprecated:
            return
        with engine.begin() as connection:
            for tenant, app_version in sorted(releases.items()):
                record_release(connection, tenant, app_version)
            for (tenant, endpoint), sunset_at in sorted(deprecated.items(), key=lambda item: item[0]):
                record_deprecated(connection, tenant, endpoint, sunset_at)
