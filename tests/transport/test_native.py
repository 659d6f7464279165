"""What only the native transport promises: how much a connection may take, how long it lives, and how it goes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import socket
import ssl
from collections import Counter

import grpc
import pytest

from rls.transport.base import Closed, Dropped, ServerLimits, Tls
from rls.transport.handler import Bidirectional, ServerStreaming, StreamingCall, Unary
from rls.transport.http2 import Responder
from rls.transport.native import accept
from rls.transport.native import connection as connection_module
from rls.transport.native import stream as stream_module
from rls.transport.status import Aborted
from tests.certs import Authority, put
from tests.transport.conftest import direct, until
from tests.transport.raw import RawClient, call_headers, message
from tests.transport.test_lifecycle import Waiting, echo
from tests.transport.test_tls import CA, HOST, OTHER_CA, calling, status_of, until_shown

ECHO, WAIT, DIRECT, CHAT = "/t/echo", "/t/wait", "/t/direct", "/t/chat"
HELLO = message(b"hello")
DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE = 4, 8, 13, 14


@pytest.fixture
def kind():
    return "native"


@pytest.fixture
def tls(tmp_path) -> Tls:
    put(tmp_path, *CA.issue(HOST))
    return Tls(tmp_path / "tls.crt", tmp_path / "tls.key")


def answering(answer: bytes):
    """A direct handler that answers at once."""

    def make(_turn):
        def handle(connection, stream_id, request, message, now):
            connection.respond(stream_id, answer)

        return handle

    return make


def noting(begun: list[bytes]):
    """A direct handler that notes each message, and answers with it."""

    def make(_turn):
        def handle(connection, stream_id, request, message, now):
            begun.append(message)
            connection.respond(stream_id, message)

        return handle

    return make


class Keeping:
    """A direct handler that keeps its calls."""

    def __init__(self) -> None:
        self.kept: list[tuple[Responder, int]] = []

    def __call__(self, _turn):
        return lambda connection, stream_id, *_: self.kept.append((connection, stream_id))


async def test_direct_handler_wins_over_a_coroutine_of_the_same_path(serve):
    served = await serve({ECHO: Unary(echo, answering(b"direct"))})
    async with RawClient.connect(served.address) as client:
        assert (await client.ask(ECHO, HELLO)).messages == [b"direct"]


async def test_call_whose_reset_came_with_it_is_not_begun(serve):
    """As after a pause of the server, for which callers did not wait."""
    begun: list[bytes] = []
    served = await serve({DIRECT: direct(noting(begun))})
    async with RawClient.connect(served.address) as client:
        await client.ask(DIRECT, message(b"first"))
        with gathered(client):
            for _ in range(20):
                client.reset(client.call(DIRECT, message(b"given up")))
            last = client.call(DIRECT, message(b"last"))
        assert (await client.response(last)).messages == [b"last"]
    # A turn may end between a call and its reset.
    answered = begun.count(b"given up")
    assert answered <= 2
    assert served.dropped == [Dropped.CANCELLED] * (20 - answered)


@contextlib.contextmanager
def gathered(client: RawClient):
    """What is sent meanwhile goes out in one piece."""
    parts: list[bytes] = []
    write = client.writer.write
    client.writer.write = parts.append  # type: ignore[method-assign, assignment]
    yield
    client.writer.write = write  # type: ignore[method-assign]
    write(b"".join(parts))


async def test_bug_in_a_direct_handler_ends_one_call(serve, caplog):
    def make(_turn):
        def handle(connection, stream_id, request, message, now):
            raise ValueError("secret")

        return handle

    served = await serve({ECHO: echo, DIRECT: direct(make)})
    async with RawClient.connect(served.address) as client:
        response = await client.ask(DIRECT, HELLO)
        assert (response.grpc_status, response.blocks[-1]["grpc-message"]) == (INTERNAL, "internal error")
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]
    assert "ValueError: secret" in caplog.text


async def test_what_one_connection_learned_of_field_blocks_others_need_not_learn(serve):
    served = await serve({ECHO: echo})
    patterns = served.transport._hub.patterns
    for number in range(4):
        async with RawClient.connect(served.address) as client:
            for _ in range(2):  # then the client has agreed to use no table
                await client.ask(ECHO, HELLO)
            before = patterns.block
            assert (await client.ask(ECHO, HELLO, x_request_id=f"id-{number}")).messages == [b"hello"]
            assert (patterns.block is before) is (number >= 2)
    assert patterns.latest


async def test_connections_over_the_limit_are_closed_and_counted(serve):
    served = await serve({ECHO: echo}, limits=ServerLimits(max_connections=2))
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient.connect(served.address)) for _ in range(2)]
        for client in clients:
            assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]
        for _ in range(3):
            async with RawClient.connect(served.address) as refused:
                await asyncio.wait_for(refused.closed.wait(), 10)
        assert served.connections.closed[Closed.TOO_MANY] == 3
        text = "2 connections are open, as many as --max-connections allows; new ones are closed"
        assert served.reports.refused == [text] * 3
        assert served.connections.count() == 2
        assert (await clients[0].ask(ECHO, HELLO)).messages == [b"hello"]
    await until(lambda: not len(served.transport._hub))
    async with RawClient.connect(served.address) as client:
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]


@pytest.mark.parametrize(("old", "a_turn"), [(10.0, 1), (-1.0, 4)])
async def test_handshakes_that_come_together_begin_in_turns_of_the_loop(serve, tls, monkeypatch, old, a_turn):
    """One by one, since calls wait for what a turn does; several, once they have waited for long."""
    monkeypatch.setattr(accept, "_OLD_SECONDS", old)
    served = await serve({ECHO: echo}, tls=tls)
    host, _, port = served.address.rpartition(":")
    begin, begun, turn = accept.Acceptor._begin, [], 0

    def record(acceptor, client):
        begun.append(turn)
        begin(acceptor, client)

    monkeypatch.setattr(accept.Acceptor, "_begin", record)
    with contextlib.ExitStack() as stack:
        for _ in range(12):
            stack.enter_context(socket.create_connection((host, int(port)))).send(b"\x16")
        while len(begun) < 12:
            turn += 1
            await asyncio.sleep(0)
    assert max(Counter(begun).values()) == a_turn


async def test_client_that_takes_no_answers_is_not_read_from_and_given_up(serve, monkeypatch):
    monkeypatch.setattr(connection_module, "SLOW_SECONDS", 0.5)
    calls = 0

    def make(_turn):
        def handle(connection, stream_id, request, message, now):
            nonlocal calls
            calls += 1
            connection.respond(stream_id, bytes(60_000))

        return handle

    served = await serve({DIRECT: direct(make)}, limits=ServerLimits(max_concurrent_streams=1000))
    async with RawClient.connect(served.address) as client:
        await client.ask(DIRECT, HELLO)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            for _ in range(500):
                client.call(DIRECT, HELLO)
                await asyncio.wait_for(client.writer.drain(), 10)
        await until(lambda: served.connections.closed[Closed.SLOW_READER])
        assert calls < 500
    async with RawClient.connect(served.address) as client:
        assert len((await client.ask(DIRECT, HELLO)).messages[0]) == 60_000


async def test_connection_that_is_too_old_goes_when_its_calls_are_answered(serve):
    handler = Waiting()
    served = await serve({WAIT: handler}, max_connection_age=0.5)
    async with RawClient.connect(served.address) as client:
        stream = client.call(WAIT, HELLO, grpc_timeout="1M")
        await until(lambda: client.goaway)
        assert not client.closed.is_set()
        handler.go.set()
        assert (await client.response(stream)).messages == [b"hello"]
        await asyncio.wait_for(client.closed.wait(), 10)
    assert served.connections.closed[Closed.AGE] == 1


async def test_calls_that_outlive_the_grace_of_an_old_connection_are_cut_off(serve):
    handler = Waiting()
    served = await serve({WAIT: handler}, max_connection_age=0.5, max_connection_age_grace=0.5)
    async with RawClient.connect(served.address) as client:
        response = await client.response(client.call(WAIT, HELLO, grpc_timeout="1M"))
        assert response.grpc_status == UNAVAILABLE
    assert served.dropped == [Dropped.CANCELLED]


async def test_call_that_crosses_the_first_goaway_is_answered(serve):
    handler = Waiting()
    served = await serve({WAIT: handler, ECHO: echo})
    async with RawClient.connect(served.address) as client:
        stream = client.call(WAIT, HELLO, grpc_timeout="1M")
        await until(lambda: handler.calls)
        client.goaway = None
        closing = asyncio.create_task(served.transport.aclose())
        crossing = client.call(ECHO, HELLO)
        assert (await client.response(crossing)).messages == [b"hello"]
        handler.go.set()
        assert (await client.response(stream)).messages == [b"hello"]
        await closing
        assert client.goaway is not None


async def test_one_connection_with_many_calls_does_not_keep_others_waiting(serve):
    """Its calls take turns of the loop; another connection's call is answered between them."""
    order: list[bytes] = []

    def make(_turn):
        def handle(connection, stream_id, request, message, now):
            order.append(message)
            connection.respond(stream_id, message)

        return handle

    served = await serve({DIRECT: direct(make)}, limits=ServerLimits(max_concurrent_streams=1000))
    async with RawClient.connect(served.address) as greedy, RawClient.connect(served.address) as other:
        for client in (greedy, other):
            await client.ask(DIRECT, message(b"first"))
        for _ in range(900):
            greedy.call(DIRECT, message(b"greedy"))
        other.call(DIRECT, message(b"other"))
        await until(lambda: len(order) == 903)
    assert order.index(b"other") < 902


