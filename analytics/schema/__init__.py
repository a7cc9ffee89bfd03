"""The tables of the schema ``analytics``."""

from __future__ import annotations

from analytics.schema import availability, evse_state, feed, findings, master, sessions
from storage.schema.tables import metadata

__all__ = ["availability", "evse_state", "feed", "findings", "master", "metadata", "sessions"]
