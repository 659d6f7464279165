"""What the native transport does when calls are over the limit, or wait for the CPU."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import pytest
from hyperframe.frame import WindowUpdateFrame

from rls.transport.base import Closed, Dropped, ServerLimits
from rls.transport.http2.limits import Rate
from rls.transport.native import connection as connection_module
from rls.transport.native import hub as hub_module
from rls.transport.native.connection import NativeConnection
from rls.transport.native.delayed_reads import DelayedReads
from tests.transport.conftest import direct, until
from tests.transport.raw import RawClient
from tests.transport.test_lifecycle import echo
from tests.transport.test_native import DIRECT, ECHO, HELLO, RESOURCE_EXHAUSTED, Keeping, answering, gathered, noting


@pytest.fixture
def kind():
    return "native"


@pytest.fixture
def delayed(monkeypatch) -> list[NativeConnection]:
    """Connections whose reads are delayed, until the test has them read again."""
    found: list[NativeConnection] = []
    monkeypatch.setattr(DelayedReads, "add", lambda _, connection: found.append(connection))
    return found


@pytest.mark.parametrize("cut", [None, 3], ids=["in one piece", "in two frames"])
async def test_calls_over_the_limit_are_shed_but_for_the_first_of_a_connection(serve, cut):
    """However the calls came, and whatever is half sent or watched."""
    handler = Keeping()
    limits = ServerLimits(max_concurrency=4)
    served = await serve({ECHO: echo, DIRECT: direct(handler)}, limits=limits)
    parts = (HELLO,) if cut is None else (HELLO[:cut], HELLO[cut:])
    async with RawClient.connect(served.address) as client, RawClient.connect(served.address) as other:
        for _ in range(8):
            other.call(DIRECT, HELLO[:2], end=False)
        for _ in range(4):
            client.call(DIRECT, *parts)
            await client.writer.drain()
        await until(lambda: len(handler.kept) == 4)
        assert (await client.ask(ECHO, *parts)).grpc_status == RESOURCE_EXHAUSTED
        assert served.dropped == [Dropped.SHED]
        assert (await other.ask(ECHO, *parts)).messages == [b"hello"]
        connection, stream_id = handler.kept[0]
        connection.respond(stream_id, b"")
        await client.response(stream_id)
        assert (await other.ask(ECHO, HELLO)).messages == [b"hello"]


async def test_connection_whose_calls_are_shed_is_not_read_for_a_while(serve, delayed):
    """What it sends meanwhile comes in one read: many small ones would take the time that answers need."""
    keeping = Keeping()
    served = await serve({DIRECT: direct(keeping), ECHO: echo}, limits=ServerLimits(max_concurrency=1))
    async with RawClient.connect(served.address) as client, RawClient.connect(served.address) as other:
        client.call(DIRECT, HELLO)
        await until(lambda: len(keeping.kept) == 1)
        shed = client.call(DIRECT, HELLO)
        await until(lambda: len(delayed) == 1)
        unread = [client.responses[client.call(DIRECT, HELLO)] for _ in range(3)]
        assert (await other.ask(ECHO, HELLO)).grpc_status == 0
        assert not any(response.ended.is_set() for response in unread)
        [connection] = delayed
        connection.read_again()
        assert (await client.response(shed)).grpc_status == RESOURCE_EXHAUSTED
        await until(lambda: len(delayed) == 2)
        connection.read_again()
        for response in unread:
            await until(response.ended.is_set)
        assert served.dropped.count(Dropped.SHED) == 4
        assert delayed == [connection, connection]


@pytest.mark.parametrize("answer", ["at once", "later"])
async def test_answers_do_not_wait_until_a_connection_is_read_again(serve, monkeypatch, delayed, answer):
    """And what is to be said of calls that were shed goes with them."""
    monkeypatch.setattr(hub_module, "_TICK_SECONDS", 60.0)
    keeping = Keeping()
    handler = answering(b"direct") if answer == "at once" else keeping
    served = await serve({DIRECT: direct(handler), ECHO: echo}, limits=ServerLimits(max_concurrency=1))
    async with RawClient.connect(served.address) as client:
        await client.ask(ECHO, HELLO)
        with gathered(client):
            streams = [client.call(DIRECT, HELLO) for _ in range(3)]
        await until(lambda: len(delayed) == 1)
        for connection, stream in keeping.kept:
            connection.respond(stream, b"direct")
        found = [await client.response(stream) for stream in streams]
        assert [response.grpc_status for response in found] == [0, RESOURCE_EXHAUSTED, RESOURCE_EXHAUSTED]
        assert len(delayed) == 1


async def test_connection_that_was_not_read_is_read_again_by_itself(serve):
    keeping = Keeping()
    served = await serve({DIRECT: direct(keeping)}, limits=ServerLimits(max_concurrency=1))
    async with RawClient.connect(served.address) as client:
        client.call(DIRECT, HELLO)
        await until(lambda: len(keeping.kept) == 1)
        for _ in range(10):
            assert (await client.ask(DIRECT, HELLO)).grpc_status == RESOURCE_EXHAUSTED


async def test_what_other_connections_had_to_wait_leaves_a_call_its_time(serve, monkeypatch):
    """Calls wait for the CPU: how many are let in depends on how long each has waited itself."""
    keeping = Keeping()
    served = await serve({DIRECT: direct(keeping), ECHO: echo}, limits=ServerLimits(max_concurrency=100))
    hub = served.transport._hub
    monkeypatch.setattr(hub.permits, "note", lambda *_, **__: None)
    async with RawClient.connect(served.address) as client:
        await client.ask(ECHO, HELLO)
        for _ in range(20):
            client.call(DIRECT, HELLO, grpc_timeout="30S")
        await until(lambda: len(keeping.kept) == 20)
        hub.permits.late, hub.permits.rate = True, 0.0
        assert (await client.ask(DIRECT, HELLO, grpc_timeout="30S")).grpc_status == RESOURCE_EXHAUSTED
        hub.permits.rate, hub.turn.waited = 10.0, 29.0
        client.call(DIRECT, HELLO, grpc_timeout="30S")
        await until(lambda: len(keeping.kept) == 21)
    assert served.dropped == [Dropped.SHED]


async def test_calls_that_were_shed_take_no_room(serve, monkeypatch):
    """However they came: of those that come in two frames, all in one read, some with more time than others."""
    keeping = Keeping()
    served = await serve({DIRECT: direct(keeping), ECHO: echo}, limits=ServerLimits(max_concurrency=40))
    hub = served.transport._hub
    monkeypatch.setattr(hub.permits, "note", lambda *_, **__: None)
    async with RawClient.connect(served.address) as client:
        await client.ask(ECHO, HELLO)
        for _ in range(10):
            client.call(DIRECT, HELLO, grpc_timeout="30S")
            client.call(DIRECT, HELLO, grpc_timeout="1m")
        await until(lambda: len(keeping.kept) == 20)
        hub.permits.late, hub.permits.rate = True, 100.0
        with gathered(client):
            for _ in range(24):
                client.call(DIRECT, HELLO[:3], HELLO[3:], grpc_timeout="1m")
            for _ in range(2):
                client.call(DIRECT, HELLO[:3], HELLO[3:], grpc_timeout="30S")
        await until(lambda: len(keeping.kept) == 22)
    assert served.dropped == [Dropped.SHED] * 24


async def test_resets_that_lay_unread_are_not_held_against_a_client(serve, delayed):
    """Its callers gave up after a while; that both were read at one time is our doing."""
    keeping = Keeping()
    served = await serve({DIRECT: direct(keeping), ECHO: echo}, limits=ServerLimits(max_concurrency=8))
    hub = served.transport._hub
    hub.limits = dataclasses.replace(hub.limits, resets=Rate(4, 0.0))
    async with RawClient.connect(served.address) as client:
        for _ in range(9):
            client.call(DIRECT, HELLO)
        await until(lambda: delayed)
        for connection, stream_id in keeping.kept:
            connection.respond(stream_id, b"")
        with gathered(client):
            for _ in range(20):
                client.reset(client.call(DIRECT, HELLO))
        await asyncio.sleep(2 * hub.limits.late_seconds)
        delayed.pop().read_again()
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]
        assert client.goaway is None


async def test_call_that_comes_late_in_a_turn_has_waited_since_that_began(serve):
    waited: list[float] = []
    handler = direct(lambda turn: lambda *_: waited.append(turn.waited))
    served = await serve({DIRECT: handler, ECHO: echo})
    hub = served.transport._hub
    async with RawClient.connect(served.address) as client:
        await client.ask(ECHO, HELLO)
        [connection] = hub._connections
        parts: list[bytes] = []
        client.writer.write = parts.append  # type: ignore[method-assign, assignment]
        client.call(DIRECT, HELLO)
        hub.turn_began = connection_module.clock() - 1.0
        connection.data_received(b"".join(parts))
        await until(lambda: waited)
    assert waited[0] >= 1.0


async def test_calls_that_are_not_begun_are_not_counted_as_begun(serve, monkeypatch):
    """They cost next to nothing: by them, calls would seem to cost nothing, and too many would be let in."""
    noted: list[int] = []
    begun: list[bytes] = []
    served = await serve({DIRECT: direct(noting(begun))})
    hub = served.transport._hub
    monkeypatch.setattr(hub._strain, "look", lambda _: True)
    monkeypatch.setattr(hub.permits, "note", lambda number, **_: noted.append(number))
    async with RawClient.connect(served.address) as client:
        with gathered(client):
            for _ in range(20):
                client.reset(client.call(DIRECT, HELLO))
            last = client.call(DIRECT, HELLO)
        await client.response(last)
        await until(lambda: sum(noted) == len(begun))
    assert len(begun) < 20


async def test_overload_is_over_when_nobody_sends_anything(serve, monkeypatch):
    """The next call, however much later, would be judged by it."""
    served = await serve({ECHO: echo})
    permits, strain = served.transport._hub.permits, served.transport._hub._strain
    monkeypatch.setattr(strain, "look", lambda _: True)
    async with RawClient.connect(served.address) as client:
        await client.ask(ECHO, HELLO)
        await until(lambda: permits.late)
        await asyncio.sleep(0.05)
        assert permits.late
        monkeypatch.setattr(strain, "look", lambda _: False)
        await until(lambda: not permits.late, 20.0)


@pytest.mark.parametrize("limit", [1, 3, 4])
async def test_connection_is_read_again_at_once_when_nothing_is_in_progress(serve, monkeypatch, limit):
    monkeypatch.setattr(hub_module, "_DELAY", 1e6)
    monkeypatch.setattr(hub_module, "_MOST_DELAY_SECONDS", 3_600.0)
    keeping = Keeping()
    served = await serve({DIRECT: direct(keeping), ECHO: echo}, limits=ServerLimits(max_concurrency=limit))
    async with RawClient.connect(served.address) as client:
        with gathered(client):
            for _ in range(limit + 1):
                client.call(DIRECT, HELLO)
        await until(lambda: keeping.kept)
        for connection, stream_id in keeping.kept:
            connection.respond(stream_id, b"")
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]


async def test_window_of_a_call_makes_no_room_for_another(serve):
    keeping = Keeping()
    served = await serve({DIRECT: direct(keeping), ECHO: echo}, limits=ServerLimits(max_concurrency=8))
    async with RawClient.connect(served.address) as client:
        await client.ask(ECHO, HELLO)
        with gathered(client):
            for _ in range(40):
                client.write(WindowUpdateFrame(client.call(DIRECT, HELLO), window_increment=1))
        await until(lambda: len(served.dropped) + len(keeping.kept) == 40)
    assert len(keeping.kept) == 7
    assert served.dropped.count(Dropped.SHED) == 33


async def test_client_that_takes_no_answers_is_counted_once(serve, monkeypatch):
    """However often something is to be sent before its connection is gone."""
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        await client.ask(ECHO, HELLO)
        [connection] = served.transport._hub._connections
        monkeypatch.setattr(connection_module, "MOST_UNSENT", -1)
        connection.pause_writing()
        for _ in range(2):
            connection.flush()
        with contextlib.suppress(TimeoutError, OSError):
            await client.closed.wait()
    assert served.connections.closed[Closed.SLOW_READER] == 1
