"""The HTTP listener, byte by byte."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rls.transport.base import Connections
from rls.transport.http1 import connection as connection_module
from rls.transport.http1.bounds import Bounded
from rls.transport.http1.connection import HEAD_BYTES, HEAD_LINES, Phase
from rls.transport.http1.listener import HttpListener
from tests.transport.conftest import until
from tests.transport.test_lifecycle import open_files

GET = b"GET /%b HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\n"
HALF = POST + b"content-length: 9\r\n\r\n{"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
FLOOD = b"x" * (8 << 20)
"""More than the buffers of a socket take."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the method's and the path's last letters and the body's length, but for `/flood` and `/wait`."""
    body = (await receive())["body"]
    path = scope["path"]
    if path == "/wait":
        scope["state"]["connection"].waits = waits = asyncio.Event()  # its test sets it
        await waits.wait()
    content = FLOOD if path == "/flood" else f"{scope['method'][-1]}{path[-1]}{len(body):02}".encode()
    headers = [(b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for at in range(0, len(content), 1 << 16):
        await send({"type": "http.response.body", "body": content[at : at + (1 << 16)], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


class Client:
    """A connection that sends what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), 10)

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        return await asyncio.wait_for(self.reader.read(), 10)

    async def lost(self) -> None:
        """Return when the server has cut the connection off."""
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(1 << 20), 10):
                pass


class Listening:
    """A listener, and clients that are closed in the end."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.no_files: list[str] = []
        self.connections = Connections(on_no_files=self.no_files.append)
        bounded = Bounded(app, max_body_bytes=20, shares={"/flood": 2, "/wait": 2})
        self.listener = HttpListener(bounded, "127.0.0.1:0", connections=16, counted=self.connections)
        self._stack = stack
        self._clients: list[Client] = []

    async def connect(self, data: bytes = b"", receive_buffer: int = 0) -> Client:
        host, _, port = self.listener.address.rpartition(":")
        client = socket.socket()
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=client, limit=1024)
        self._stack.callback(writer.transport.abort)
        writer.write(data)
        self._clients.append(Client(reader, writer))  # asyncio aborts what nobody refers to
        return self._clients[-1]

    async def ask(self, data: bytes) -> bytes:
        """All that the server says to *data* until it closes."""
        return await (await self.connect(data)).rest()

    def closed(self) -> dict[str, int]:
        """Connections that it gave up, by reason."""
        return {why: number for why, number in self.connections.closed_by_reason() if number}

    def phases(self) -> list[Phase]:
        return [connection.phase for connection in self.listener._connections]


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    async with contextlib.AsyncExitStack() as stack:
        found = Listening(stack)
        await found.listener.start()
        yield found
    await found.listener.aclose()


async def answers(listening: Listening) -> bool:
    """Whether a client that comes now is answered."""
    client = await listening.connect(GET % b"a")
    return await client.read(len(OK) + 4) == OK + b"Ta00"


def patch_seconds(monkeypatch: pytest.MonkeyPatch, phase: Phase, seconds: float) -> None:
    monkeypatch.setitem(connection_module._SECONDS, phase, seconds)


async def test_requests_on_one_connection_are_answered_in_their_order(listening) -> None:
    client = await listening.connect(b"".join(GET % name for name in (b"a", b"b", b"c")))
    assert await client.read(3 * (len(OK) + 4)) == b"".join(OK + b"T" + name + b"00" for name in (b"a", b"b", b"c"))
    client.send(GET % b"d")
    assert await client.read(len(OK) + 4) == OK + b"Td00"


@pytest.mark.parametrize("step", [1, 7])
async def test_a_request_may_come_in_pieces(listening, step: int) -> None:
    client = await listening.connect()
    request = POST + b"content-length: 3\r\n\r\nabc" + GET % b"a"
    for at in range(0, len(request), step):
        client.send(request[at : at + step])
        await asyncio.sleep(0.001)
    assert await client.read(2 * (len(OK) + 4)) == OK + b"T/03" + OK + b"Ta00"


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET /a HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nTa00"),
        (b"\r\n" + GET % b"a" + b"GET / HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"HEAD /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", b"close\r\n\r\n"),
        (POST + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"T/03"),
    ],
)
async def test_what_http_allows(listening, sent: bytes, answer: bytes) -> None:
    said = await listening.ask(sent)
    assert said.lower().startswith(b"http/1.1 200 ok")
    assert answer.lower().rpartition(b"\r\n")[2] in said.lower()


async def test_a_client_that_asks_whether_to_go_on_is_told_to(listening) -> None:
    client = await listening.connect(POST + b"content-length: 2\r\nexpect: 100-continue\r\n\r\n")
    going_on = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await client.read(len(going_on))).lower() == going_on.lower()
    client.send(b"ab")
    assert await client.read(len(OK) + 4) == OK + b"T/02"


@pytest.mark.parametrize(
    ("sent", "status", "text"),
    [
        (GET % (b"x" * HEAD_BYTES), 431, b"the head of the request has more than 16384 bytes or 100 lines\n"),
        (b"GET / HTTP/1.1\r\n" + b"x" * 1_000_000, 431, b"or 100 lines\n"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a:\r\n" * HEAD_LINES + b"\r\n", 431, b"or 100 lines\n"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, b"Invalid HTTP request received.\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, b"this is not HTTP/1.1\n"),
        (b"\x16\x03\x01\x00\xc8", 400, b"this is not HTTP/1.1\n"),
        (b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n", 400, b""),
        (POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\nab", 400, b""),
        (POST + b"content-length: -1\r\n\r\n", 400, b""),
        (POST + b"transfer-encoding: gzip\r\n\r\n", 400, b""),
        (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400, b"Invalid HTTP request received.\n"),
        (POST + b"content-length: 99999999999\r\n\r\n", 413, b"the body has more than 20 bytes\n"),
    ],
)
@pytest.mark.parametrize("more", [0, 500_000])
async def test_what_is_refused(listening, sent: bytes, status: int, text: bytes, more: int, caplog) -> None:
    """With its reason, whatever else is still on its way."""
    said = await listening.ask(sent + b"x" * more)
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert said.endswith(text)
    assert await answers(listening)
    assert not caplog.records


@pytest.mark.parametrize(
    "sent",
    [b"content-length: 21\r\nexpect: 100-continue\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n15\r\n" + b"x" * 21],
)
async def test_a_body_that_is_too_large_is_refused_before_it_has_come(listening, sent: bytes) -> None:
    said = await listening.ask(POST + sent)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert said.endswith(b"the body has more than 20 bytes\n")


async def test_behind_a_body_that_is_too_large_the_connection_goes_on(listening) -> None:
    client = await listening.connect(POST + b"content-length: 900000\r\n\r\n" + b"x" * 900_000 + GET % b"a")
    said = await asyncio.wait_for(client.reader.readuntil(b"Ta00"), 10)
    assert said.startswith(b"HTTP/1.1 413 ")


async def test_one_more_is_always_let_in_and_the_one_that_waits_longest_gives_way(listening) -> None:
    clients = [await listening.connect(HALF) for _ in range(16)]
    await until(lambda: len(listening.phases()) == 16)
    await asyncio.sleep(0.03)  # they had their time
    assert await answers(listening)
    await clients[0].lost()
    assert len(listening.phases()) <= 16
    assert listening.connections.count() == len(listening.phases())
    assert listening.closed() == {"too_many": 1}


async def test_many_more_that_send_nothing_whole_keep_nobody_out(listening) -> None:
    for _ in range(10):
        for _ in range(16):
            await listening.connect(HALF)
        assert await answers(listening)


async def test_connections_that_are_busy_without_end_are_closed_when_others_come(listening) -> None:
    """Else the fastest clients would have all places."""
    busy = [await listening.connect(GET % b"a" * 10_000) for _ in range(16)]
    assert await answers(listening)
    for client in busy:
        client.writer.transport.abort()


async def test_a_request_that_does_not_come_whole_is_given_up(listening, monkeypatch) -> None:
    patch_seconds(monkeypatch, Phase.REQUEST, 0.1)
    for sent in (b"", b"GET / HT", HALF, POST + b"transfer-encoding: chunked\r\n\r\n"):
        said = await listening.ask(sent)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert said.endswith(b"the request did not come whole within 5 s\n")
    assert listening.closed() == {"timeout": 4}


async def test_bytes_that_come_one_by_one_give_a_request_no_more_time(listening, monkeypatch) -> None:
    patch_seconds(monkeypatch, Phase.REQUEST, 0.2)
    client = await listening.connect()
    with contextlib.suppress(ConnectionError):
        for _ in range(400):
            client.send(b"x")
            await asyncio.sleep(0.005)
            if client.reader.at_eof():
                break
    assert b"408" in await client.rest()


async def test_a_connection_that_says_nothing_more_is_closed(listening, monkeypatch) -> None:
    patch_seconds(monkeypatch, Phase.IDLE, 0.1)
    assert await listening.ask(GET % b"a") == OK + b"Ta00"
    assert listening.closed() == {}


async def test_an_answer_that_nobody_reads_is_given_up(listening, monkeypatch) -> None:
    patch_seconds(monkeypatch, Phase.ANSWER, 0.2)
    await listening.connect(GET % b"flood", receive_buffer=4096)
    await until(lambda: listening.phases() == [Phase.ANSWER])
    await until(lambda: not listening.phases())
    assert listening.closed() == {"slow_reader": 1}


async def test_answers_that_nobody_reads_give_way_to_those_that_somebody_does(listening) -> None:
    """Of /flood two are answered at one time."""
    for _ in range(5):
        await listening.connect(GET % b"flood", receive_buffer=4096)
    await until(lambda: sum(one.stalled for one in listening.listener._connections) == 2)
    client = await listening.connect(GET % b"flood")
    head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 10)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert await client.read(len(FLOOD)) == FLOOD
    assert listening.closed() == {"slow_reader": 4}


async def test_what_is_over_a_share_is_told_to_come_again(listening) -> None:
    waiting = [await listening.connect(GET % b"wait") for _ in range(2)]
    await until(lambda: sum(hasattr(one, "waits") for one in listening.listener._connections) == 2)
    client = await listening.connect(GET % b"wait")
    said = await asyncio.wait_for(client.reader.readuntil(b"answered\n"), 10)
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in said
    assert said.endswith(b"too many requests for /wait are being answered\n")
    assert await answers(listening)
    for one in list(listening.listener._connections):
        if hasattr(one, "waits"):
            one.waits.set()
    for waiter in waiting:
        assert await waiter.read(len(OK) + 4) == OK + b"Tt00"


async def test_what_is_under_way_is_answered_when_it_closes(listening) -> None:
    client = await listening.connect(GET % b"wait")
    half, idle = await listening.connect(HALF), await listening.connect(GET % b"a")
    await idle.read(len(OK) + 4)
    await until(lambda: any(hasattr(one, "waits") for one in listening.listener._connections))
    closing = asyncio.create_task(listening.listener.aclose())
    await half.lost()
    await idle.lost()
    for one in list(listening.listener._connections):
        if hasattr(one, "waits"):
            one.waits.set()
    assert await client.read(len(OK) + 4) == OK + b"Tt00"
    await client.lost()
    await closing


async def test_a_fault_in_one_connection_is_its_own(listening, monkeypatch, caplog) -> None:
    feed = connection_module.Connection.feed

    def failing(self: connection_module.Connection) -> bool:
        if b"fault" in self._unfed:
            raise ZeroDivisionError
        return feed(self)

    monkeypatch.setattr(connection_module.Connection, "feed", failing)
    faulty = await listening.connect(GET % b"fault")
    assert await answers(listening)
    await faulty.lost()
    assert "internal error: a connection failed (please report)" in caplog.text


async def test_without_files_it_waits_for_some_and_says_so(listening, monkeypatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    host, _, port = listening.listener.address.rpartition(":")
    tries = []
    monkeypatch.setattr(listening.listener, "_make_room", lambda: tries.append(1))
    clients = [socket.socket() for _ in range(10)]
    with contextlib.ExitStack() as stack:
        for client in clients:
            stack.enter_context(client)
            client.setblocking(False)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 2, hard))
        for client in clients:
            with contextlib.suppress(BlockingIOError):
                client.connect((host, int(port)))
        await until(lambda: listening.no_files)
        await asyncio.sleep(0.3)
        assert len(tries) < 10, "it spins"
    assert await answers(listening)
    text = f"no connection can be accepted on {listening.listener.address}: Too many open files"
    assert set(listening.no_files) == {text}
    assert listening.connections.accept_errors == len(listening.no_files) == len(tries)


async def test_a_socket_that_listens_no_more_ends_it(listening) -> None:
    ended = asyncio.create_task(listening.listener.ended())
    await asyncio.sleep(0.01)
    listening.listener._listener.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match="Invalid argument"):
        await asyncio.wait_for(ended, 10)


async def test_a_connection_that_comes_as_it_closes_does_not_keep_it_from_closing() -> None:
    for turns in range(12):
        listener = HttpListener(Bounded(app, max_body_bytes=20, shares={}), "127.0.0.1:0")
        await listener.start()
        host, _, port = listener.address.rpartition(":")
        with socket.socket() as client:
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, (host, int(port)))
            client.send(GET % b"a")
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(listener.aclose(), 10)
        assert not listener._connections
