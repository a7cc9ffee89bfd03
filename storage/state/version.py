"""Versions decide which of two facts of equal time wins, in Python and in SQL.

A version is text, compared bytewise:

- of a read of the API: ``1``, the time at which the read began, in microseconds of the tenant's clock with 20
  digits, ``:``, digest. It outranks every notification of equal time, and a later read outranks an earlier one. In
  the column group ``presence``, ``1`` follows the digits if the read shows the entity, and ``0`` if it does not: of
  one read, "exists" outranks "gone".
- of a notification: ``0``, then ``1`` for a final state (else ``0``), then ``1`` for a snapshot (``0`` for a
  partial fact), ``:``, digest.

The digest distinguishes different values. The functions below the class are the same rules as SQL expressions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from storage.documents import encode_value

_DIGEST_LENGTH = 16

#: The characters that say how much a version counts beside others of its time; all reads begin with the same ones.
_RANK_LENGTH = 3

#: The digits of the time at which a read began, after the first character.
_BEGAN = slice(1, 21)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def digest(values: Mapping[str, Any]) -> str:
    """Return a short text that distinguishes different values; equal values have one digest in any notation."""
    # `raw` is left out unless it is the only column, because it repeats the others, and the same snapshot has other
    # optional parts in a notification than in a read. Absent and null are equal, and so are 5230 and 5230.0.
    compared = {
        name: str(value.normalize()) if isinstance(value, Decimal) else value
        for name, value in values.items()
        if value is not None and (name != "raw" or len(values) == 1)
    }
    canonical = orjson.dumps(compared, default=encode_value, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=_DIGEST_LENGTH // 2).hexdigest()


class Version(str):
    """The version of a fact; the module's docstring describes its form."""

    __slots__ = ()

    @classmethod
    def of_notification(cls, values: Mapping[str, Any], *, is_final: bool = False, is_partial: bool = False) -> Version:
        """Make the version of a fact from a notification.

        Parameters:
            values: one value for each column of the group.
            is_final: whether the fact is of a final state.
            is_partial: whether the fact is partial, so that a read is needed.
        """
        return cls(f"0{int(is_final)}{int(not is_partial)}:{digest(values)}")

    @classmethod
    def of_read(cls, values: Mapping[str, Any], *, began_at: datetime, rank: str = "") -> Version:
        """Make the version of a fact from a read of the API.

        Parameters:
            values: one value for each column of the group.
            began_at: when the read began, by the tenant's clock.
            rank: orders different facts of one read.
        """
        return cls(f"1{int(began_at.timestamp() * 1_000_000):020d}{rank}:{digest(values)}")

    @classmethod
    def first_of_reads_since(cls, began_at: datetime) -> Version:
        """Return the least version of reads that began at a time or later; it is greater than all other versions."""
        return cls(f"1{int(began_at.timestamp() * 1_000_000):020d}")

    @property
    def is_read(self) -> bool:
        """Whether the fact comes from a read of the API."""
        return self[:1] == "1"

    @property
    def read_began_at(self) -> datetime | None:
        """When the read began, by the tenant's clock; None if the fact comes from a notification."""
        return _EPOCH + timedelta(microseconds=int(self[_BEGAN])) if self.is_read else None

    @property
    def is_provisional(self) -> bool:
        """Whether the fact is partial, so that a read is needed."""
        return self[:1] == "0" and self[2:3] == "0"

    @property
    def digest(self) -> str:
        """The digest of the fact's values."""
        return self[-_DIGEST_LENGTH:]

    def has_values_of(self, other: Version) -> bool:
        """Return whether both facts have the same values."""
        return self.digest == other.digest

    def with_values(self, values: Mapping[str, Any]) -> Version:
        """Return the version of the same fact with other values."""
        return Version(self[:-_DIGEST_LENGTH] + digest(values))

    def conflicts_with(self, other: Version) -> bool:
        """Return whether two facts of equal time contradict each other, so that a read must decide.

        A partial fact only has fewer values than a snapshot of the same time, and a final state ends a running one of
        the same second: neither is a contradiction. Two reads never contradict each other: the later one wins.
        """
        if self.has_values_of(other) or (self.is_read and other.is_read):
            return False
        if self.is_read or other.is_read:
            return not (self.is_provisional or other.is_provisional)
        return self[:_RANK_LENGTH] == other[:_RANK_LENGTH]

    def settles(self, other: Version) -> bool:
        """Return whether a fact ends what its time was in doubt about until now: it outranks all, or is a later read.

        Parameters:
            other: the greatest version of the facts of the same time that came before.
        """
        return self[:_RANK_LENGTH] > other[:_RANK_LENGTH] or (self.is_read and self >= other)


def is_read_sql(version: str) -> str:
    """Return the SQL condition that an expression is the version of a read."""
    return f"left({version}, 1) = '1'"


def is_provisional_sql(version: str) -> str:
    """Return the SQL condition that an expression is the version of a partial fact."""
    return f"{version} LIKE '0_0:%'"


def rank_sql(version: str) -> str:
    """Return the SQL expression of how much a version counts beside others of its time."""
    return f"left({version}, {_RANK_LENGTH})"


def settles_sql(version: str, other: str) -> str:
    """Return the SQL condition that is equivalent to :meth:`Version.settles`, for two expressions."""
    outranks = f"left({version}, {_RANK_LENGTH}) > left({other}, {_RANK_LENGTH})"
    return f"({outranks} OR ({is_read_sql(version)} AND {version} >= {other}))"


def conflicts_sql(version: str, other: str, is_conflicting: str) -> str:
    """Return the SQL condition that a fact contradicts another one of equal time, which it does not settle.

    It is equivalent to :meth:`Version.conflicts_with`, for the fact and all that were folded into it; with a read, only
    the greatest of them is compared.

    Parameters:
        version: the expression of the greatest version among the facts that were folded.
        other: the expression of the other fact's version.
        is_conflicting: the expression that says whether the facts that were folded contradict each other.
    """
    may_conflict = (
        f"CASE WHEN {is_read_sql(other)} THEN NOT ({is_read_sql(version)} OR {is_provisional_sql(version)})"
        f" ELSE left({version}, {_RANK_LENGTH}) = left({other}, {_RANK_LENGTH}) END"
    )
    differs = f"right({version}, {_DIGEST_LENGTH}) <> right({other}, {_DIGEST_LENGTH})"
    return f"({may_conflict} AND ({is_conflicting} OR {differs}))"
