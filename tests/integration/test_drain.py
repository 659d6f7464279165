"""SIGTERM while many calls are in flight, seen from the frames of HTTP/2."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from typing import cast

from rls.api.service import SHOULD_RATE_LIMIT
from rls.proto import rls_pb2
from tests.rls_process import RULES, RlsProcess
from tests.transport.conftest import until
from tests.transport.raw import RawClient, Response, message

WIDE = RULES.replace("requests_per_unit: 2", "requests_per_unit: 1000000000")
CONNECTIONS, IN_FLIGHT = 4, 8
REQUEST = rls_pb2.RateLimitRequest(
    domain="mesh", descriptors=[{"entries": [{"key": "company_id", "value": "acme"}]}]
).SerializeToString()


class Socket:
    """A writer that goes on when the connection is broken: what has arrived by then is still to be read.

    As asyncio's streams do not do it, and clients that are not Python do.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.reader = asyncio.StreamReader()
        self._socket = socket.create_connection((host, int(port)), 30)
        # As all gRPC clients do: else a call waits in this kernel for the acknowledgement of the one before.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asyncio.get_running_loop().add_reader(self._socket, self._feed)

    def write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _feed(self) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = self._socket.recv(65_536)
        if data:
            self.reader.feed_data(data)
        else:
            self.reader.feed_eof()
            asyncio.get_running_loop().remove_reader(self._socket)


@contextlib.asynccontextmanager
async def connected(address: str) -> AsyncIterator[RawClient]:
    connection = Socket(address)
    client = RawClient(connection.reader, cast("asyncio.StreamWriter", connection))
    client.greet()
    try:
        yield client
    finally:
        connection.close()
        connection.reader.feed_eof()
        await client.closed.wait()


class Caller:
    """Keeps calls in flight on a connection until the server takes no more of them there."""

    def __init__(self, client: RawClient) -> None:
        self._client = client

    async def run(self) -> None:
        await asyncio.gather(*(self._call_on() for _ in range(IN_FLIGHT)))

    async def _call_on(self) -> None:
        client = self._client
        while client.goaway is None and not client.closed.is_set():
            await client.ask(SHOULD_RATE_LIMIT, message(REQUEST), grpc_timeout="10S")

    @property
    def calls(self) -> int:
        return len(self._client.responses)

    def unanswered(self) -> list[Response]:
        """What is no answer, of the calls that the server does not say that it has not taken (RFC 9113, 6.8)."""
        assert self._client.goaway is not None, "the connection was closed without a word"
        last = self._client.goaway.last_stream_id
        return [
            response
            for stream, response in self._client.responses.items()
            if stream <= last and response.grpc_status != 0
        ]


async def test_every_call_that_was_sent_before_the_server_said_goodbye_is_answered(tmp_path):
    """With the default transport; of grpcio, see tests/transport/test_grpcio.py.

    It lets every call in: one that is shed, since the machine is busy, is not lost by the drain.
    """
    with contextlib.ExitStack() as stack:
        process = RlsProcess(tmp_path, "--drain-timeout", "200ms", "--max-concurrency", "0", rules=WIDE)
        stack.callback(process.kill)
        async with contextlib.AsyncExitStack() as connections:
            address = process.addresses["grpc"]
            clients = [await connections.enter_async_context(connected(address)) for _ in range(CONNECTIONS)]
            callers = [Caller(client) for client in clients]
            load = asyncio.gather(*(caller.run() for caller in callers))
            await until(lambda: all(caller.calls > 10 * IN_FLIGHT for caller in callers))
            process.send(signal.SIGTERM)
            async with asyncio.timeout(30):
                await load
            unanswered = [response for caller in callers for response in caller.unanswered()]
        assert unanswered == []
        assert await asyncio.to_thread(process.wait) == 0
