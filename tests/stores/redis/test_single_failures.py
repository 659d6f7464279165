"""Redis slow, gone, back: calls fail in time, and work again soon."""

import asyncio
import gc
import time
import traceback
from typing import Any

import pytest

from rls.errors import BackendError, TimedOut
from tests.counters import PATIENT, hit, until, until_works
from tests.redis_server import RedisServer
from tests.stores.conftest import Connect

HANGING = 5.0
"""Seconds by which a call that is to fail in milliseconds has failed, on any busy machine."""


async def test_a_redis_that_hangs_fails_calls_in_time_and_recovers(own_server: RedisServer, connect: Connect) -> None:
    """The first call waits for its timeout; then all fail at once, until Redis answers again."""
    backend = connect(own_server.url, timeout_seconds=0.25, connect_timeout_seconds=0.25)
    one = hit()
    await until_works(lambda: backend.update([one]))
    own_server.suspend()
    try:
        async with asyncio.timeout(HANGING):
            with pytest.raises(BackendError, match=r"no answer within 250 ms$"):
                await backend.update([one])
            for _ in range(100):
                with pytest.raises(BackendError):
                    await backend.update([one])
        # A call fails before the loop turns: it cannot have waited for anything.
        with pytest.raises(BackendError):
            backend.update([one]).send(None)
    finally:
        own_server.resume()
    await until_works(backend.ping)
    assert (await backend.update([one]))[0] >= 2


