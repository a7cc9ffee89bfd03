"""State what becomes of derived rows once the meter values that they were made of are dropped: they stay."""

from __future__ import annotations


def is_sampled_before(session: str) -> str:
    """Return the SQL condition that samples of a session may have been dropped; null if none ever were.

    Parameters:
        session: an alias of a table with the column ``started_at``.
    """
    return f"{session}.started_at < (SELECT max(dropped.ended_at) FROM ingest.dropped_month AS dropped)"  # noqa: S608 - ours
