"""The contract that reports are built on: derived tables, and a change feed that misses no row.

Everything in the schema ``analytics`` is derived from ``charging`` and ``ingest``, and can be derived again. Writers of
state and history mark what changed; :mod:`analytics.derive` recomputes what is marked, writes what differs, and numbers
each changed row.
"""
