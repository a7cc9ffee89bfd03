from __future__ import annotations

import gzip
import tracemalloc

import httpx
import pytest
from pydantic import SecretStr

from ampeco import errors
from ampeco.api.client import Client


def test_an_answer_packed_twice_is_not_unpacked() -> None:
    body = gzip.compress(gzip.compress(bytes(128 * 1024 * 1024), 1))
    packed = httpx.Response(200, headers={"Content-Encoding": "gzip, gzip"}, stream=httpx.ByteStream(body))
    network = httpx.MockTransport(lambda _request: packed)

    tracemalloc.start()
    try:
        api = Client("https://tenant.example.com", SecretStr("token"), max_attempts=1, transport=network)
        with api, pytest.raises(errors.Malformed, match="compressed more than once"):
            api.evse(1)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()
