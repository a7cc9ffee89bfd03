"""Every kind of entity that we keep, and how it is read from AMPECO's API.

An entry in ``ampeco.resources.registry`` is enough to read, list and store a kind: the client reads and lists it, the
notifications in its read rules request its reads, sync runs compare its listing, and the storage keeps it.
``storage.schema.entities`` defines where: in a table of its own, or else in ``charging.resource``.
``docs/data-model.md`` shows how to add a kind (AMPECO API, resources).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from ampeco.groups import Group
from ampeco.resources.kind import Kind
from ampeco.resources.registry.commerce import COMMERCE
from ampeco.resources.registry.energy import ENERGY
from ampeco.resources.registry.fleet import FLEET
from ampeco.resources.registry.partners import PARTNERS
from ampeco.resources.registry.people import PEOPLE
from ampeco.resources.registry.roaming import ROAMING
from ampeco.resources.registry.sessions import SESSIONS

#: Every kind by its name; the more urgent come first.
KINDS: Mapping[str, Kind[Any]] = MappingProxyType(
    {kind.name: kind for kind in (*SESSIONS, *FLEET, *COMMERCE, *ROAMING, *PEOPLE, *PARTNERS, *ENERGY)}
)


@cache
def kinds_of(groups: Collection[Group]) -> frozenset[str]:
    """Return the names of the kinds of some groups.

    Parameters:
        groups: a tuple or a frozenset of groups.
    """
    return frozenset(name for name, kind in KINDS.items() if kind.group in groups)
