"""The tenant's clock, estimated from the ``Date`` headers of its answers."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock

#: HTTP dates are truncated to seconds, so an answer shows the clock up to a second behind. If an
#: answer shows it further behind, beyond the time that the answer took, the clock was set back.
_CUT = timedelta(seconds=1)
_SLACK = timedelta(seconds=1)


class TenantClock:
    """An estimate of the offset between the tenant's clock and ours.

    Each answer gives a lower bound of the offset, and the greatest bound is the best estimate. One
    offset for all answers also keeps the order of reads: of two reads, the one that began later has
    the later time, even if both were answered within one second.
    """

    def __init__(self) -> None:
        self._offset: timedelta | None = None
        self._lock = Lock()

    def observe(self, date: datetime, began_at: datetime, answered_at: datetime) -> None:
        """Update the offset from an answer.

        Parameters:
            date: the answer's ``Date`` header.
            began_at, answered_at: when the call began and ended, by our own clock.
        """
        bound = date - answered_at
        with self._lock:
            behind = timedelta(0) if self._offset is None else self._offset - bound
            if behind <= timedelta(0) or behind > _CUT + _SLACK + (answered_at - began_at):
                self._offset = bound

    @property
    def offset(self) -> timedelta | None:
        """How far the tenant's clock is ahead of ours, to a second; None before the first answer with a ``Date``."""
        return self._offset

    def at(self, moment: datetime) -> datetime:
        """Return the tenant's time at a moment of our clock; the moment itself if the offset is not known."""
        return moment if self._offset is None else moment + self._offset
