"""The progress in one partition: which records are done, and up to which one the offset may be committed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from confluent_kafka import Message


@dataclass(slots=True)
class Record:
    """A record that was fetched.

    Attributes:
        message: the record as Kafka's client returns it.
        is_done: whether it is committed in Postgres, or rejected for good.
    """

    message: Message
    is_done: bool = False

    @property
    def size(self) -> int:
        """The bytes of its value."""
        value = self.message.value()
        return 0 if value is None else len(value)


class Progress:
    """The records of a partition, from the first that is not done.

    An offset says that every record before it is done. So a record that is done waits here for those before it, and
    counts as in flight as long as it waits.

    Attributes:
        bytes: the bytes of the values in flight.
        last_done: the record up to which every one is done; None if none is done since the assignment.
    """

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self.bytes = 0
        self.last_done: Message | None = None

    def __len__(self) -> int:
        return len(self._records)

    def begin(self, message: Message) -> Record:
        """Add a record, which is in flight from now on."""
        record = Record(message)
        self._records.append(record)
        self.bytes += record.size
        return record

    def take_done(self) -> Message | None:
        """Remove the first records that are done; return the last of them, or None if the first is not done."""
        last: Message | None = None
        while self._records and self._records[0].is_done:
            record = self._records.popleft()
            self.bytes -= record.size
            last = self.last_done = record.message
        return last