async def test_tls_client_that_does_not_speak_http2_is_closed(serve, tls):
    served = await serve({ECHO: echo}, tls=tls)
    host, _, port = served.address.rpartition(":")
    for protocols in ([], ["http/1.1"]):
        context = ssl.create_default_context(cadata=CA.pem.decode())
        if protocols:
            context.set_alpn_protocols(protocols)
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=HOST)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    assert served.connections.closed[Closed.NO_ALPN] == 2


@pytest.mark.parametrize(
    ("version", "fails"),
    [(ssl.TLSVersion.TLSv1_1, True), (ssl.TLSVersion.TLSv1_2, False), (ssl.TLSVersion.TLSv1_3, False)],
)
async def test_tls_versions(serve, tls, version, fails):
    served = await serve({ECHO: echo}, tls=tls)
    host, _, port = served.address.rpartition(":")
    context = ssl.create_default_context(cadata=CA.pem.decode())
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1") if fails else contextlib.nullcontext():
        context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    with pytest.raises(OSError) if fails else contextlib.nullcontext():  # noqa: PT011 - of many texts
        _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=HOST)
        assert writer.get_extra_info("ssl_object").version() == version.name.replace("v1_", "v1.")
        writer.transport.abort()


async def test_changed_client_ca_is_in_force_for_new_connections_and_old_ones_go(serve, tls, tmp_path):
    client_ca = tmp_path / "ca.crt"
    client_ca.write_bytes(CA.pem)
    served = await serve({ECHO: echo}, tls=Tls(tls.cert, tls.key, client_ca))
    before, after = CA.issue("client.example"), OTHER_CA.issue("client.example")
    async with calling(served.address, before) as call:
        assert await status_of(call) is grpc.StatusCode.OK
        client_ca.write_bytes(OTHER_CA.pem)
        await until(lambda: not len(served.transport._hub))
        assert await status_of(call) is grpc.StatusCode.UNAVAILABLE
    async with calling(served.address, after) as call:
        assert await status_of(call) is grpc.StatusCode.OK


