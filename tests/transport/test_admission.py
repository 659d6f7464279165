"""How many calls are let in while the loop is late."""

import asyncio
import itertools
import time

import grpc
import pytest

from rls.transport.admission import WAIT, Admission
from rls.transport.base import Limits
from tests.transport.conftest import until
from tests.transport.raw import RawClient, message
from tests.transport.test_lifecycle import ECHO, Waiting, calling
from tests.transport.test_lifecycle import WAIT as WAIT_PATH

PLACES = 64
LEAST = 8


def admission_whose_loop_is_late(seconds):
    """An admission of 100 calls, by whose clock the loop looks so long after it should; with the limits it has told."""
    limits: list[int] = []
    # Asked once when a look is asked for, and once when it comes, 5 ms later.
    return Admission(100, limits.append, clock=itertools.count(0.0, 0.005 + seconds).__next__), limits


async def test_fewer_calls_are_let_in_while_the_loop_is_late():
    admission, limits = admission_whose_loop_is_late(0.004)
    for _ in range(400):
        admission.done()
    # Twenty times 9 ms passed by its clock: 400 calls in 180 ms are 17 in 8 ms.
    await until(lambda: len(limits) > 1)
    assert limits == [100, 17]
    admission.close()


async def test_slow_calls_are_let_in_where_it_is_not_the_loop_that_is_late():
    """They wait for Redis: that fewer are let in would not make it faster."""
    admission, limits = admission_whose_loop_is_late(0.0)
    for _ in range(10):
        admission.done()
    assert admission.slow < 0
    await until(lambda: admission.slow == WAIT)
    assert limits == [100]


async def test_no_limit_is_not_lowered():
    admission = Admission(0, clock=itertools.count(0.0, 0.1).__next__)
    admission.watch()
    assert (admission.limit, admission.slow) == (0, float("inf"))


async def test_places_are_kept_until_it_is_closed():
    admission, limits = admission_whose_loop_is_late(0.004)
    admission.watch()
    await until(lambda: len(limits) > 1)
    assert limits == [100, LEAST]
    leaving = [asyncio.create_task(admission.leave()) for _ in range(200)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(not task.done() for task in leaving) == 100 - LEAST
    admission.close()
    await asyncio.wait(leaving)
    await admission.leave()


async def echo_later(payload):
    """An echo that waits for the loop."""
    await asyncio.sleep(0)
    return payload


async def test_a_place_goes_with_its_connection():
    admission, limits = admission_whose_loop_is_late(0.004)
    admission.watch()
    await until(lambda: len(limits) > 1)
    leaving = [asyncio.create_task(admission.leave()) for _ in range(100 - LEAST)]
    await asyncio.sleep(0)
    for task in leaving[:10]:
        task.cancel()
    await asyncio.wait(leaving[:10])
    leaving += [asyncio.create_task(admission.leave()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(not task.done() for task in leaving) == 100 - LEAST
    admission.close()
    await asyncio.wait(leaving)


class LateLoop:
    """Keeps the loop late, so that every call is slow."""

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def _run(self):
        while True:
            time.sleep(0.015)  # noqa: ASYNC251 - the loop is to be late
            await asyncio.sleep(0)

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.wait([self._task])


@pytest.mark.parametrize("kind", ["h2corn"], indirect=True)
async def test_server_lets_fewer_calls_in_while_they_wait_too_long_and_all_of_them_afterwards(serve):
    limits: list[int] = []
    handler = Waiting()
    served = await serve(
        {WAIT_PATH: handler, ECHO: echo_later}, limits=Limits(max_concurrency=PLACES), on_limit=limits.append
    )
    async with RawClient.connect(served.address) as client, calling(served.address) as call:
        async with LateLoop():
            while limits[-1] > LEAST:
                await client.ask(ECHO, message(b"hello"), grpc_timeout="10S")
            for _ in range(PLACES - LEAST):
                await client.ask(ECHO, message(b"hello"), grpc_timeout="10S")
            waiting = [asyncio.create_task(call(WAIT_PATH)) for _ in range(LEAST)]
            await until(lambda: handler.calls == LEAST)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(ECHO)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        await until(lambda: limits[-1] == PLACES)
        waiting += [asyncio.create_task(call(WAIT_PATH)) for _ in range(PLACES - LEAST)]
        await until(lambda: handler.calls == PLACES)
        handler.go.set()
        assert await asyncio.gather(*waiting) == [b"hello"] * PLACES


@pytest.mark.parametrize("kind", ["h2corn"], indirect=True)
async def test_server_that_lets_fewer_calls_in_stops_at_once(serve):
    """Calls that keep a place are not waited for."""
    limits: list[int] = []
    served = await serve({ECHO: echo_later}, limits=Limits(max_concurrency=PLACES, drain=600), on_limit=limits.append)
    async with RawClient.connect(served.address) as client, LateLoop():
        while limits[-1] > LEAST:
            streams = [client.call(ECHO, message(b"hello"), grpc_timeout="10S") for _ in range(4)]
            for stream in streams:
                await client.response(stream)
        async with asyncio.timeout(30):
            await served.transport.aclose()
