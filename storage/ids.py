"""Make UUIDv7: in order within a process, and never ahead of the clock by more than a second."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from uuid import UUID

from storage.clock import clock

#: The ticks of one second. A last id that is further ahead was made before the clock was set back; later ids need not
#: follow it.
_MAX_AHEAD = 1_000 << 12

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_last_tick = 0


def uuid7() -> UUID:
    """Make a UUIDv7 whose 12 bits after the milliseconds are a fraction of a millisecond (RFC 9562, method 3).

    The ids of one process increase. If it makes more than 4096 in a millisecond, the time part runs ahead by the
    excess only. Ids decrease only if the clock is set back by more than a second.
    """
    global _last_tick
    now = clock.now_ns()
    tick = (now // 1_000_000 << 12) | (now % 1_000_000 * 4096 // 1_000_000)
    if tick <= _last_tick <= tick + _MAX_AHEAD:
        tick = _last_tick + 1
    _last_tick = tick
    chance = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=(tick >> 12) << 80 | 0x7 << 76 | (tick & 0xFFF) << 64 | 0x2 << 62 | chance)


def first_made_at(moment: datetime) -> UUID:
    """Return the smallest UUIDv7 that can be made at a time."""
    return UUID(int=(moment - _EPOCH) // timedelta(milliseconds=1) << 80)


def made_at(identifier: UUID) -> datetime:
    """Return when a UUIDv7 was made: its time part, aware UTC, to the millisecond."""
    return datetime.fromtimestamp((identifier.int >> 80) / 1000, UTC)
