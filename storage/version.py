"""Versions: which of two facts of equal time stands, in Python and in SQL.

A version is text, compared bytewise:

- of a read of the API: ``1``, the microsecond of the tenant's clock at which the read began in 20 digits, ``:``,
  digest. It outranks every notification of equal time, and a later read outranks an earlier one. In the group
  ``presence`` the digits are followed by ``1`` where the read shows the entity, and by ``0`` where it does not: of
  one read, "there" outranks "gone".
- of a notification: ``0``, then ``1`` for a final state (else ``0``), then ``1`` for a complete snapshot (``0`` for a
  partial fact), ``:``, digest.

The digest tells different values apart. The functions below the class are the same rules as SQL expressions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from storage.documents import encode_value

_DIGEST_LENGTH = 16


def digest(values: Mapping[str, Any]) -> str:
    """Return a short text that tells values apart; it is the same for the same ones in another spelling."""
    # `raw` repeats the columns in the vendor's words and is left out, unless it is all there
    # is: the same snapshot comes with other optional parts from a notification and from a
    # read. Absent and null are alike, and 5230 and 5230.0 are one number.
    compared = {
        name: value.normalize() if isinstance(value, Decimal) else value
        for name, value in values.items()
        if value is not None and (name != "raw" or len(values) == 1)
    }
    canonical = orjson.dumps(compared, default=encode_value, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=_DIGEST_LENGTH // 2).hexdigest()


class Version(str):
    """The version of a fact; see the module for its form."""

    __slots__ = ()

    @classmethod
    def of_notification(cls, values: Mapping[str, Any], *, is_final: bool = False, is_partial: bool = False) -> Version:
        """Make the version of a fact from a notification."""
        return cls(f"0{int(is_final)}{int(not is_partial)}:{digest(values)}")

    @classmethod
    def of_read(cls, values: Mapping[str, Any], *, began_at: datetime, rank: str = "") -> Version:
        """Make the version of a fact from a read of the API.

        Parameters:
            values: one for each column of the group.
            began_at: when the read began, by the tenant's clock.
            rank: orders different facts of one read.
        """
        return cls(f"1{int(began_at.timestamp() * 1_000_000):020d}{rank}:{digest(values)}")

    @property
    def is_read(self) -> bool:
        """Whether the fact comes from a read of the API."""
        return self[:1] == "1"

    @property
    def is_provisional(self) -> bool:
        """Whether the fact is partial, so that a read is needed."""
        return self[:1] == "0" and self[2:3] == "0"

    @property
    def digest(self) -> str:
        """What tells the values of the fact apart from others."""
        return self[-_DIGEST_LENGTH:]

    def has_values_of(self, other: Version) -> bool:
        """Whether both facts have the same values."""
        return self.digest == other.digest

    def with_values(self, values: Mapping[str, Any]) -> Version:
        """Return the version of the same fact with other values."""
        return Version(self[:-_DIGEST_LENGTH] + digest(values))

    def conflicts_with(self, other: Version) -> bool:
        """Whether two facts of equal time contradict each other, so that a read must decide.

        A partial fact that agrees in time with a snapshot only says less, and a final state ends a running one of the
        same second: neither is a contradiction. Two reads never are: the later stands.
        """
        if self.has_values_of(other) or (self.is_read and other.is_read):
            return False
        if self.is_read or other.is_read:
            return not (self.is_provisional or other.is_provisional)
        return self[:3] == other[:3]


def is_read_sql(version: str) -> str:
    """Return the condition that a column, or another expression, holds the version of a read."""
    return f"left({version}, 1) = '1'"


def is_provisional_sql(version: str) -> str:
    """Return the condition that an expression is the version of a partial fact."""
    return f"{version} LIKE '0_0:%'"


def conflicts_sql(one: str, other: str) -> str:
    """Return the condition of :meth:`Version.conflicts_with`, for two expressions."""
    kinds = (
        f"CASE WHEN {is_read_sql(one)} AND {is_read_sql(other)} THEN false"
        f" WHEN {is_read_sql(one)} THEN NOT {is_provisional_sql(other)}"
        f" WHEN {is_read_sql(other)} THEN NOT {is_provisional_sql(one)}"
        f" ELSE left({one}, 3) = left({other}, 3) END"
    )
    return f"(right({one}, {_DIGEST_LENGTH}) <> right({other}, {_DIGEST_LENGTH}) AND {kinds})"
