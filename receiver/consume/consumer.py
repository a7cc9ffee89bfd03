"""Consume records and commit them as notifications, with the promises of the accept path.

The client library is called by one thread of its own; the records are accepted in the event loop, where the group
committer is. A record's offset is stored after its commit in Postgres, so a consumer that dies or loses a partition
leaves its uncommitted records to the next one, and repeats at most those of the last second.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from receiver.accept.acceptor import KEPT_HEADERS, Acceptor, UnverifiedError
from receiver.accept.committer import GroupCommitter, NotCommittedError
from receiver.accept.metrics import ACCEPTED
from receiver.consume.metrics import ERRORS, LAG, PARTITIONS, PAUSED, REJECTED, RejectionReason
from receiver.consume.progress import Progress, Record
from receiver.consume.readiness import kafka_cause
from runtime.logging import Throttle, get_logger

logger = get_logger(__name__)

_Result = TypeVar("_Result")

#: The header that is stored with a notification from Kafka: the topic, partition and offset of its record.
RECORD_HEADER = "kafka-record"
STORED_HEADERS = KEPT_HEADERS | {RECORD_HEADER: "Kafka-Record"}

#: How long one call waits for a record, and so the longest delay of a pause, a stop or an offset.
POLL_SECONDS = 0.1

#: Most records of one call, so that the calls before and after it are not far apart.
MAX_POLLED = 500

#: Delay before a record that was not committed in time is tried again.
RETRY_SECONDS = 0.5

#: How often our code may fail at a record before it is rejected, so that it does not block its partition.
MAX_FAILURES = 3

#: How long the waiting room has to be full before the partitions are paused, and how often it is looked at until then.
#: A pause drops what the library has prefetched, so that it would cost more than a short wait.
PAUSE_AFTER_SECONDS = 1.0
LOOK_SECONDS = 0.01

#: Paused partitions continue when the records in flight have fallen to this share of the waiting room.
RESUME_SHARE = 0.5

#: How often the lag is measured, and longest wait for a broker's answer to it.
LAG_INTERVAL_SECONDS = 5.0
LAG_ANSWER_SECONDS = 1.0


class ConsumerFailedError(Exception):
    """The client library cannot consume any more; the process has to be started again."""


_Key = tuple[str, int]


@dataclass(slots=True)
class _Partition:
    """A partition that is assigned to this process, and the tasks that commit its records."""

    tenant: str
    progress: Progress = field(default_factory=Progress)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class RecordConsumer:
    """Consumes the topics of the tenants.

    Parameters:
        properties: those of librdkafka; see :func:`receiver.consume.configuration.consumer_properties`.
        topics: the tenant of each topic.
        acceptor: verifies and commits; it stores ``STORED_HEADERS``.
        committer: that of the acceptor, which knows whether Postgres commits.
        max_record_bytes: longest value that is committed.
        max_records: most records in flight.
        max_bytes: bytes in flight beyond which no further records are fetched.
        drain_seconds: how long the records in flight may take when their partition is revoked, and at a stop.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        topics: Mapping[str, str],
        acceptor: Acceptor,
        committer: GroupCommitter,
        *,
        max_record_bytes: int,
        max_records: int,
        max_bytes: int,
        drain_seconds: float,
    ) -> None:
        self._topics = topics
        self._acceptor = acceptor
        self._committer = committer
        self._max_record_bytes = min(max_record_bytes, max_bytes)  # a longer one would never find room
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._drain_seconds = drain_seconds
        self._client = Consumer({**properties, "error_cb": self._report})
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka")
        self._partitions: dict[_Key, _Partition] = {}
        self._polled: list[Message] = []
        #: The records whose offsets are to be stored, by partition.
        self._done: dict[_Key, Message] = {}
        #: Whether the assigned partitions are paused; None if that is not known, after an assignment.
        self._is_paused: bool | None = None
        self._lag_measured_at = 0.0
        self._may_log = Throttle()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def assigned(self) -> int:
        """The number of assigned partitions."""
        return len(self._partitions)

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until ``stop`` is set; then commit what is in flight, and leave the group.

        Raises:
            ConsumerFailedError: the client library cannot continue.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._call(self._subscribe)
            while not stop.is_set():
                must_pause = not await self._find_room(stop)
                for message in await self._call(self._poll, must_pause):
                    self._take(message)
        finally:
            await self._call(self._client.close)  # which revokes the partitions, as below
            self._thread.shutdown()

    async def _call(self, function: Any, *arguments: Any) -> Any:
        """Call the client library from its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _find_room(self, stop: asyncio.Event) -> bool:
        """Wait for a moment while the waiting room is full; return whether there is room for further records."""
        assert self._loop is not None
        deadline = self._loop.time() + PAUSE_AFTER_SECONDS
        while not self._has_room():
            if self._is_paused or stop.is_set() or self._loop.time() >= deadline:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    def _has_room(self) -> bool:
        self._collect_done()
        if self._is_paused and self._committer.trouble is not None:
            return False
        share = max(self._records_in_flight / self._max_records, self._bytes_in_flight / self._max_bytes)
        return share < (RESUME_SHARE if self._is_paused else 1.0)

    def _collect_done(self) -> None:
        """Collect the last record of each partition up to which all are done, if that has changed."""
        for key, partition in self._partitions.items():
            if (message := partition.progress.take_done()) is not None:
                self._done[key] = message

    @property
    def _records_in_flight(self) -> int:
        return sum(len(partition.progress) for partition in self._partitions.values())

    @property
    def _bytes_in_flight(self) -> int:
        return sum(partition.progress.bytes for partition in self._partitions.values())

    # What follows runs in the event loop.

    def _take(self, message: Message) -> None:
        """Begin to commit a record."""
        partition = self._partitions.get(_key(message))
        if partition is None:
            return  # it was revoked, so its next consumer gets the record
        record = partition.progress.begin(message)
        value = message.value()
        if value is None:
            self._reject(partition, record, "empty")
        elif len(value) > self._max_record_bytes:
            self._reject(partition, record, "too_large")
        else:
            task = asyncio.create_task(self._accept(partition, record, value))
            partition.tasks.add(task)
            task.add_done_callback(partition.tasks.discard)

    async def _accept(self, partition: _Partition, record: Record, value: bytes) -> None:
        """Commit a record, however long it takes, or reject it."""
        headers = read_headers(record.message)
        failures = 0
        while not record.is_done:
            try:
                await self._acceptor.accept(partition.tenant, headers, value)
            except UnverifiedError:
                self._reject(partition, record, "unauthorized")
            except NotCommittedError:
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                failures += 1
                logger.exception("accepting failed", tenant=partition.tenant, **_position(record.message))
                if failures < MAX_FAILURES:
                    await asyncio.sleep(RETRY_SECONDS)
                else:
                    self._reject(partition, record, "failed")
            else:
                record.is_done = True
                ACCEPTED.labels(partition.tenant).inc()

    def _reject(self, partition: _Partition, record: Record, reason: RejectionReason) -> None:
        """Count and log a record that will never be committed; it stays in Kafka as long as the topic keeps it."""
        record.is_done = True
        REJECTED.labels(partition.tenant, reason).inc()
        logger.warning(
            "record rejected", tenant=partition.tenant, reason=reason, bytes=record.size, **_position(record.message)
        )

    async def _release(self, keys: Collection[_Key], seconds: float) -> list[Message]:
        """Give partitions up: wait for their records in flight, drop those that are late, return the last done."""
        released = [self._partitions.pop(key) for key in keys if key in self._partitions]
        tasks = {task for partition in released for task in partition.tasks}
        if tasks and seconds:
            await asyncio.wait(tasks, timeout=seconds)
        dropped = sum(not task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        if dropped:
            logger.warning("records not committed in time; the next consumer gets them", records=dropped)
        for partition in released:
            partition.progress.take_done()
        return [partition.progress.last_done for partition in released if partition.progress.last_done is not None]

    # What follows runs in the thread of the client library, which calls the callbacks within its own calls.

    def _subscribe(self) -> None:
        self._client.subscribe(
            sorted(self._topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def _poll(self, must_pause: bool) -> list[Message]:
        """Store the offsets of records that are done, and return the records that have come."""
        self._store(self._done.values())
        self._done.clear()
        if must_pause != self._is_paused:
            (self._client.pause if must_pause else self._client.resume)(self._client.assignment())
            self._is_paused = must_pause
            PAUSED.set(must_pause)
        if time.monotonic() - self._lag_measured_at >= LAG_INTERVAL_SECONDS:
            self._measure_lag()
            self._lag_measured_at = time.monotonic()
        self._polled = []
        room, room_bytes = self._max_records - self._records_in_flight, self._max_bytes - self._bytes_in_flight
        message = self._client.poll(POLL_SECONDS)
        while message is not None:
            if (error := message.error()) is not None:
                self._report(error)
            else:
                self._polled.append(message)
                room, room_bytes = room - 1, room_bytes - len(message)
            if room <= 0 or room_bytes <= 0 or len(self._polled) >= MAX_POLLED:
                break
            message = self._client.poll(0)
        polled, self._polled = self._polled, []
        return polled

    def _store(self, done: Iterable[Message]) -> None:
        """Store offsets, which the library commits in the next second, and when their partition is revoked."""
        for message in done:
            with contextlib.suppress(KafkaException):  # the partition is not assigned any more
                self._client.store_offsets(message=message)

    def _on_assign(self, _client: Consumer, partitions: list[TopicPartition]) -> None:
        """Begin with partitions at their committed offsets, as the library does."""
        for each in partitions:
            self._partitions[each.topic, each.partition] = _Partition(self._topics[each.topic])
        self._is_paused = None
        self._partitions_changed("partitions assigned", partitions)

    def _on_revoke(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        """Finish what is in flight, and commit its offsets before the next consumer begins."""
        self._store(self._give_up(partitions, self._drain_seconds))
        try:
            client.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:  # nothing was done since the last commit
                logger.warning("offsets not committed; their records come again", error=kafka_cause(error))
        self._partitions_changed("partitions revoked", partitions)

    def _on_lost(self, _client: Consumer, partitions: list[TopicPartition]) -> None:
        """Drop what is in flight: other consumers have begun already."""
        self._give_up(partitions, 0.0)
        self._partitions_changed("partitions lost", partitions)

    def _give_up(self, partitions: Sequence[TopicPartition], seconds: float) -> list[Message]:
        keys = {(each.topic, each.partition) for each in partitions}
        self._polled = [message for message in self._polled if _key(message) not in keys]
        return self._in_loop(self._release(keys, seconds))

    def _in_loop(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _partitions_changed(self, event: str, partitions: Sequence[TopicPartition]) -> None:
        logger.info(event, partitions=[f"{each.topic}/{each.partition}" for each in partitions], assigned=self.assigned)
        for tenant in self._topics.values():
            PARTITIONS.labels(tenant).set(sum(each.tenant == tenant for each in self._partitions.values()))
        self._lag_measured_at = 0.0

    def _measure_lag(self) -> None:
        """Measure the lag of each tenant; if a broker does not answer, the last one stays."""
        lag = dict.fromkeys(self._topics.values(), 0)
        fresh = [TopicPartition(*key) for key, each in self._partitions.items() if each.progress.last_done is None]
        try:
            offsets = self._client.committed(fresh, timeout=LAG_ANSWER_SECONDS) if fresh else []
            committed = {(each.topic, each.partition): each.offset for each in offsets}
            for key, partition in self._partitions.items():
                own = TopicPartition(*key)
                # With each answer the library learns where a partition ends, but asks for nothing while it is paused.
                low, high = self._client.get_watermark_offsets(own, cached=True)
                if self._is_paused or high < 0:
                    low, high = self._client.get_watermark_offsets(own, timeout=LAG_ANSWER_SECONDS)
                last = partition.progress.last_done
                start = committed.get(key, 0) if last is None else (last.offset() or 0) + 1
                lag[partition.tenant] += max(high - max(start, low), 0)
        except KafkaException as error:
            self._report(error.args[0])
            return
        for tenant, records in lag.items():
            LAG.labels(tenant).set(records)

    def _report(self, error: KafkaError) -> None:
        """Count and log an error; it ends the process only if the library cannot continue.

        Raises:
            ConsumerFailedError: it cannot.
        """
        ERRORS.labels(error.name()).inc()
        if self._may_log((error.name(), error.str())):
            logger.warning("error of kafka", error=kafka_cause(error))
        if error.fatal():
            raise ConsumerFailedError(kafka_cause(error))


def read_headers(message: Message) -> dict[str, str]:
    """Return the headers that the accept path reads, by lower-case name; of repeated ones the last."""
    pairs = message.headers() or []
    items = pairs.items() if isinstance(pairs, dict) else pairs
    headers = {
        name.lower(): value if isinstance(value, str) else value.decode("latin-1")
        for name, value in items
        if value is not None
    }
    return headers | {RECORD_HEADER: f"{message.topic()}/{message.partition()}/{message.offset()}"}


def _key(message: Message) -> _Key:
    return message.topic() or "", -1 if (number := message.partition()) is None else number


def _position(message: Message) -> dict[str, Any]:
    return {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
