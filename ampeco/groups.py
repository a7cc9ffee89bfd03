"""The groups of kinds that a tenant can have mirrored."""

from __future__ import annotations

from typing import Literal, get_args

#: ``fleet``: locations, charge points, EVSEs and their downtime. ``sessions``: sessions, authorizations, reservations.
#: ``commerce``: tariffs and payments. ``people``: users and id tags. ``partners``: partners, their contracts and their
#: revenues. ``energy``: circuits, meters and electricity rates. ``roaming``: CDRs, and the platforms and operators.
Group = Literal["fleet", "sessions", "commerce", "people", "partners", "energy", "roaming"]

GROUPS: tuple[Group, ...] = get_args(Group)

#: The groups without which the service has no purpose.
REQUIRED_GROUPS: tuple[Group, ...] = ("fleet", "sessions")
