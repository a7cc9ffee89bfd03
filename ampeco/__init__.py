"""The vendor contract: what AMPECO sends, what it answers, and how it signs.

Nothing in here knows how we store or run; every fact is cited by its section of
AMPECO's published documentation, as collected in ``docs/ampeco.md``.
"""
