"""The poster: one connection, whatever the other side does with it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from simulator.delivery.http_client import MAX_ANSWER_BYTES, Answer, Poster, UnreachableError

pytestmark = pytest.mark.process


def posted(
    *answers: bytes, times: int = 1, timeout_seconds: float = 2, close: bool = False
) -> tuple[list[Answer], int]:
    """Post so often to a server that gives these bytes in turn; returns the answers and its connections."""
    connections = 0
    left = list(answers)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        while await reader.read(65_536):
            writer.write(left.pop(0))
            await writer.drain()
            if close:
                break
        writer.close()

    async def play() -> list[Answer]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port: int = server.sockets[0].getsockname()[1]
        poster = Poster(timeout_seconds)
        try:
            return [await poster.post(f"http://127.0.0.1:{port}/x", {}, b"{}") for _ in range(times)]
        finally:
            poster.close()
            server.close()
            if serving:  # none if the time was over before the server had the connection
                await asyncio.wait(serving, timeout=2)
            await asyncio.sleep(0)  # in which the transports close

    return asyncio.run(play()), connections


def with_length(status: int, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def test_a_connection_is_used_again() -> None:
    answers, connections = posted(*[with_length(202, b"ok")] * 3, times=3)
    assert answers == [Answer(202, b"ok")] * 3
    assert connections == 1


def test_a_connection_that_the_answer_closes_is_not_used_again() -> None:
    closing = b"HTTP/1.1 202 X\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    answers, connections = posted(closing, closing, times=2)
    assert [answer.status for answer in answers] == [202, 202]
    assert connections == 2


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
        (b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + with_length(200, b"ok"), b"ok"),
        (with_length(200, b"x" * 100_000), b"x" * MAX_ANSWER_BYTES),
    ],
    ids=["chunked", "interim", "long"],
)
def test_an_answer_is_read_in_whatever_form_it_comes(answer: bytes, content: bytes) -> None:
    (read,), _ = posted(answer)
    assert read == Answer(200, content)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    (read,), _ = posted(b"HTTP/1.1 202 X\r\n\r\nok", close=True)
    assert read == Answer(202, b"ok")


@pytest.mark.parametrize(
    ("answers", "close"),
    [([b"SSH-2.0-OpenSSH\r\n"], False), ([b""], True), ([b"HTTP/1.1 202"], False)],
    ids=["not http", "nothing", "too slow"],
)
def test_an_answer_that_is_not_http_counts_as_unreachable(answers: Sequence[bytes], close: bool) -> None:
    with pytest.raises(UnreachableError):
        posted(*answers, close=close, timeout_seconds=0.2)


def test_a_closed_port_counts_as_unreachable() -> None:
    with pytest.raises(UnreachableError):
        asyncio.run(Poster(1).post("http://127.0.0.1:9/", {}, b""))
