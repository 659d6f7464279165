"""Deadlines, cancellation, load and drain, on all transports."""

import asyncio
import contextlib
import resource
import socket
import time
from pathlib import Path

import grpc
import pytest

from rls.errors import SettingsError
from rls.transport.base import Dropped, ServerLimits
from rls.transport.handler import Call
from tests.transport.conftest import until
from tests.transport.raw import RawClient, message

ECHO, WAIT, SHARED = "/t/echo", "/t/wait", "/t/shared"
HELLO = message(b"hello")
OURS = pytest.mark.parametrize("kind", ["native"], indirect=True)
OPEN_FILES = Path("/proc/self/fd")
OK, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE = 0, 4, 8, 14


async def echo(call: Call) -> bytes:
    return call.message


class Waiting:
    """A handler whose calls wait until they are let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.go = asyncio.Event()

    async def __call__(self, call: Call) -> bytes:
        self.calls += 1
        await self.go.wait()
        return call.message


@contextlib.asynccontextmanager
async def calling(address: str):
    """Calls a method by grpcio."""
    async with grpc.aio.insecure_channel(address) as channel:

        async def call(path, payload=b"hello"):
            return await channel.unary_unary(path)(payload, timeout=10)

        yield call


async def test_call_that_is_late_when_it_is_whole_is_dropped_and_counted(serve):
    """The half of a call that is missing comes after its deadline."""
    handler = Waiting()
    handler.go.set()
    served = await serve({WAIT: handler})
    async with RawClient.connect(served.address) as client:
        stream = client.call(WAIT, HELLO[:3], end=False, grpc_timeout="20m")
        await asyncio.sleep(0.05)  # the deadline itself is what is waited for
        client.data(stream, HELLO[3:], end=True)
        response = await client.response(stream)
    assert response.grpc_status == DEADLINE_EXCEEDED
    assert handler.calls == 0


@OURS
async def test_drop_of_a_late_call_is_told(serve):
    """grpcio drops it itself, before Python knows of it."""
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        response = await client.ask(ECHO, HELLO, grpc_timeout="0m")
    assert (response.grpc_status, served.dropped) == (DEADLINE_EXCEEDED, [Dropped.EXPIRED])


@OURS
async def test_call_that_waited_too_long_for_those_before_it_is_dropped(serve):
    """Of calls that come together and cost a third of their time each, the last have no time left."""
    handled = 0

    async def costly(call):
        nonlocal handled
        handled += 1
        time.sleep(0.1)  # noqa: ASYNC251 - work that keeps the loop
        return call.message

    served = await serve({WAIT: costly})
    async with RawClient.connect(served.address) as client:
        streams = [client.call(WAIT, HELLO, grpc_timeout="300m") for _ in range(8)]
        statuses = [(await client.response(stream)).grpc_status for stream in streams]
    assert statuses.count(RESOURCE_EXHAUSTED) == served.dropped.count(Dropped.QUEUED) == 8 - handled
    assert 0 < handled < 8


@OURS
async def test_caller_without_a_deadline_is_taken_to_have_given_up_after_the_usual_time(serve):
    served = await serve({ECHO: echo}, default_deadline=0.02)
    async with RawClient.connect(served.address) as client:
        stream = client.call(ECHO, HELLO[:3], end=False)
        await asyncio.sleep(0.05)  # the deadline itself is what is waited for
        client.data(stream, HELLO[3:], end=True)
        assert (await client.response(stream)).grpc_status == DEADLINE_EXCEEDED
    assert served.dropped == [Dropped.EXPIRED]


async def test_caller_without_a_deadline_gets_an_answer_however_late(serve):
    handler = Waiting()
    served = await serve({WAIT: handler}, default_deadline=0.001)
    async with RawClient.connect(served.address) as client:
        stream = client.call(WAIT, HELLO, grpc_timeout="10S")
        await until(lambda: handler.calls)
        await asyncio.sleep(0.005)
        handler.go.set()
        assert (await client.response(stream)).grpc_status == OK


async def test_answer_that_is_late_is_not_given(serve):
    handler = Waiting()
    served = await serve({WAIT: handler})
    async with RawClient.connect(served.address) as client:
        stream = client.call(WAIT, HELLO, grpc_timeout="50m")
        await until(lambda: handler.calls)
        await asyncio.sleep(0.06)  # the deadline itself is what is waited for
        handler.go.set()
        response = await client.response(stream)
        await until(lambda: served.dropped)
    assert (response.grpc_status, response.data) == (DEADLINE_EXCEEDED, b"")
    assert len(served.dropped) == 1


@OURS
async def test_caller_that_waits_for_less_than_an_answer_may_take_is_not_waited_for_longer(serve):
    """grpcio ends such calls itself."""
    handler = Waiting()
    served = await serve({WAIT: handler}, max_service_time=10.0)
    async with RawClient.connect(served.address) as client:
        response = await client.ask(WAIT, HELLO, grpc_timeout="50m")
    assert (response.grpc_status, served.dropped) == (DEADLINE_EXCEEDED, [Dropped.LATE])
    assert handler.calls == 1


async def test_caller_that_gives_up_ends_its_call(serve):
    handler = Waiting()
    served = await serve({WAIT: handler, ECHO: echo})
    async with calling(served.address) as call:
        given_up = asyncio.create_task(call(WAIT))
        await until(lambda: handler.calls)
        given_up.cancel()
        await until(lambda: served.dropped)
        assert served.dropped == [Dropped.CANCELLED]
        assert await call(ECHO) == b"hello"


async def test_cancelled_call_takes_no_other_with_it_into_unknown(serve):
    """Calls that await one future: when one is cancelled, so is the future. The others fail, but never as UNKNOWN."""
    shared: list[asyncio.Future[bytes]] = []

    async def wait_together(call: Call) -> bytes:
        if not shared:
            shared.append(asyncio.get_running_loop().create_future())
        return await shared[0]

    served = await serve({SHARED: wait_together})
    async with calling(served.address) as call:
        first = asyncio.create_task(call(SHARED))
        await until(lambda: shared)
        other = asyncio.create_task(call(SHARED))
        await call_is_under_way(shared[0], 2)
        first.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await other
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def call_is_under_way(future: asyncio.Future[bytes], calls: int) -> None:
    await until(lambda: len(future._callbacks or ()) >= calls)


async def test_connection_that_is_lost_ends_its_calls_only(serve):
    handler = Waiting()
    served = await serve({WAIT: handler})
    async with RawClient.connect(served.address) as client:
        stream = client.call(WAIT, HELLO, grpc_timeout="10S")
        async with RawClient.connect(served.address) as lost:
            for _ in range(10):
                lost.call(WAIT, HELLO, grpc_timeout="10S")
            await until(lambda: handler.calls == 11)
        await until(lambda: len(served.dropped) == 10)
        handler.go.set()
        assert (await client.response(stream)).messages == [b"hello"]


async def test_calls_at_once_are_all_served(serve):
    served = await serve({ECHO: echo})
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient.connect(served.address)) for _ in range(5)]
        streams = [
            (client, client.call(ECHO, message(b"%d" % i), grpc_timeout="10S")) for client in clients for i in range(80)
        ]
        responses = [await client.response(stream) for client, stream in streams]
    assert [response.messages for response in responses] == [[b"%d" % i] for i in range(80)] * 5


@OURS
async def test_what_is_over_the_concurrency_limit_is_shed(serve):
    handler = Waiting()
    served = await serve({WAIT: handler}, limits=ServerLimits(max_concurrency=3))
    async with calling(served.address) as call:
        calls = [asyncio.create_task(call(WAIT)) for _ in range(3)]
        await until(lambda: handler.calls == 3)
        assert served.calls.in_progress() == 3
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(WAIT)
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert served.dropped == [Dropped.SHED]
        handler.go.set()
        assert await asyncio.gather(*calls) == [b"hello"] * 3
        await until(lambda: served.calls.in_progress() == 0)


async def test_calls_in_flight_are_finished_when_the_server_stops(serve):
    handler = Waiting()
    served = await serve({WAIT: handler}, drain_timeout=10)
    async with RawClient.connect(served.address) as client:
        streams = [client.call(WAIT, HELLO, grpc_timeout="10S") for _ in range(20)]
        await until(lambda: handler.calls == 20)
        closing = asyncio.create_task(served.transport.aclose())
        await until(lambda: client.goaway)
        handler.go.set()
        assert [(await client.response(stream)).messages for stream in streams] == [[b"hello"]] * 20
        await closing


async def test_call_that_outlives_the_drain_ends_as_unavailable(serve):
    handler = Waiting()
    served = await serve({WAIT: handler}, drain_timeout=0.1)
    async with calling(served.address) as call:
        outliving = asyncio.create_task(call(WAIT))
        await until(lambda: handler.calls)
        await served.transport.aclose()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await outliving
    assert raised.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_close_is_idempotent(serve):
    served = await serve({ECHO: echo})
    await served.transport.aclose()
    await served.transport.aclose()


async def test_taken_address_is_named(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"cannot listen on {address}: Address already in use"):
            await serve({ECHO: echo}, address=address)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_unspecified_ipv6_address_takes_both_families(serve, host):
    served = await serve({ECHO: echo}, address="[::]:0")
    port = served.address.removeprefix("[::]:")
    async with calling(f"[{host}]:{port}" if ":" in host else f"{host}:{port}") as call:
        assert await call(ECHO) == b"hello"


async def test_unix_socket(serve, tmp_path):
    path = tmp_path / "rls.sock"
    served = await serve({ECHO: echo}, address=f"unix:{path}")
    async with calling(served.address) as call:
        assert await call(ECHO) == b"hello"
    await served.transport.aclose()
    assert not path.exists()


async def test_unix_socket_that_a_server_left_behind_is_replaced(serve, tmp_path):
    path = tmp_path / "rls.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    served = await serve({ECHO: echo}, address=f"unix:{path}")
    async with calling(served.address) as call:
        assert await call(ECHO) == b"hello"


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="needs Linux")
@OURS
async def test_server_that_ran_out_of_files_serves_again(serve):
    served = await serve({ECHO: echo})
    host, _, port = served.address.rpartition(":")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as connections:
        connections.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 20, hard))
        with contextlib.suppress(OSError):
            while not served.reports.no_files:
                connections.enter_context(socket.create_connection((host, int(port)), 1))
                await asyncio.sleep(0)
        await until(lambda: served.reports.no_files)
    async with calling(served.address) as call:
        assert await call(ECHO) == b"hello"
    text = f"no connection can be accepted on {served.address}: Too many open files"
    assert set(served.reports.no_files) == {text}
    assert served.connections.accept_errors == len(served.reports.no_files)


def open_files() -> int:
    return sum(1 for _ in OPEN_FILES.iterdir())
