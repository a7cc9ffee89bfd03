"""The tables of the schema ``analytics``."""

from __future__ import annotations

from analytics.schema import evse_state, feed

__all__ = ["evse_state", "feed"]