async def test_client_ca_may_be_an_intermediate_one(serve, tls, tmp_path):
    """A bundle without its root, as a mesh may hand it out, is trusted as it is."""
    client_ca = tmp_path / "ca.crt"
    client_ca.write_bytes(Authority().pem + CA.pem)
    served = await serve({ECHO: echo}, tls=Tls(tls.cert, tls.key, client_ca))
    async with calling(served.address, CA.issue("client.example")) as call:
        assert await status_of(call) is grpc.StatusCode.OK


async def test_files_that_could_not_be_used_are_used_once_they_can(serve, tls, tmp_path):
    served = await serve({ECHO: echo}, tls=tls)
    cert, key = CA.issue(HOST)
    put(tmp_path, b"no certificate", key)
    await until(lambda: served.reports.not_loaded)
    put(tmp_path, cert, key)
    await until_shown(served.address, cert)


async def test_client_that_says_nothing_where_tls_is_served_is_closed(serve, tls, monkeypatch):
    monkeypatch.setattr(accept, "HANDSHAKE_SECONDS", 0.3)
    served = await serve({ECHO: echo}, tls=tls)
    host, _, port = served.address.rpartition(":")
    clients = [socket.create_connection((host, int(port))) for _ in range(3)]
    clients[1].sendall(b"\x16\x03\x01")  # a handshake that does not go on
    clients[2].sendall(b"GET / HTTP/1.1\r\n\r\n")
    await until(lambda: served.connections.closed[Closed.HANDSHAKE] == 3)
    for client in clients:
        client.close()
    async with calling(served.address) as call:
        assert await call(ECHO) == b"hello"


