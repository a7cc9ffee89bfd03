"""A task that is cancelled waits for the thread whose work it awaits."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from runtime.background import to_the_end


@pytest.mark.parametrize("failure", [None, OSError("the server is gone")])
def test_a_cancelled_task_ends_after_its_work_and_reports_no_failure_of_it(failure: Exception | None) -> None:
    reported: list[dict[str, Any]] = []
    ended: list[str] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
        may_end = threading.Event()

        def work() -> None:
            may_end.wait(60)
            ended.append("work")
            if failure is not None:
                raise failure

        async def await_work() -> None:
            try:
                await to_the_end(asyncio.to_thread(work))
            finally:
                ended.append("task")

        task = asyncio.create_task(await_work())
        await asyncio.sleep(0)  # it begins
        await asyncio.sleep(0)
        task.cancel()
        asyncio.get_running_loop().call_later(0.02, may_end.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(run())
    assert ended == ["work", "task"]
    assert reported == []
