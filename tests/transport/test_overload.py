"""More calls than can be answered: whom it may concern, and whom not. On both transports that have permits."""

import asyncio
import contextlib
import time

import pytest

from rls.api.health import CHECK, WATCH
from rls.transport.base import Dropped, ServerLimits
from rls.transport.handler import Unary
from tests.transport.conftest import until
from tests.transport.raw import RawClient, call_headers, message
from tests.transport.test_lifecycle import Waiting, echo

ECHO, WAIT, SLOW = "/t/echo", "/t/wait", "/t/slow"
HELLO = message(b"hello")
RESOURCE_EXHAUSTED = 8
DENY = b"\x08\x02"


@pytest.fixture(params=["native", "grpcio"])
def kind(request):
    return request.param


async def slow(call):
    """An answer that takes the loop a millisecond, and waits for it in between."""
    await asyncio.sleep(0)
    time.sleep(0.001)  # noqa: ASYNC251 - the loop is to be late
    return call.message


def slow_at_once(_turn):
    """The same without a task."""

    def handle(connection, stream_id, request, message, now):
        time.sleep(0.001)
        connection.respond(stream_id, message)

    return handle


SLOWLY = {SLOW: Unary(slow, slow_at_once)}


@contextlib.asynccontextmanager
async def late_loop():
    """Keep the loop late."""

    async def run():
        while True:
            time.sleep(0.015)  # noqa: ASYNC251 - see above
            await asyncio.sleep(0)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@contextlib.asynccontextmanager
async def connected(address, count=2):
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RawClient.connect(address)) for _ in range(count)]


async def test_greedy_connection_leaves_room_for_others(serve):
    handler = Waiting()
    served = await serve(
        {WAIT: handler, ECHO: echo}, limits=ServerLimits(max_concurrent_streams=1000, max_concurrency=200)
    )
    async with connected(served.address) as (greedy, client):
        streams = [greedy.call(WAIT, HELLO, grpc_timeout="30S") for _ in range(1000)]
        await until(lambda: served.dropped.count(Dropped.SHED) == 825)
        assert handler.calls == 175
        for _ in range(10):
            response = await client.ask(ECHO, HELLO, grpc_timeout="30S")
            assert response.messages == [b"hello"], response
        handler.go.set()
        statuses = [(await greedy.response(stream)).grpc_status for stream in streams]
    assert (statuses.count(0), statuses.count(RESOURCE_EXHAUSTED)) == (175, 825)


async def test_greedy_connection_whose_calls_differ_gets_its_room_back(serve):
    """After the first of its calls that is shed, `native` does not read the others to their end."""
    handler = Waiting()
    served = await serve(
        {WAIT: handler, ECHO: echo}, limits=ServerLimits(max_concurrent_streams=1000, max_concurrency=200)
    )
    async with connected(served.address, 1) as (greedy,):
        streams = [greedy.call(WAIT, HELLO, grpc_timeout="30S", x_request_id=f"{i}") for i in range(1000)]
        await until(lambda: served.dropped.count(Dropped.SHED) == 1000 - handler.calls)
        assert handler.calls in (175, 200)
        assert (await greedy.ask(CHECK, message(b""))).grpc_status == 0
        handler.go.set()
        statuses = [(await greedy.response(stream)).grpc_status for stream in streams]
        assert (statuses.count(0), statuses.count(RESOURCE_EXHAUSTED)) == (handler.calls, 1000 - handler.calls)
        for i in range(10):
            response = await greedy.ask(WAIT, HELLO, grpc_timeout="30S", x_request_id=f"later {i}")
            assert response.messages == [b"hello"], response


async def test_calls_with_time_are_not_shed_however_many_wait(serve):
    served = await serve(SLOWLY, limits=ServerLimits(max_concurrent_streams=1000))
    async with connected(served.address) as clients:
        streams = [(client, client.call(SLOW, HELLO, grpc_timeout="30S")) for _ in range(200) for client in clients]
        statuses = [(await client.response(stream)).grpc_status for client, stream in streams]
    assert statuses == [0] * 400
    assert served.dropped == []


