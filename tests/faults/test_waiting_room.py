"""A commit that hangs keeps no place for those who have gone."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.accept.committer import GroupCommitter, NotCommittedError, OverloadedError
from storage.inbox.commit import Entry
from tests.support.servers import PostgresServer, own_postgres


def test_who_waited_too_long_for_a_hanging_postgres_leaves_the_waiting_room(prepared: Path) -> None:
    with own_postgres(like=prepared) as postgres:
        asyncio.run(hang(postgres))


async def hang(postgres: PostgresServer) -> None:
    committer = GroupCommitter(
        postgres.url, lambda _groups: None, commit_timeout=timedelta(seconds=1), waiting_room=2, waiting_bytes=1_000
    )
    committer.start()
    await committer.commit(entry())
    postgres.pause()
    # Given one commit that hangs, one that waits behind it, and no more room
    hanging = asyncio.create_task(committer.commit(entry()))
    await asyncio.sleep(0.1)
    waiting = asyncio.create_task(committer.commit(entry()))
    await asyncio.sleep(0.1)
    with pytest.raises(OverloadedError):
        await committer.commit(entry())
    for task in (hanging, waiting):
        with pytest.raises(NotCommittedError):
            await task
    # Then the next finds room, and is refused only after it has waited too
    with pytest.raises(NotCommittedError) as refusal:
        await committer.commit(entry())
    assert not isinstance(refusal.value, OverloadedError)
    postgres.resume()
    # The one that hung ends, and commits succeed again
    for _ in range(20):
        try:
            await committer.commit(entry())
        except NotCommittedError:
            continue
        break
    else:
        pytest.fail("nothing was committed any more")
    # And bodies have their own bound, whatever the room
    with pytest.raises(OverloadedError):
        await committer.commit(entry(b"x" * 1_001))
    await committer.stop()


def entry(body: bytes = b"{}") -> Entry:
    return Entry("demo", body, {}, "token", "hex")
