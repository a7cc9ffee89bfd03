"""The vendor contract: what AMPECO sends, what it answers, and how it signs.

Nothing in this package depends on how we store data or run processes. Each fact is cited by its
section of AMPECO's published documentation, as collected in ``docs/ampeco.md``.
"""

from __future__ import annotations
