"""Keep everything in Postgres: the inbox, the mirrored state with its history, and the refresh queue.

Read in this order: ``tables`` (what is stored), ``inbox`` and ``batches`` (accepted notifications and their
progress), ``facts`` and ``fold`` (from a notification to the newest facts), ``upsert`` (the condition that
refuses older facts), ``history`` (observations) and ``refresh_queue`` (what to read from the API).
Nothing in this package depends on HTTP or Dramatiq.
"""

from __future__ import annotations