async def test_call_on_each_of_many_connections_is_served(serve):
    served = await serve(SLOWLY, limits=ServerLimits(max_concurrent_streams=1000))
    async with connected(served.address, 150) as clients:
        for _ in range(3):
            streams = [(client, client.call(SLOW, HELLO, grpc_timeout="30S")) for client in clients]
            for client, stream in streams:
                assert (await client.response(stream)).messages == [b"hello"]
    assert served.dropped == []


async def test_calls_without_time_are_shed_where_many_wait(serve):
    """Two seconds of work, for callers that wait for 20 ms. None that sends no deadline ends at one."""
    served = await serve(SLOWLY, limits=ServerLimits(max_concurrent_streams=1000), default_deadline=0.02)
    async with connected(served.address) as clients:
        streams = []
        for _ in range(40):
            streams += [(client, client.call(SLOW, HELLO)) for _ in range(25) for client in clients]
            await asyncio.sleep(0.005)
        statuses = [(await client.response(stream)).grpc_status for client, stream in streams]
    assert set(statuses) == {0, RESOURCE_EXHAUSTED}
    assert served.dropped.count(Dropped.SHED) + served.dropped.count(Dropped.QUEUED) == statuses.count(
        RESOURCE_EXHAUSTED
    )


@pytest.mark.parametrize(
    "sent", [b"", HELLO[:3], HELLO[:7]], ids=["headers", "part of the prefix", "part of the message"]
)
async def test_watches_and_half_sent_calls_keep_no_call_out_while_the_loop_is_late(serve, sent):
    served = await serve({ECHO: echo}, limits=ServerLimits(max_concurrency=64))
    async with connected(served.address) as (hostile, client), late_loop():
        for _ in range(10):
            hostile.call(WATCH, message(b""))
        for _ in range(30):
            stream = hostile.headers(call_headers(ECHO, grpc_timeout="30S"))
            if sent:
                hostile.data(stream, sent)
        for _ in range(20):
            response = await client.ask(ECHO, HELLO, grpc_timeout="30S")
            assert response.messages == [b"hello"], response
            assert (await client.ask(CHECK, message(b""))).grpc_status == 0


async def test_connection_that_never_reads_keeps_no_other_out(serve):
    async def large(_call):
        return bytes(60_000)

    served = await serve(
        {ECHO: echo, SLOW: large}, limits=ServerLimits(max_concurrency=64, max_concurrent_streams=1000)
    )
    async with connected(served.address) as (hostile, client):
        await hostile.ask(SLOW, HELLO)
        hostile.writer.transport.pause_reading()
        for _ in range(10):
            with contextlib.suppress(RuntimeError):  # it is closed by then
                for _ in range(50):
                    hostile.call(SLOW, HELLO, grpc_timeout="30S")
            response = await client.ask(ECHO, HELLO, grpc_timeout="30S")
            assert response.messages == [b"hello"], response


async def test_burst_of_whole_calls_on_one_connection_is_not_taken_for_half_sent(serve):
    served = await serve(SLOWLY, limits=ServerLimits(max_concurrency=128, max_concurrent_streams=1000))
    async with connected(served.address, 1) as (client,):
        for _ in range(3):
            streams = [client.call(SLOW, HELLO, grpc_timeout="30S") for _ in range(100)]
            assert [(await client.response(stream)).grpc_status for stream in streams] == [0] * 100
    assert served.dropped == []


@pytest.mark.parametrize("answer", [None, DENY, b"\x08\x01"], ids=["error", "deny", "allow"])
async def test_what_a_shed_call_is_answered_with(serve, answer):
    handler = Waiting()
    served = await serve({WAIT: Unary(handler, shed_answer=answer)}, limits=ServerLimits(max_concurrency=2))
    async with connected(served.address, 1) as (client,):
        streams = [client.call(WAIT, HELLO, grpc_timeout="30S") for _ in range(2)]
        await until(lambda: handler.calls == 2)
        for _ in range(3):
            response = await client.ask(WAIT, HELLO, grpc_timeout="30S")
            expected = (RESOURCE_EXHAUSTED, []) if answer is None else (0, [answer])
            assert (response.grpc_status, response.messages) == expected
        # Health is no check.
        assert (await client.ask(CHECK, message(b""))).messages == [b"\x08\x01"]
        handler.go.set()
        for stream in streams:
            assert (await client.response(stream)).messages == [b"hello"]
    assert (handler.calls, served.dropped) == (2, [Dropped.SHED] * 3)
