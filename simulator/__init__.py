"""A simulated AMPECO tenant: REST reads, subscriptions, signed notifications, faults on demand.

``fleet`` is a pure engine on a simulated clock that generates the tenant's history. ``app`` puts it
behind AMPECO's API, ``runner`` advances its clock, and ``delivery`` sends its notifications. Of this
project, the package imports only the vendor contract, ``ampeco``.
"""

from __future__ import annotations
