"""The admin endpoints: health, readiness and metrics."""

from __future__ import annotations