async def test_handshakes_that_come_together_are_all_served(serve, tls):
    served = await serve({ECHO: echo}, tls=tls)

    async def one() -> grpc.StatusCode:
        async with calling(served.address) as call:
            return await status_of(call)

    assert await asyncio.gather(*(one() for _ in range(30))) == [grpc.StatusCode.OK] * 30


async def test_client_that_sends_on_after_an_error_still_reads_why(serve):
    """What is not read when a socket is closed would make the kernel throw away what was sent."""
    served = await serve({ECHO: echo})
    async with RawClient.connect(served.address) as client:
        await client.ask(ECHO, HELLO)
        client.write(b"\0\0\0\0\0\0\0\0\0" + b"\0\0\4\1\4\0\0\0\0abcd" + bytes(200_000))
        await asyncio.wait_for(client.closed.wait(), 10)
        assert client.goaway is not None
    assert served.connections.closed[Closed.CLIENT_ERROR] == 1


@pytest.mark.parametrize("count", [4, 16, 64])
async def test_large_messages_of_one_connection_all_come_whole(serve, count):
    """Their frames take turns, as grpcio sends them."""
    served = await serve({DIRECT: direct(sizes_of())})
    give_time(served)
    async with grpc.aio.insecure_channel(served.address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(DIRECT)
        sizes = [1_048_576 - i for i in range(count)]
        answers = await asyncio.gather(*(call(bytes(size), timeout=60) for size in sizes))
    assert answers == [b"%d" % size for size in sizes]
    assert served.dropped == []
    assert served.transport._hub.memory.held == 0


async def test_messages_that_there_is_no_room_for_are_shed_and_counted(serve):
    """Of all connections together; a call that is whole passes beside them."""
    served = await serve({DIRECT: direct(sizes_of())})
    give_time(served)
    hub = served.transport._hub
    hub.memory._limit = 1_000_000
    half = (1_000_000).to_bytes(5, "big") + bytes(60_000)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(RawClient.connect(served.address)) for _ in range(20)]
        streams = [client.call(DIRECT, half, end=False) for client in clients]
        await until(lambda: len(served.dropped) >= 4)
        assert hub.memory.held <= 1_000_000
        assert set(served.dropped) == {Dropped.INCOMPLETE}
        over = [client for client, stream in zip(clients, streams, strict=True) if client.responses[stream].blocks]
        for client in over:
            assert (await client.response(1)).grpc_status == RESOURCE_EXHAUSTED
        for client in clients:
            assert (await client.ask(DIRECT, HELLO)).messages == [b"5"]
    await until(lambda: not hub.memory.held)


