"""The delivery of notifications to subscribers, and its faults."""

from __future__ import annotations
