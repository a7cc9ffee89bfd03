"""A simulator AMPECO tenant: REST reads, subscriptions, signed notifications, faults on demand.

``fleet`` is the tenant's life, a pure engine on a simulated clock; ``app`` puts it behind
AMPECO's API; ``runner`` lets its clock run and ``delivery`` sends what it tells. It stands
on the vendor contract (``ampeco``) alone.
"""
