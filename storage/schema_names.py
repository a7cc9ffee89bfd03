"""Name the schemas of the database; processes that accept need the names alone, and not the tables in them."""

from __future__ import annotations

#: The inbox, the queues and the machinery.
INGEST = "ingest"

#: The state of the tenants and its history.
CHARGING = "charging"

#: What reports are built on: derived from the other two.
ANALYTICS = "analytics"
