"""How a kind of entity is described: where AMPECO's API shows it, and what requests its read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, Literal, TypeVar

from ampeco.groups import Group
from ampeco.model import Model

M_co = TypeVar("M_co", bound=Model, covariant=True)

HOUR, DAY, WEEK, MONTH = timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30)

#: How a listing is paged. ``cursor``: by cursor only. ``empty cursor``: by number, unless the query
#: has a cursor, which is empty for the first page. ``page``: by number only.
Paging = Literal["cursor", "empty cursor", "page"]

#: When a notification requests a read. ``changed``: always. ``provisional``: unless a snapshot
#: follows by itself. ``unknown``: if nothing is stored of the entity. ``unusable``: only if the
#: notification itself cannot be applied.
Urgency = Literal["changed", "provisional", "unknown", "unusable"]


@dataclass(frozen=True, slots=True)
class ReadRule:
    """A notification type that names an entity of the kind.

    ``field`` is the field of its payload model that holds the id, with dots into sub-objects. For a
    kind with a ``reference_filter`` it holds the reference instead. ``storage.state.facts`` requests the
    reads of entities that a snapshot refers to, such as a session's EVSE.
    """

    notification: str
    field: str
    urgency: Urgency = "changed"


@dataclass(frozen=True, slots=True)
class Kind(Generic[M_co]):
    """A kind of entity: how it is read and listed, and which notifications request its read.

    Parameters:
        name: in the singular; the name of its table or, in ``charging.resource``, its ``kind``.
        model: parses one resource; its ``id`` is the key.
        path: of the listing, below ``/public-api/resources/``; the path of one entity adds ``/<id>``.
        group: the group with which a tenant has the kind mirrored.
        older_paths: earlier versions of it, newest first, for tenants whose release lacks ``path``.
        parts: query parameters without which AMPECO leaves sub-objects out.
        paging: how the listing is paged.
        changed_filters: the listing's filters for what changed at a time or later. Several show different
            changes, and are listed one after the other. If there is none, only a full sync run finds changes.
        changed_margin: how much earlier than a change the time may be by which a filter shows it.
        changed_every: how often at most the filters are used, for kinds that change seldom, or that no notification
            names.
        full_every: how often the complete listing is synced, to notice what the filters do not show; None: every
            month, or every day if there is no filter.
        has_read: whether one entity can be read; of other kinds, only the complete listing shows what is gone.
        has_listing: whether there is a listing; other kinds are read only if something refers to them.
        has_roaming_filter: whether the listing can be limited to what does not belong to roaming partners.
        reference_filter: the listing's filter for the reference in its notifications, if they do
            not contain its id; a lookup then reads the entity by that listing.
        read_rules: the notification types that name it.
    """

    name: str
    model: type[M_co]
    path: str
    group: Group
    older_paths: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    paging: Paging = "cursor"
    changed_filters: tuple[str, ...] = ("last_updated_after",)
    changed_margin: timedelta = timedelta(0)
    changed_every: timedelta = timedelta(0)
    full_every: timedelta | None = None
    has_read: bool = True
    has_listing: bool = True
    has_roaming_filter: bool = False
    reference_filter: str | None = None
    read_rules: tuple[ReadRule, ...] = ()

    @property
    def full_interval(self) -> timedelta:
        """How often the complete listing is synced."""
        return self.full_every or (MONTH if self.changed_filters else DAY)

    def path_of(self, entity_id: int) -> str:
        """Return the path of one entity, below ``/public-api/resources/``."""
        return f"{self.path}/{entity_id}"

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all versions of the listing, newest first."""
        return self.path, *self.older_paths

    @property
    def listing_parameters(self) -> list[tuple[str, str]]:
        """The query of a listing, without its filters and its page size."""
        return [*self.parts, ("cursor", "")] if self.paging == "empty cursor" else [*self.parts]
