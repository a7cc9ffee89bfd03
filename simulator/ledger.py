"""The ledger: every delivery that was acknowledged, so that a test can ask the receiver for each."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from simulator.fleet import Notification

#: Entries that are kept, the newest: some minutes at several hundred a second, in some 60 MB.
MAX_ENTRIES = 200_000

#: Entries in one answer.
MAX_PER_ANSWER = 10_000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A delivery that was answered with a 2xx.

    Attributes:
        number: counts from 1, in the order of the answers.
        sha256: of the body, in hex.
        id: what the answer gave as ``id``, where it was JSON and gave one.
    """

    number: int
    subscription_id: int
    notification: str
    sha256: str
    status: int
    id: str | None


class Ledger:
    """Acknowledged deliveries, in the order of their answers."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self.total = 0
        self._entries: deque[Acknowledged] = deque(maxlen=max_entries)

    def add(self, notification: Notification, subscription_id: int, status: int, answer: bytes) -> None:
        """Enter a delivery with what it was answered."""
        self.total += 1
        digest = hashlib.sha256(notification.body).hexdigest()
        entry = Acknowledged(self.total, subscription_id, notification.name, digest, status, _id_in(answer))
        self._entries.append(entry)

    def page(self, after: int) -> dict[str, Any]:
        """The entries with a ``number`` above ``after``; more may follow those.

        ``meta.total`` counts all that were ever entered, ``meta.forgotten`` those of them that
        are no longer kept.
        """
        forgotten = self.total - len(self._entries)
        first = max(after - forgotten, 0)
        shown = itertools.islice(self._entries, first, first + MAX_PER_ANSWER)
        return {
            "data": [asdict(entry) for entry in shown],
            "meta": {"total": self.total, "forgotten": forgotten},
        }


def _id_in(answer: bytes) -> str | None:
    try:
        held = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
    identity = held.get("id") if isinstance(held, dict) else None
    return None if identity is None else str(identity)
