"""Calls that are decided after their deadline are counted, each once, whether or not their callers are still there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rls.api.health import CHECK
from rls.api.service import SHOULD_RATE_LIMIT
from rls.transport.status import StatusCode
from tests.counters import until
from tests.redis_server import RedisServer, redis_binary, running
from tests.rls_process import RlsProcess
from tests.scenario import message_of
from tests.transport.raw import RawClient, message

ACME = message(message_of({"ask": [{"company_id": "acme"}]}))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with running(RedisServer(tmp_path, redis_binary())) as server:
        yield server


@pytest.mark.parametrize("given_up", [0, 2])
async def test_calls_whose_time_is_over_are_counted_once(redis: RedisServer, tmp_path: Path, given_up: int) -> None:
    """Redis hangs for longer than the callers wait; *given_up* of three reset their calls, as Envoy does."""
    with RlsProcess(tmp_path, "--backend", redis.url, "--backend-timeout", "1500ms") as process:
        redis.suspend()
        async with RawClient.connect(process.addresses["grpc"]) as client:
            streams = [client.call(SHOULD_RATE_LIMIT, ACME, grpc_timeout="500m") for _ in range(3)]
            for _ in range(2):  # the calls are begun by then: those that are reset at once are not
                await client.ask(CHECK, message(b""))
            for stream in streams[:given_up]:
                client.reset(stream)
            for stream in streams[given_up:]:
                assert (await client.response(stream)).grpc_status == StatusCode.DEADLINE_EXCEEDED
            await until(lambda: process.metric("rls_fallback_total") == 3)
        assert process.metric("rls_dropped_total", reason="late") == 3
        assert process.metric("rls_dropped_total") == 3
        redis.resume()
