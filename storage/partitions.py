"""The log's partitions, one for each UTC day, made ahead of time.

A function of the database makes them, as the owner of the tables: the service may need one
at any moment of the accept path, and may itself neither make nor drop a table.
"""

from __future__ import annotations

from typing import LiteralString

#: A week ahead: everything that makes partitions may be down for a week before the
#: accept path has to make one itself.
DAYS_AHEAD = 7

#: Makes those of yesterday to ``DAYS_AHEAD``, where missing. Any number of processes may try at once.
MAKE_PARTITIONS: LiteralString = "SELECT ingest.make_log_partitions(7)"
