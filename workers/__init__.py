"""Dramatiq workers: they apply accepted notifications, refresh incomplete entities, run sync runs and jobs.

Redis and Dramatiq only carry wake-ups. The work itself is recorded in Postgres, and a message only says that there
may be some.
"""

from __future__ import annotations
