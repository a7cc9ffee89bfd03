"""State what becomes of derived rows once the meter values that they were made of are dropped: they stay."""

from __future__ import annotations


def may_lack_samples(session: str) -> str:
    """Return the SQL condition that samples of a session may have been dropped; it is never null.

    Parameters:
        session: an alias of a table with the column ``started_at``.
    """
    dropped_until = "(SELECT max(dropped.ended_at) FROM ingest.dropped_month AS dropped)"
    return f"coalesce({session}.started_at < {dropped_until}, false)"
