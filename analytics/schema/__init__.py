"""The tables of the schema ``analytics``."""

from __future__ import annotations

from analytics.schema import evse_state, feed, master
from storage.schema.tables import metadata

__all__ = ["evse_state", "feed", "master", "metadata"]
