from __future__ import annotations

import time

from storage.ids import uuid7


def test_ids_rise_are_version_7_and_keep_to_the_clock() -> None:
    before = time.time_ns() // 1_000_000
    made = [uuid7() for _ in range(20_000)]
    after = time.time_ns() // 1_000_000
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {"specified in RFC 4122"}
    assert before <= made[0].int >> 80 <= after
    assert made[-1].int >> 80 <= after + 20_000 // 4096 + 1
