"""An offset says that every record before it is done, so no record may be passed over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

from confluent_kafka import Message

from receiver.consume.progress import Progress


def message(offset: int, value: bytes | None = b"12") -> Message:
    return Message(topic="t", partition=0, offset=offset, value=value)


def test_what_is_done_waits_for_the_records_before_it() -> None:
    progress = Progress()
    first, second, third = (progress.begin(message(offset)) for offset in range(3))
    assert (len(progress), progress.bytes) == (3, 6)
    second.is_done = True
    assert progress.take_done() is None
    first.is_done = True
    done = progress.take_done()
    assert done is second.message
    assert progress.last_done is second.message
    assert (len(progress), progress.bytes) == (1, 2)
    assert progress.take_done() is None
    third.is_done = True
    assert progress.take_done() is third.message
    assert (len(progress), progress.bytes) == (0, 0)


def test_a_record_without_a_value_has_no_bytes() -> None:
    progress = Progress()
    assert progress.begin(message(0, None)).size == 0
    assert progress.bytes == 0


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_in_whatever_order_records_are_done_no_open_one_is_passed_over(order: list[int], asked_after: set[int]) -> None:
    progress = Progress()
    records = [progress.begin(message(offset)) for offset in range(8)]
    for step, number in enumerate(order):
        records[number].is_done = True
        if step in asked_after:
            progress.take_done()
            last = progress.last_done
            covered = 0 if last is None else (last.offset() or 0) + 1
            assert all(record.is_done for record in records[:covered])
            assert covered == 8 or not records[covered].is_done
    progress.take_done()
    assert progress.last_done is records[-1].message
