"""Calls share what they wait for: one that gives up must not take the others along."""

import asyncio
import time

import pytest

from rls.core.update import CounterUpdate
from rls.errors import BackendError
from rls.stores.redis import RedisStore
from tests.redis_server import redis_server


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture
async def backend(port):
    backend = RedisStore(f"redis://127.0.0.1:{port}", timeout_seconds=10)
    await backend.ping()
    yield backend
    await backend.aclose()


def hit(key):
    return CounterUpdate(key, 1, 10, int(time.time()) + 60, 60)


async def under_way(*calls):
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    return tasks


async def test_a_call_that_is_cancelled_leaves_those_of_its_batch_alone(backend):
    first, second, third = await under_way(*(backend.update([hit(b"left alone")]) for _ in range(3)))

    second.cancel()

    assert await first == [1]
    assert await third == [3]
    assert second.cancelled()


async def test_a_call_that_joins_a_batch_after_one_was_cancelled_is_answered(backend):
    (first,) = await under_way(backend.update([hit(b"joined")]))
    first.cancel()

    assert await backend.update([hit(b"joined")]) == [2]


async def test_all_calls_of_a_batch_can_be_cancelled(backend):
    calls = await under_way(*(backend.update([hit(b"all")]) for _ in range(3)))
    for call in calls:
        call.cancel()

    assert await backend.update([hit(b"all")]) == [4]
    assert all(call.cancelled() for call in calls)


async def test_a_failure_reaches_the_calls_that_were_not_cancelled(backend):
    first, second = await under_way(*(backend.update([hit(b"failure")]) for _ in range(2)))
    first.cancel()

    await backend.aclose()

    with pytest.raises(BackendError, match="closed"):
        await second