def sizes_of():
    """A direct handler that answers with the size of the message."""

    def make(_turn):
        def handle(connection, stream_id, request, message, now):
            connection.respond(stream_id, b"%d" % len(message))

        return handle

    return make


def give_time(served):
    """Let a busy machine take as long as it likes over a message."""
    hub = served.transport._hub
    hub.limits = dataclasses.replace(hub.limits, message_seconds=60)


async def test_compressed_messages_that_wait_for_their_handler_are_bounded(serve):
    """They take little of a window, and much memory."""

    async def wait(call: StreamingCall) -> None:
        await asyncio.Event().wait()

    served = await serve({CHAT: Bidirectional(wait), ECHO: echo})
    bomb = message(gzip.compress(bytes(1_000_000)), 1)
    async with RawClient.connect(served.address) as client:
        stream = client.call(CHAT, bomb * 10, end=False, grpc_encoding="gzip")
        assert (await client.response(stream)).grpc_status == RESOURCE_EXHAUSTED
        assert (await client.ask(ECHO, HELLO)).messages == [b"hello"]


async def test_server_streaming_call_whose_message_does_not_come_ends(serve, monkeypatch):
    monkeypatch.setattr(stream_module, "MESSAGE_SECONDS", 0.3)

    async def never(call: StreamingCall) -> None:
        raise AssertionError("begun without a message")

    served = await serve({CHAT: ServerStreaming(never)})
    async with RawClient.connect(served.address) as client:
        response = await client.response(client.headers(call_headers(CHAT)))
    assert response.grpc_status == DEADLINE_EXCEEDED


async def test_stream_waits_for_a_client_that_does_not_read_its_socket(serve):
    """Its windows are wide open; the connection is not given up, as it would be with so much unsent."""
    sent = 0

    async def pour(call: StreamingCall) -> None:
        nonlocal sent
        for _ in range(150):
            await call.send(bytes(100_000))
            sent += 1

    served = await serve({CHAT: ServerStreaming(pour)})
    async with RawClient.connect(served.address) as client:
        stream = client.call(CHAT, HELLO)
        client.responses[stream].data = bytearray()  # type: ignore[assignment] # which grows in place
        await until(lambda: sent)
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 150
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        response = await client.response(stream)
    assert (response.grpc_status, len(response.data)) == (0, 150 * 100_005)
    assert not served.connections.closed[Closed.SLOW_READER]


async def test_handler_that_goes_on_after_its_caller_is_gone_keeps_its_permit_until_it_ends(serve):
    go = asyncio.Event()
    begun = ended = 0

    async def stubborn(call: StreamingCall) -> None:
        nonlocal begun, ended
        begun += 1
        try:
            await asyncio.Event().wait()
        finally:
            with pytest.raises(Aborted, match="the call is over"):
                await call.send(b"x")
            with pytest.raises(Aborted, match="the call is over"):
                await call.receive()
            await go.wait()
            ended += 1

    served = await serve({CHAT: Bidirectional(stubborn, max_calls=1)})
    async with RawClient.connect(served.address) as client:
        for _ in range(2):
            stream = client.call(CHAT, HELLO, end=False)
            await until(lambda: begun > ended)
            client.reset(stream)
            assert (await client.ask(CHAT, HELLO)).grpc_status == RESOURCE_EXHAUSTED
            go.set()
            await until(lambda: begun == ended)
            go.clear()