async def test_calls_of_all_batches_fail_together(own_server: RedisServer, connect: Connect) -> None:
    """Those who wait behind the write that hangs do not wait for a timeout of their own."""
    backend = connect(own_server.url, timeout_seconds=0.5)
    await until_works(backend.ping)
    own_server.suspend()
    try:
        sent = asyncio.create_task(backend.update([hit()]))
        await until(lambda: backend._node.sender.in_flight is not None)
        waiting = asyncio.create_task(backend.update([hit()]))
        done, _ = await asyncio.wait([sent, waiting], timeout=HANGING, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        assert sent in done
        assert waiting.done()
        assert {type(task.exception()) for task in (sent, waiting)} == {TimedOut}
    finally:
        own_server.resume()


async def test_a_redis_that_dies_is_noticed_at_once_and_found_again(own_server: RedisServer, connect: Connect) -> None:
    backend = connect(own_server.url)
    one = hit()
    assert list(await backend.update([one])) == [1]
    own_server.kill()
    await until(lambda: backend._node.error is not None)
    with pytest.raises(BackendError, match=r"^Redis at redis://127\.0\.0\.1:[0-9]+: "):
        await backend.update([one])
    own_server.start()
    await until_works(backend.ping)
    assert list(await backend.update([one])) == [1]
    with own_server.client() as client:
        assert client.ttl(one.key) > 0


async def test_calls_in_flight_fail_when_redis_dies(own_server: RedisServer, connect: Connect) -> None:
    """At once, not after their timeout."""
    backend = connect(own_server.url)
    await backend.ping()
    own_server.suspend()
    calls = [asyncio.create_task(backend.update([hit()])) for _ in range(10)]
    await until(lambda: backend._node.sender.in_flight is not None)
    own_server.kill()
    done, pending = await asyncio.wait(calls, timeout=HANGING)
    assert not pending
    assert {type(call.exception()) for call in done} == {BackendError}


async def test_a_connection_that_is_cut_is_opened_again(own_server: RedisServer, connect: Connect) -> None:
    backend = connect(own_server.url)
    one = hit()
    await backend.update([one])
    with own_server.client() as client:
        seen = {None, backend._node.sender.connection}
        for n in range(2, 5):
            client.client_kill_filter(_type="normal", skipme=True)
            await until(lambda: backend._node.sender.connection not in seen and backend._node.error is None)
            seen.add(backend._node.sender.connection)
            assert list(await backend.update([one])) == [n]


async def test_it_starts_without_redis(own_server: RedisServer, connect: Connect) -> None:
    """Calls fail while there is none, and work as soon as there is."""
    own_server.kill()
    backend = connect(own_server.url)
    with pytest.raises(BackendError):
        await backend.ping()
    with pytest.raises(BackendError):
        await backend.update([hit()])
    own_server.start()
    await until_works(backend.ping)
    assert list(await backend.update([hit()])) == [1]


async def test_it_starts_with_a_redis_that_hangs(own_server: RedisServer, connect: Connect) -> None:
    """The time to connect is part of the time that a call waits."""
    own_server.suspend()
    try:
        backend = connect(own_server.url, timeout_seconds=0.05, connect_timeout_seconds=1.0)
        async with asyncio.timeout(HANGING):
            with pytest.raises(BackendError, match=r"no connection within 50 ms$"):
                await backend.update([hit()])
    finally:
        own_server.resume()
    await until_works(backend.ping)


async def test_failing_costs_no_memory(connect: Connect, own_server: RedisServer) -> None:
    """A Redis that is gone for long: its error does not grow with every call that it is told to."""
    own_server.kill()
    backend = connect(own_server.url)
    lengths = set()
    for _ in range(100):
        with pytest.raises(BackendError) as caught:
            await backend.update([hit()])
        lengths.add(len(traceback.extract_tb(caught.value.__traceback__)))
    assert max(lengths) <= min(lengths) + 2


@pytest.mark.parametrize("attempts", ["refused", "unanswered"])
async def test_no_connection_is_left_behind(own_server: RedisServer, connect: Connect, attempts: str) -> None:
    """However often it failed to connect: redis-py warns of what is dropped open, and warnings are errors."""
    if attempts == "refused":
        own_server.kill()
    else:
        own_server.suspend()
    backend = connect(own_server.url, timeout_seconds=0.01, connect_timeout_seconds=0.02)
    began = time.monotonic()
    errors = set[int]()
    while len(errors) < 3 and time.monotonic() < began + 0.5:
        try:
            await backend.ping()
        except BackendError as error:
            errors.add(id(error))
        await asyncio.sleep(0.01)
    await backend.aclose()
    gc.collect()


@pytest.mark.parametrize("state", ["connecting", "connected", "waiting", "down"])
async def test_closing_ends_calls_and_connections(own_server: RedisServer, connect: Connect, state: str) -> None:
    """Whatever is under way; and twice."""
    if state == "down":
        own_server.kill()
    if state == "connecting":
        own_server.suspend()
    backend = connect(own_server.url)
    if state in {"connected", "waiting"}:
        await backend.ping()
    if state == "waiting":
        own_server.suspend()
    call = asyncio.create_task(backend.update([hit()]))
    if state == "connecting":
        await until(lambda: backend._node._reconnect.is_under_way)
    elif state == "waiting":
        await until(lambda: backend._node.sender.in_flight is not None)
    else:
        await asyncio.wait([call], timeout=PATIENT)
    async with asyncio.timeout(HANGING):
        await backend.aclose()
        await backend.aclose()
        await asyncio.wait([call])
    assert (call.exception() is None) == (state == "connected")
    assert not backend._node._reconnect.is_under_way
    gc.collect()


async def test_replies_that_come_too_late_end_the_failing(own_server: RedisServer, connect: Connect) -> None:
    """The connection that was slow is kept, and what it counted late is counted once."""
    backend = connect(own_server.url, timeout_seconds=0.05, connect_timeout_seconds=60)
    one = hit()
    await until_works(lambda: backend.update([one]))
    (before,) = await backend.update([one])
    connection = backend._node.sender.connection
    own_server.suspend()
    try:
        with pytest.raises(BackendError, match="no answer within 50 ms"):
            await backend.update([one])
    finally:
        own_server.resume()
    await until_works(backend.ping)
    assert backend._node.sender.connection is connection
    assert list(await backend.update([one])) == [before + 2]


async def test_a_loop_that_stood_still_does_not_blame_redis(own_server: RedisServer, connect: Connect) -> None:
    """Replies that are there when the loop turns again are read before the time is found to be up."""
    backend = connect(own_server.url, timeout_seconds=0.2)
    await until_works(backend.ping)
    call = asyncio.create_task(backend.update([hit()]))
    await asyncio.sleep(0)
    backend._node.sender.flush()
    time.sleep(0.5)  # noqa: ASYNC251 - the loop is to stand still
    assert list(await call) == [1]


async def test_time_that_the_loop_takes_before_it_sends_is_not_taken_from_redis(
    own_server: RedisServer, connect: Connect
) -> None:
    """Where the CPU is what calls wait for, Redis must not be found down for it."""
    backend = connect(own_server.url, timeout_seconds=2.0)
    await until_works(backend.ping)
    call = asyncio.create_task(backend.update([hit()]))
    await asyncio.sleep(0)
    assert backend._node.sender.in_flight is None
    time.sleep(2.0)  # noqa: ASYNC251 - the loop is to stand still
    own_server.suspend()
    asyncio.get_running_loop().call_later(1.2, own_server.resume)
    assert list(await call) == [1]


async def test_closing_does_not_wait_for_a_redis_that_hangs(own_server: RedisServer, connect: Connect) -> None:
    """However far the connection has come: a cancellation that is swallowed on the way is repeated."""
    own_server.suspend()
    for turns in range(1, 12):
        backend = connect(own_server.url)
        call = asyncio.create_task(backend.update([hit()]))
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(HANGING):
            await backend.aclose()
            await asyncio.wait([call])
        assert isinstance(call.exception(), BackendError)
    gc.collect()


async def test_a_primary_that_became_a_replica_is_left(own_server: RedisServer, connect: Connect) -> None:
    """After a failover another connection may lead to the new primary, where the address is a name or a proxy's."""
    backend = connect(own_server.url)
    await backend.update([hit()])
    with own_server.client() as client:

        def connections() -> int:
            stats: Any = client.info("stats")
            return int(stats["total_connections_received"])

        client.replicaof("127.0.0.1", "1")
        before = connections()
        with pytest.raises(BackendError, match=r"^Redis at .*: READONLY"):
            await backend.update([hit()])
        await until(lambda: connections() >= before + 2)
        with pytest.raises(BackendError, match=r"^Redis at redis://127\.0\.0\.1:[0-9]+: READONLY"):
            await backend.ping()
        client.replicaof("NO", "ONE")
    await until_works(lambda: backend.update([hit()]))
    assert list(await backend.update([hit()])) == [1]


async def test_a_call_that_waited_behind_another_batch_waits_no_longer(
    own_server: RedisServer, connect: Connect
) -> None:
    """Its time begins when it comes, not when its batch is sent."""
    backend = connect(own_server.url, timeout_seconds=0.4)
    await until_works(backend.ping)
    own_server.suspend()
    sent = asyncio.create_task(backend.update([hit()]))
    await until(lambda: backend._node.sender.in_flight is not None)
    pending = backend._node.sender.next_batch
    waiting = asyncio.create_task(backend.update([hit()]))
    await asyncio.sleep(0)
    assert pending.deadline <= asyncio.get_running_loop().time() + 0.4
    own_server.resume()
    await asyncio.wait([sent, waiting])
