"""The tenant's clock, as far as the ``Date`` headers of its answers tell."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock

#: HTTP's dates are cut to whole seconds, so an answer shows the clock up to a second behind.
#: One that shows it further behind, beyond the time the answer took, means that it was set back.
_CUT = timedelta(seconds=1)
_SLACK = timedelta(seconds=1)


class TenantClock:
    """Tells what the tenant's clock showed at a moment of ours.

    Each answer gives a lower bound of the offset between the two clocks, and the greatest
    bound is the best estimate. One offset for all answers also keeps the order of reads:
    of two that began one after the other, the later one has the later time, though both
    may have been answered in one second.
    """

    def __init__(self) -> None:
        self._offset: timedelta | None = None
        self._lock = Lock()

    def observe(self, date: datetime, began_at: datetime, answered_at: datetime) -> None:
        """Learn from an answer's ``Date``; the other two are by our own clock."""
        bound = date - answered_at
        with self._lock:
            behind = timedelta(0) if self._offset is None else self._offset - bound
            if behind <= timedelta(0) or behind > _CUT + _SLACK + (answered_at - began_at):
                self._offset = bound

    @property
    def offset(self) -> timedelta | None:
        """How far the tenant's clock is ahead of ours, to a second; None where it never told."""
        return self._offset

    def at(self, moment: datetime) -> datetime:
        """The tenant's time at a moment of ours; ours, where it never told."""
        return moment if self._offset is None else moment + self._offset
