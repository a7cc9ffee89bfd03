"""The ledger: every acknowledged delivery, so that a test can check each one at the receiver."""

from __future__ import annotations

import hashlib
import itertools
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from simulator.fleet.fleet import Notification

#: The number of newest entries that are kept: several minutes at several hundred a second, in about 60 MB.
MAX_ENTRIES = 200_000

#: The number of entries in one answer at most.
MAX_PER_ANSWER = 10_000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A delivery with a 2xx answer.

    Attributes:
        number: counts from 1, in the order of the answers.
        sha256: of the body, in hex.
        id: the ``id`` in the answer if that is JSON, else None.
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
        """Add a delivery with the status and body of its answer."""
        self.total += 1
        digest = hashlib.sha256(notification.body).hexdigest()
        entry = Acknowledged(self.total, subscription_id, notification.name, digest, status, _id_in(answer))
        self._entries.append(entry)

    def page(self, after: int) -> dict[str, Any]:
        """Return the first ``MAX_PER_ANSWER`` entries with a ``number`` above ``after``.

        ``meta.total`` counts all entries since the start, ``meta.dropped`` those of them that are
        no longer kept.
        """
        dropped = self.total - len(self._entries)
        first = max(after - dropped, 0)
        shown = itertools.islice(self._entries, first, first + MAX_PER_ANSWER)
        return {
            "data": [asdict(entry) for entry in shown],
            "meta": {"total": self.total, "dropped": dropped},
        }


def _id_in(answer: bytes) -> str | None:
    try:
        content = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
    identity = content.get("id") if isinstance(content, dict) else None
    return None if identity is None else str(identity)
